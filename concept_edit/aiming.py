"""Finding the goal that paints the wanted shares: one root per attribute, from counted pictures only.

The goal of a concept with row c is T(α) = c + Σ α_j a_j, where a_j leads from the concept to "attribute concept", from
"doctor" to "woman doctor". α = 0 is the concept as it is, α_j = 1 the attribute asked for outright. Shares of pictures
answer α X
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from concept_edit.evaluation.intervals import wilson

_REACH = 3.0
"""No goal is sought farther than this. The ridge holds an edit back, so that more than 1 may be needed."""
_SURE = 4.0
"""Log odds taken for granted at α = ±1, where the attribute is asked for outright; sets the first step only."""


def log_odds(share: float) -> float:
    """ln(p / (1 − p))."""
    return math.log(share / (1 - share))


def judged(counts: Mapping[str, int], across: Mapping[str, float], tolerance: float) -> str:
    """`in`: every share's 95 % interval holds its goal and reaches no farther than ± tolerance. `out`: one excludes it.
    `open`: more pictures are needed to tell."""
    n = sum(counts.values())
    intervals = {name: wilson(counts[name], n) for name in across}
    if any(not low <= across[name] <= high for name, (low, high) in intervals.items()):
        return "out"
    return "in" if all(high - low <= 2 * tolerance for low, high in intervals.values()) else "open"


def near(counts: Mapping[str, int], across: Mapping[str, float], tolerance: float) -> bool:
    """Whether all counted shares lie within ± tolerance of their goals."""
    n = sum(counts.values())
    return all(abs(counts[name] / n - share) <= tolerance for name, share in across.items())


@dataclass(frozen=True)
class Search:
    """The search for one attribute's α; negative values are aims towards the others."""

    goal: float
    """Wanted share."""
    at: float = 0.0
    """Where the next pictures are painted."""
    past: tuple[tuple[float, float, float], ...] = ()
    """(α, log odds, its precision) measured so far."""
    low: float = -_REACH
    """From here down the share is significantly too small."""
    high: float = _REACH
    """From here up the share is significantly too great."""

    def measured(self, hits: int, n: int) -> Search:
        """The search after `hits` of `n` pictures at `at` showed the attribute."""
        share = (hits + 0.5) / (n + 1)
        point = (self.at, log_odds(share), n * share * (1 - share))
        bottom, top = wilson(hits, n)
        low = max(self.low, self.at) if top < self.goal else self.low
        high = min(self.high, self.at) if bottom > self.goal else self.high
        if low >= high:
            low, high = -_REACH, _REACH
        moved = replace(self, past=(*self.past, point), low=low, high=high)
        return replace(moved, at=round(moved._next(), 6))

    def _next(self) -> float:
        """Where the line through the measured log odds meets the goal; the middle of the bracket if that is outside."""
        slope, at, seen = self._line()
        step = at + (log_odds(self.goal) - seen) / slope if slope > 0 else math.inf
        return step if self.low < step < self.high else (self.low + self.high) / 2

    def _line(self) -> tuple[float, float, float]:
        """Slope and a point of the secant: least squares over all that was measured, by its precision.

        While only one place was measured, the second point is the attribute asked for outright.
        """
        weight = sum(w for _, _, w in self.past)
        at = sum(w * x for x, _, w in self.past) / weight
        seen = sum(w * y for _, y, w in self.past) / weight
        width = sum(w * (x - at) ** 2 for x, _, w in self.past)
        if width > 1e-9:
            return sum(w * (x - at) * (y - seen) for x, y, w in self.past) / width, at, seen
        end = math.copysign(1.0, log_odds(self.goal) - seen)
        return end * (math.copysign(max(_SURE, abs(seen) + 1), end) - seen), at, seen


@dataclass(frozen=True)
class Aim:
    """One concept's searches: an attribute fewer than there are, the last one gives way."""

    across: Mapping[str, float]
    searches: Mapping[str, Search]

    @classmethod
    def start(cls, across: Mapping[str, float]) -> Aim:
        """Nothing measured: aim at the concept itself."""
        return cls(across, {name: Search(share) for name, share in list(across.items())[:-1]})

    @property
    def alphas(self) -> dict[str, float]:
        """α of each attribute, none below 0; rounded, since a recipe shows them."""
        free = [search.at for search in self.searches.values()]
        floor = min(0.0, *free)
        moved = [*free, 0.0]
        return {name: round(value - floor, 6) for name, value in zip(self.across, moved, strict=True)}

    def measured(self, counts: Mapping[str, int]) -> Aim:
        """The searches after a round's counts."""
        n = sum(counts.values())
        return replace(self, searches={name: s.measured(counts[name], n) for name, s in self.searches.items()})


def spread(shares: Sequence[Mapping[str, float]], across: Sequence[Mapping[str, float]]) -> float:
    """Δ of Gandikota et al. 2024: mean of |desired − actual| / desired over attributes and concepts."""
    parts = [abs(a[name] - s[name]) / a[name] for s, a in zip(shares, across, strict=True) for name in a]
    return sum(parts) / len(parts)
