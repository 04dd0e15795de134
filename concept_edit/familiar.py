"""Does a model know a word: the word's row beside those of made-up words, and the nearest thing the model paints.

    found = familiar(model, "Twemojy")
    found.verdict, found.sentence          # 'unknown', "this model reads 'Twemojy' like a made-up word; near: Twemoji"

An encoder gives every text a row. What it never saw lands among the rows of made-up words; what it learned stands apart
from them. So the ruler is made of made-up words, drawn once with a fixed seed, and holds for any encoder.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.demo import EMBEDDED
from concept_edit.evaluation.sets import EVERYDAY
from concept_edit.models.contract import Model
from concept_edit.prompts.lens import lens_of
from concept_edit.prompts.tokens import prompt_rows
from concept_edit.recipe import normal

MADE_UP = 64
"""Made-up words that the ruler is made of."""
_QUANTILE = 0.95
_FAR = 0.5
"""Cosine to the nearest known thing under which a known word stands alone."""
_BATCH = 32

Verdict = Literal["known", "far", "unknown"]


@dataclass(frozen=True)
class Familiar:
    """What a model's text side says about a word."""

    word: str
    verdict: Verdict
    """`known`; `far`: not made up, but far from everything on the list; `unknown`: read like a made-up word."""
    ratio: float
    """Its distance from made-up words' mean row over the distance that 95 % of these stay within; above 1 it is none
    of them."""
    nearest: tuple[tuple[str, float], ...]
    """The nearest things of the list, and their cosine after the made-up words' mean is taken off; nearest first."""
    listed: bool
    """Whether the word is on the list itself."""
    spelled: str = ""
    """A name of the list that is spelled almost so."""

    @property
    def sentence(self) -> str:
        """In words."""
        near = f"nearest: {', '.join(name for name, _ in self.nearest)}" if self.nearest else ""
        if self.listed:
            return f"This model knows '{self.word}'; {near}."
        if self.verdict == "unknown":
            meant = f"did you mean '{self.spelled}'?" if self.spelled else "an edit of it changes something else"
            return f"This model reads '{self.word}' like a made-up word: {meant}"
        if self.verdict == "far":
            return f"This model has something of its own for '{self.word}', far from everything on its list."
        return f"This model has learned something for '{self.word}'; {near}."


def familiar(
    model: Model, words: str | Sequence[str], *, among: Sequence[str] | None = None, near: int = 3
) -> list[Familiar]:
    """Whether the model knows each word: seconds, no picture.

    Measured on the row of the last subject token of the bare word in the model's first text stream, as its matrices see
    it. `among` is the list of known things: None takes what the embedded model paints, or everyday things. `near`
    is how many of them are named.

    Raises:
        ValueError: an empty word.
    """
    asked = [words] if isinstance(words, str) else list(words)
    if not all(word.strip() for word in asked):
        raise ValueError("an empty word is neither known nor unknown; give a word or a short phrase")
    names = list(known_things(model) if among is None else among)
    ruler = _ruler(model)
    rows = ruler.seen(_rows(model, [*asked, *names]))
    lengths = rows.norm(dim=1)
    unit = rows / lengths.clamp(min=1e-12)[:, None]
    closeness = unit[: len(asked)] @ unit[len(asked) :].T
    spelled = {normal(name): name for name in names}
    return [
        _told(word, float(lengths[i]) / ruler.reach, closeness[i], names, spelled, near) for i, word in enumerate(asked)
    ]


def _told(
    word: str,
    ratio: float,
    closeness: Float[Tensor, " names"],
    names: Sequence[str],
    spelled: dict[str, str],
    near: int,
) -> Familiar:
    order = closeness.argsort(descending=True).tolist()
    listed = normal(word) in spelled
    nearest = tuple((names[i], float(closeness[i])) for i in order if normal(names[i]) != normal(word))[:near]
    verdict: Verdict = "known"
    if not listed:
        beside = nearest[0][1] if nearest else 1.0
        verdict = "unknown" if ratio < 1 else "far" if beside < _FAR else "known"
    close = get_close_matches(normal(word), spelled, n=1, cutoff=0.75) if verdict == "unknown" else []
    return Familiar(word, verdict, ratio, nearest, listed, spelled[close[0]] if close else "")


@dataclass(frozen=True)
class _Ruler:
    """Made-up words' rows, as the model's matrices see them."""

    lens: Float[Tensor, "seen d_text"]
    mean: Float[Tensor, " seen"]
    reach: float
    """The distance from the mean that most of them stay within."""

    def seen(self, rows: Float[Tensor, "rows d_text"]) -> Float[Tensor, "rows seen"]:
        return rows @ self.lens.T - self.mean


_RULERS: dict[str, _Ruler] = {}
"""By the model's fingerprint; the last few."""


def _ruler(model: Model) -> _Ruler:
    if model.fingerprint not in _RULERS:
        lens = lens_of(model, next(iter(model.streams)))
        rows = _rows(model, made_up(MADE_UP)) @ lens.T
        mean = rows.mean(dim=0)
        reach = float((rows - mean).norm(dim=1).quantile(_QUANTILE))
        while len(_RULERS) > 3:
            _RULERS.pop(next(iter(_RULERS)))
        _RULERS[model.fingerprint] = _Ruler(lens, mean, max(reach, 1e-12))
    return _RULERS[model.fingerprint]


def _rows(model: Model, words: Sequence[str]) -> Float[Tensor, "words d_text"]:
    """Last subject row of each word in the model's first text stream."""
    found = []
    for start in range(0, len(words), _BATCH):
        part = list(words[start : start + _BATCH])
        encoded = next(iter(model.encode(part).values()))
        found += [encoded.rows[i][prompt_rows(encoded, i).spans[0].last] for i in range(len(part))]
    return torch.stack(found).float().cpu()


def made_up(count: int) -> list[str]:
    """Words that mean nothing: two to four syllables, the same ones every time."""
    draw = random.Random(0)
    return [
        "".join(draw.choice("bcdfgklmnprstvz") + draw.choice("aeiou") for _ in range(draw.randint(2, 4)))
        + draw.choice(("", "x", "rk", "n"))
        for _ in range(count)
    ]


def known_things(model: Model) -> Sequence[str]:
    """What the embedded model paints; everyday things for any other."""
    if model.name not in EMBEDDED:
        return EVERYDAY
    from concept_edit.demo.concepts import CONCEPTS, STYLES

    return [*(concept.name for concept in CONCEPTS), *(style.name for style in STYLES)]
