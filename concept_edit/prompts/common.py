"""Common names as a model's text encoder sees them: what a guarded solve holds beside what its recipe names.

A concept that nobody thought of keeping is most often a common one. Each name is encoded once, as it stands; its last
token and what the template says after it (EOS in CLIP) speak for it. Names that share a word with what goes are left
out, so that "police car" does not hold back "car".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from concept_edit.identity import digest
from concept_edit.models.contract import Model
from concept_edit.prompts.corpus import Corpus, read_once, sampled_rows
from concept_edit.prompts.names import COMMON
from concept_edit.prompts.tokens import PromptRows, prompt_rows
from concept_edit.recipe import Recipe, normal

_BATCH = 64
_TELL_NOTHING = {"a", "and", "by", "in", "of", "the"}


class Named(NamedTuple):
    """Rows of one stream that speak for names."""

    common: Float[Tensor, "rows d_text"]
    common_of: Int[Tensor, " rows"]
    """Which name each row is of."""


def common_rows(model: Model) -> tuple[tuple[str, ...], dict[str, Named]]:
    """The common names, and per stream their rows; from the user's cache folder where they were read before."""
    held = read_once(model, {"names": digest(list(COMMON))}, lambda: _read(model))
    return held.sampled, {name: Named(found.sample.float(), found.caption) for name, found in held.streams.items()}


def beside(names: Sequence[str], recipe: Recipe) -> Bool[Tensor, " names"]:
    """Which names are held beside what a recipe keeps: not those that share a word with what it changes, nor those
    that it keeps itself."""
    gone, kept = {word for concept in recipe.concepts for word in _words(concept)}, set(map(normal, recipe.preserve))
    clear = [gone.isdisjoint(_words(name)) and normal(name) not in kept for name in names]
    return torch.tensor(clear, dtype=torch.bool)


def _read(model: Model) -> Corpus:
    """A corpus whose captions are the names."""
    rows: dict[str, list[Tensor]] = {name: [] for name in model.streams}
    for start in range(0, len(COMMON), _BATCH):
        names = COMMON[start : start + _BATCH]
        for stream, encoded in model.encode(names, batch_size=_BATCH, brief=True).items():
            prompts = [prompt_rows(encoded, i) for i in range(len(names))]
            rows[stream] += [prompt.rows[_places(prompt)] for prompt in prompts]
    streams = {name: sampled_rows(found) for name, found in rows.items()}
    return Corpus(streams, len(COMMON), COMMON, model.name, model.fingerprint)


def _places(prompt: PromptRows) -> list[int]:
    if prompt.pooled:
        return [0]
    return [place for span in prompt.spans for place in (span.last, *span.suffix)]


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in re.findall(r"\w+", normal(text))} - _TELL_NOTHING
