"""What a guarded solve works towards, what surrounds it, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from concept_edit.memory.solve import Factors

if TYPE_CHECKING:
    from concept_edit.recipe import Recipe

_NOISE = 0.65
"""Foretold drift from which on an edit is refused: among 900 artists, where more than 400 erased ones begin to take the
others along (benchmarks/encoder_identity.md)."""

_SHORT = 0.1
"""Ways shorter than this share of a row's distance from the mean (a wording that begins as the guide does) count as so
long: there is little to erase."""


class Bounds(NamedTuple):
    """What the guarded solver works towards; the fields of the same names in `Recipe`."""

    left: float
    drift: float
    corpus: float
    rounds: int

    @classmethod
    def of(cls, recipe: Recipe) -> Bounds:
        """A recipe's."""
        return cls(recipe.erased_to, recipe.kept_within, recipe.corpus_within, recipe.rounds)


@dataclass(frozen=True)
class Surroundings:
    """What should not move besides the kept rows."""

    moment: Float[Tensor, "rows d_text"]
    """K0 = E k kᵀ over caption tokens, float64; with a `floor`, rows L of which K0 = LᵀL + floor · diag(scale²)."""
    mean: Float[Tensor, " d_text"]
    """μ = E k, float64."""
    fixed: Float[Tensor, "fixed d_text"]
    """Rows that do not move at all."""
    ordinary: Float[Tensor, "tokens d_text"]
    """Some caption tokens of captions that ask for nothing the recipe changes."""
    floor: Float[Tensor, ""] | None = None
    """Set where d_text is too wide for a d_text x d_text matrix; the solve is done on the rows' side then."""
    scale: Float[Tensor, " d_text"] | None = None
    """Root mean square of each channel, 1 in the mean square: the ridge is relative to it, so that channels hundreds of
    times the rest (as language models have) do not decide. None: all alike."""
    lens: Float[Tensor, "seen d_text"] | None = None
    """How the readers see rows: lengths are those of `lens` x. None: lengths are those of the rows."""

    common: Float[Tensor, "rows d_text"] | None = None
    """Rows of common names, held beside the kept rows. None: none are."""
    common_of: Int[Tensor, " rows"] | None = None
    """Which prompt of a common name each of them is of."""

    def holding(self, prompts: Bool[Tensor, " prompts"]) -> Surroundings:
        """The same with the rows of these prompts of common names alone."""
        if self.common is None or self.common_of is None:
            return self
        stay = prompts[self.common_of]
        return replace(self, common=self.common[stay], common_of=self.common_of[stay])

    def without_common(self) -> Surroundings:
        """The same with no common names."""
        return replace(self, common=None, common_of=None)

    @property
    def spread(self) -> float:
        """E ‖k − μ‖²."""
        if self.floor is None:
            return float(self.moment.trace() - self.mean @ self.mean)
        tail = float(self.floor) * self.moment.shape[1]
        return float(self.moment.square().sum()) + tail - float(self.mean @ self.mean)

    def measured(self, rows: Float[Tensor, "rows d_text"]) -> Float[Tensor, "rows seen"]:
        """Rows as the readers see them, float64."""
        return rows.double() if self.lens is None else rows.double() @ self.lens.double().T

    def far(self, rows: Float[Tensor, "rows d_text"]) -> Float[Tensor, " rows"]:
        """How far rows lie from the mean, as the readers see it."""
        return self.measured(rows.double() - self.mean).norm(dim=1)

    def lengths(self, ways: Float[Tensor, "edits seen"], sources: Float[Tensor, "edits d_text"]) -> Tensor:
        """How long the ways of source rows to their goals, as the readers see them, count as."""
        return torch.maximum(ways.norm(dim=1), _SHORT * self.far(sources))


class Guarded(NamedTuple):
    """The answer of a guarded solve and what it shows."""

    factors: Factors
    left: Float[Tensor, " edits"]
    """Share of each source row's way to its goal that is left."""
    drift: Float[Tensor, " keeps"]
    """Drift of each kept row, of its distance from the mean."""
    predicted: Float[Tensor, " keeps"]
    """What that drift would be had the row not been kept: the drift to expect of prompts nobody named."""
    corpus: float
    """Drift of caption tokens, root mean square, of their distance from the mean."""
    groups: int = 0
    """How many groups the source rows were merged into; 0 where each was solved for itself."""

    @property
    def noise(self) -> bool:
        """Whether the foretold drift reaches the distance of unlike words."""
        return _noisy(foretold(self))


def foretold(guarded: Guarded) -> dict[str, float]:
    """A guarded solve in four figures: the share `left` of the concepts' ways, the drift of `kept` rows, of prompts
    `unnamed` in the recipe (leave-one-out) and of `captions`. Means; captions root mean square. `groups` is their
    number, where rows were merged."""
    means = {"left": guarded.left, "kept": guarded.drift, "unnamed": guarded.predicted}
    told = {name: float(values.mean()) for name, values in means.items() if len(values)}
    told |= {"captions": guarded.corpus} | ({"groups": guarded.groups} if guarded.groups else {})
    return {name: round(value, 6) for name, value in told.items()}


def refuse_noise(told: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse an edit whose foretold drift reaches the distance of unlike words.

    Raises:
        ValueError: naming stream and figures.
    """
    for stream, figures in told.items():
        if _noisy(figures):
            raise ValueError(
                f"this edit would paint noise: in the stream {stream!r} prompts it does not name would move by "
                f"{figures.get('unnamed', 0.0):.0%} and captions by {figures['captions']:.0%} of their distance from "
                "the mean. One matrix holds about as many concepts as the stream is wide, even merged: erase fewer, "
                "or use method 'gated'"
            )


def _noisy(figures: Mapping[str, float]) -> bool:
    return figures.get("unnamed", 0.0) > _NOISE or figures["captions"] > _NOISE
