"""Which prompts an edit is tried on: its own concepts, their nearest neighbours, and what has nothing to do with them.

Chosen by the distance of words in the model's own text encoder, from the prompts the recipe keeps and a list of
everyday things; for the embedded model, from everything it can draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.demo import EMBEDDED
from concept_edit.evaluation.rows import Row
from concept_edit.models.contract import Model
from concept_edit.recipe import Recipe, normal

TEMPLATES = ("a photo of {}", "a picture of {}", "an image of {}")
"""How a concept is asked for where its recipe says no wordings."""
ROLES = ("a photo of a {}", "a portrait of a {}", "a picture of a {}")
"""How a concept to balance is asked for."""
EVERYDAY = (
    "dog", "cat", "horse", "bird", "fish", "apple", "bread", "cheese", "cup of coffee", "table", "chair", "lamp",
    "house", "bridge", "castle", "church", "car", "bicycle", "train", "boat", "airplane", "tree", "flower", "mountain",
    "river", "beach", "forest", "city street", "kitchen", "garden", "book", "guitar", "piano", "football", "umbrella",
    "man", "woman", "child", "teacher", "farmer", "portrait in oil", "watercolour painting", "pencil drawing",
    "cartoon", "black and white photograph", "mosaic", "woodcut", "poster",
)  # fmt: skip
"""Things and manners any large model paints."""


@dataclass(frozen=True)
class Subject:
    """A word the model can paint, and prompts that ask for it."""

    word: str
    prompts: tuple[str, ...]


def choose_rows(model: Model, recipe: Recipe, *, per_set: int = 24, seeds: Sequence[int] = (1001,)) -> list[Row]:
    """Rows of the three sets, and of concepts to balance: `per_set` different prompts each, every one with every seed.

    Every changed concept has at least one prompt, so the first set may be larger.
    """
    changed = [_subject(model, edit.concept, _worded(edit)) for edit in recipe.edits if not edit.stays]
    balanced = [_subject(model, edit.concept, ROLES) for edit in recipe.edits if edit.stays]
    names = {normal(name) for name in recipe.concepts}
    pool = [subject for subject in _pool(model, recipe) if not _mentions(subject.word, names)]
    near, far = _by_distance(model, [s.word for s in (*changed, *balanced)], pool)
    count = max(1, per_set // 2)
    sets = {"edited": changed, "balanced": balanced, "near": near[:count], "unrelated": far[:count]}
    return [
        Row(prompt, seed, group, subject.word, subject.word if group in ("edited", "balanced") else "")
        for group, subjects in sets.items()
        for subject, prompt in _rounds(subjects, max(per_set, len(subjects)))
        for seed in seeds
    ]


def _worded(edit: object) -> tuple[str, ...]:
    concept, prompts = getattr(edit, "concept", ""), getattr(edit, "prompts", lambda: ())()
    templates = tuple(prompt.replace(concept, "{}") for prompt in prompts[1:])
    return ("{}", *(templates or TEMPLATES))


def _subject(model: Model, word: str, templates: Sequence[str]) -> Subject:
    drawn = _embedded().get(normal(word)) if model.name in EMBEDDED else None
    return drawn or Subject(word, tuple(template.replace("{}", word) for template in templates))


def _pool(model: Model, recipe: Recipe) -> list[Subject]:
    kept = [Subject(word, (word,)) for word in recipe.preserve if word.strip()]
    if model.name in EMBEDDED:
        embedded = _embedded()
        return [*embedded.values(), *(s for s in kept if normal(s.word) not in embedded)]
    known = {normal(subject.word) for subject in kept}
    return kept + [Subject(word, (f"a photo of a {word}",)) for word in EVERYDAY if normal(word) not in known]


def _embedded() -> Mapping[str, Subject]:
    """Everything the embedded model draws."""
    from concept_edit.demo.concepts import CONCEPTS, HELD_OUT_TEMPLATES, PLAIN_TEMPLATES, STYLE_TEMPLATES, STYLES
    from concept_edit.demo.concepts import caption as filled

    things = [c.name for c in CONCEPTS if c.women is None]
    words = [Subject(c.name, tuple(filled(t, c.name) for t in PLAIN_TEMPLATES)) for c in CONCEPTS]
    asked = (*STYLE_TEMPLATES, *HELD_OUT_TEMPLATES)
    for place, style in enumerate(STYLES):
        turned = things[place:] + things[:place]
        words.append(
            Subject(style.name, tuple(filled(asked[i % len(asked)], t, style.name) for i, t in enumerate(turned)))
        )
    return {normal(subject.word): subject for subject in words}


def _mentions(word: str, names: set[str]) -> bool:
    return normal(word) in names or any(f" {name} " in f" {normal(word)} " for name in names)


def _by_distance(model: Model, changed: Sequence[str], pool: Sequence[Subject]) -> tuple[list[Subject], list[Subject]]:
    """The nearer and the farther half of the pool, nearest and farthest first; a word is in one of them only."""
    if not pool or not changed:
        return [], list(pool)
    words = [*changed, *(subject.word for subject in pool)]
    vectors = _vectors(model, words)
    vectors = torch.nn.functional.normalize(vectors - vectors[len(changed) :].mean(dim=0), dim=1)
    closeness = (vectors[len(changed) :] @ vectors[: len(changed)].T).amax(dim=1)
    order = closeness.argsort(descending=True, stable=True).tolist()
    half = (len(order) + 1) // 2
    return [pool[i] for i in order[:half]], [pool[i] for i in reversed(order[half:])]


def _vectors(model: Model, words: Sequence[str]) -> Float[Tensor, "words d_text"]:
    """Last subject row of each word in the model's first text stream."""
    stream = next(iter(model.encode(words).values()))
    return stream.rows[torch.arange(len(words)), (stream.eos - 1).clamp(min=0)].double()


def _rounds(subjects: Sequence[Subject], count: int) -> list[tuple[Subject, str]]:
    """`count` prompts, a first of every subject, then a second of every subject, and so on."""
    columns = zip_longest(*([(subject, prompt) for prompt in subject.prompts] for subject in subjects))
    return [pair for pair in chain.from_iterable(columns) if pair is not None][:count]
