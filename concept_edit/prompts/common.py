"""Common names as a model's text encoder sees them: what a guarded solve holds beside what its recipe names.

A concept that nobody thought of keeping is most often a common one. Each name is encoded as it stands, in one wording
that asks for a thing ("photo of ...") and, but for names of art, in one artist's manner: what goes is told in such
wordings, which should take none but it along. What the template says after a prompt (EOS in CLIP) speaks for it, and
for a name alone its last token, too. Prompts that share a word with what goes are left out, so that "police car" does
not hold back "car".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from concept_edit.asked.wordings import WORDINGS
from concept_edit.identity import digest
from concept_edit.models.contract import Model
from concept_edit.prompts.corpus import Corpus, read_once, sampled_rows
from concept_edit.prompts.names import ARTFUL, COMMON
from concept_edit.prompts.tokens import PromptRows, prompt_rows
from concept_edit.recipe import Recipe, normal

_BATCH = 64
_MANNERS = ("a {} by {artist}", "a {} in the style of {artist}", "{} drawn by {artist}")
_TELL_NOTHING = {"a", "and", "by", "in", "of", "the"}


def _prompts_of(number: int, name: str) -> tuple[str, ...]:
    told = WORDINGS["object"][number % len(WORDINGS["object"])].replace("{}", name)
    if name in ARTFUL:
        return name, told
    manner, artist = _MANNERS[number % len(_MANNERS)], ARTFUL[number % len(ARTFUL)]
    return name, told, manner.replace("{}", name).replace("{artist}", artist)


PROMPTS = tuple(prompt for number, name in enumerate(COMMON) for prompt in _prompts_of(number, name))
"""Every name, alone and in the wordings it is told in."""
_ALONE = frozenset(COMMON)


class Named(NamedTuple):
    """Rows of one stream that speak for prompts."""

    common: Float[Tensor, "rows d_text"]
    common_of: Int[Tensor, " rows"]
    """Which prompt each row is of."""


def common_rows(model: Model) -> tuple[tuple[str, ...], dict[str, Named]]:
    """The prompts of common names, and per stream their rows; from the user's cache folder where they were read
    before."""
    held = read_once(model, {"names": digest(list(PROMPTS))}, lambda: _read(model))
    return held.sampled, {name: Named(found.sample.float(), found.caption) for name, found in held.streams.items()}


def beside(prompts: Sequence[str], recipe: Recipe) -> Bool[Tensor, " prompts"]:
    """Which prompts are held beside what a recipe keeps: not those that share a word with what it changes, nor those
    that it keeps itself."""
    gone, kept = {word for concept in recipe.concepts for word in _words(concept)}, set(map(normal, recipe.preserve))
    clear = [gone.isdisjoint(_words(prompt)) and normal(prompt) not in kept for prompt in prompts]
    return torch.tensor(clear, dtype=torch.bool)


def _read(model: Model) -> Corpus:
    """A corpus whose captions are the prompts."""
    rows: dict[str, list[Tensor]] = {name: [] for name in model.streams}
    for start in range(0, len(PROMPTS), _BATCH):
        batch = PROMPTS[start : start + _BATCH]
        for stream, encoded in model.encode(batch, batch_size=_BATCH, brief=True).items():
            for number, prompt in enumerate(batch):
                found = prompt_rows(encoded, number)
                rows[stream].append(found.rows[_places(found, prompt in _ALONE)])
    streams = {name: sampled_rows(found) for name, found in rows.items()}
    return Corpus(streams, len(PROMPTS), PROMPTS, model.name, model.fingerprint)


def _places(prompt: PromptRows, alone: bool) -> list[int]:
    if prompt.pooled:
        return [0]
    spans = prompt.spans
    return [place for span in spans for place in ((span.last,) if alone or not span.suffix else ()) + span.suffix]


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in re.findall(r"\w+", normal(text))} - _TELL_NOTHING
