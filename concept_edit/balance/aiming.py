"""Finding the goals that paint the wanted shares, wording by wording, from all pictures counted so far.

The goal of a concept with row c is T(α) = c + Σ α_j a_j, where a_j leads from the concept to "attribute concept", from
"doctor" to "woman doctor". α = 0 is the concept as it is, α_j = 1 the attribute asked for outright. Every wording ("a
doctor", "a photo of a doctor") tips over at an α of its own, though all of one concept much alike. So each attribute
has one logistic model of its share,

    ln(p_w / (1 − p_w)) = b + d_w + (s + e_w) α_w

b and s are the concept's, d_w and e_w what a wording w deviates by; all have normal priors (Laplace's approximation:
the most probable values, and their covariance from the curvature). Thus pictures of one wording teach about the others,
pictures of all rounds count, and every foretold share has an interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from concept_edit.evaluation.intervals import Z, wilson

_REACH = 3.0
"""No goal is sought farther than this. The ridge holds an edit back, so that more than 1 may be needed."""
_STEP = 1.0
"""An aim moves by at most this in one round."""
_PRIOR = ((0.0, 3.0), (4.0, 2.0), (0.0, 0.8), (0.0, 1.0))
"""Mean and deviation of b, s, d and e before anything is seen; α = 1 asks outright, which moves the odds by e⁴."""
_GENTLEST = 1.0
"""Least slope that is believed."""
_FAR = 1.0
"""Deviation of the log odds from a straight line, for each α of distance: pictures painted far away say less."""
_PASSES, _NEWTON = 4, 12


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


@dataclass(frozen=True)
class Cell:
    """Pictures of one wording painted at one aim."""

    wording: int
    at: float
    hits: int
    n: int


@dataclass(frozen=True)
class Response:
    """How the share answers to α: the logistic model's most probable values and their covariance."""

    values: Float[np.ndarray, " parameters"]
    covariance: Float[np.ndarray, "parameters parameters"]

    @property
    def wordings(self) -> int:
        """How many there are."""
        return len(self.values) // 2 - 1

    def share(self, wording: int, alpha: float) -> float:
        """Foretold share of a wording."""
        return _share(float(_facts(self.wordings, wording, alpha) @ self.values))

    def interval(self, places: Sequence[tuple[int, float]]) -> tuple[float, float, float]:
        """Mean foretold share over (wording, α), with its 95 % interval."""
        rows = np.stack([_facts(self.wordings, wording, alpha) for wording, alpha in places])
        odds = rows @ self.values
        shares = np.array([_share(float(x)) for x in odds])
        along = (shares * (1 - shares)) @ rows / len(rows)
        half = Z * math.sqrt(float(along @ self.covariance @ along))
        value = float(shares.mean())
        return value, value - half, value + half

    def root(self, wordings: Sequence[int], goal: float, *, beside: Sequence[float] | None = None) -> float:
        """The α, or the α to add to those given `beside`, at which the mean share of `wordings` meets the goal.

        By bisection; no slope counts as gentler than the gentlest that is believed.
        """
        slopes = [max(_GENTLEST, self.values[1] + self.values[2 + self.wordings + w]) for w in wordings]
        apart = [0.0] * len(wordings) if beside is None else beside
        starts = [float(_facts(self.wordings, w, x) @ self.values) for w, x in zip(wordings, apart, strict=True)]
        low, high = -_REACH, _REACH
        for _ in range(40):
            middle = (low + high) / 2
            found = sum(_share(b + s * middle) for b, s in zip(starts, slopes, strict=True)) / len(wordings)
            low, high = (middle, high) if found < goal else (low, middle)
        return (low + high) / 2


def fitted(cells: Sequence[Cell], wordings: int, about: Sequence[float]) -> Response:
    """The response to what was counted; pictures far from the aims `about` count less."""
    prior = np.repeat([deviation**-2 for _, deviation in _PRIOR], [1, 1, wordings, wordings])
    start = np.repeat([mean for mean, _ in _PRIOR], [1, 1, wordings, wordings])
    rows = np.stack([_facts(wordings, cell.wording, cell.at) for cell in cells])
    hits, counts = (np.array([getattr(cell, name) for cell in cells], dtype=np.float64) for name in ("hits", "n"))
    smoothed = (hits + 0.5) / (counts + 1)
    away = np.array([cell.at - about[cell.wording] for cell in cells])
    trust = 1 / (1 + counts * smoothed * (1 - smoothed) * (_FAR * away) ** 2)
    values = start.copy()
    for _ in range(_NEWTON):
        shares = np.array([_share(float(x)) for x in rows @ values])
        gradient = rows.T @ (trust * (hits - counts * shares)) - prior * (values - start)
        curvature = rows.T @ ((trust * counts * shares * (1 - shares))[:, None] * rows) + np.diag(prior)
        step = np.linalg.solve(curvature, gradient)
        values = values + step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
    return Response(values, np.linalg.inv(curvature))


@dataclass(frozen=True)
class Search:
    """The search for one attribute's α in every wording; negative values are aims towards the others."""

    goal: float
    """Wanted share."""
    at: tuple[float, ...] = (0.0,)
    """Where the next pictures of each wording are painted."""
    own: tuple[bool, ...] = (True,)
    """Which wordings have an aim of their own; the others share one."""
    past: tuple[Cell, ...] = ()

    @cached_property
    def _aimed(self) -> tuple[Response, tuple[float, ...]]:
        """The response, and the aims it points to.

        Where a wording's pictures hardly answer to its aim, and it cannot be brought to the goal by itself, all go
        farther together, so that their mean meets it.
        """
        about = self.at
        for _ in range(_PASSES):
            response = fitted(self.past, len(self.at), about)
            alone = [self._stepped(w, response.root([w] if self.own[w] else self._all, self.goal)) for w in self._all]
            more = response.root(self._all, self.goal, beside=alone)
            about = tuple(self._stepped(w, x + more) for w, x in enumerate(alone))
        return response, about

    @property
    def typical(self) -> float:
        """The aim of wordings that were not painted: where the mean of the painted ones meets the goal."""
        return 0.0 if not any(self.at) else fitted(self.past, len(self.at), self.at).root(self._all, self.goal)

    def counted(self, hits: Sequence[int], counts: Sequence[int]) -> Search:
        """The search with `hits` of `counts` more pictures of each wording, painted at `at`; it does not move."""
        cells = (Cell(w, self.at[w], *pair) for w, pair in enumerate(zip(hits, counts, strict=True)) if pair[1])
        return replace(self, past=(*self.past, *cells))

    def moved(self) -> Search:
        """The search at the aims that all pictures point to."""
        return replace(self, at=self._aimed[1]) if self.past else self

    def excluded(self) -> bool:
        """Whether the share foretold where it stands, of all wordings together, leaves the goal out of its interval."""
        response, _ = self._aimed
        _, low, high = response.interval(list(enumerate(self.at)))
        return not low <= self.goal <= high

    def within(self, tolerance: float, each: float) -> bool:
        """Whether at the next aims all wordings together lie within ± tolerance, and each with an aim of its own within
        ± each, for sure (95 %)."""
        response, aims = self._aimed
        _, low, high = response.interval(list(enumerate(aims)))
        own = [response.interval([(w, aims[w])]) for w in self._all if self.own[w]] if len(aims) > 1 else []
        single = all(self.goal - each <= a and b <= self.goal + each for _, a, b in own)
        return single and self.goal - tolerance <= low and high <= self.goal + tolerance

    def foretold(self) -> float:
        """The share to expect at the next aims, all wordings together."""
        response, aims = self._aimed
        return response.interval(list(enumerate(aims)))[0]

    @property
    def _all(self) -> range:
        return range(len(self.at))

    def _stepped(self, wording: int, wanted: float) -> float:
        """The next aim of a wording, at most a step away."""
        here = self.at[wording]
        return round(min(here + _STEP, max(here - _STEP, wanted)), 6)


@dataclass(frozen=True)
class Aim:
    """One concept's searches: an attribute fewer than there are, the last one gives way."""

    across: Mapping[str, float]
    searches: Mapping[str, Search]

    @classmethod
    def start(cls, across: Mapping[str, float], own: Sequence[bool] = (True,)) -> Aim:
        """Nothing measured: aim at the concept itself. `own` says which of the painted wordings have their own aim."""
        at = (0.0,) * len(own)
        return cls(across, {name: Search(share, at, tuple(own)) for name, share in list(across.items())[:-1]})

    @property
    def still(self) -> bool:
        """Whether it still is at the concept itself."""
        return not any(any(search.at) for search in self.searches.values())

    def alphas(self, wording: int | None = None) -> dict[str, float]:
        """α of each attribute for a painted wording, or (None) for others; none below 0, and rounded, since a recipe
        shows them."""
        free = [s.typical if wording is None else s.at[wording] for s in self.searches.values()]
        floor = min(0.0, *free)
        moved = [*free, 0.0]
        return {name: round(value - floor, 6) for name, value in zip(self.across, moved, strict=True)}

    def counted(self, seen: Sequence[Mapping[str, int]]) -> Aim:
        """The searches after counts of each wording, painted where they stand."""
        n = [sum(counts.values()) for counts in seen]
        return replace(self, searches={k: s.counted([c[k] for c in seen], n) for k, s in self.searches.items()})

    def moved(self) -> Aim:
        """The searches where all their pictures point."""
        return replace(self, searches={name: search.moved() for name, search in self.searches.items()})

    def verdict(self, tolerance: float, each: float) -> str:
        """`in`: where its pictures point, every share is within range. `out`: where it stands, one is not. `open`."""
        if self.still:
            return self._at_rest(tolerance, each)
        if all(search.within(tolerance, each) for search in self.searches.values()):
            return "in"
        return "out" if any(search.excluded() for search in self.searches.values()) else "open"

    def near(self, tolerance: float) -> bool:
        """Whether the shares to expect, of all wordings together, lie within ± tolerance."""
        if self.still:
            counts = self._pooled()
            return all(abs(counts[k] / sum(counts.values()) - share) <= tolerance for k, share in self.across.items())
        return all(abs(search.foretold() - search.goal) <= tolerance for search in self.searches.values())

    def _at_rest(self, tolerance: float, each: float) -> str:
        """A concept never aimed at is judged by its pictures alone, so that a balanced one is left as it is."""
        own = next(iter(self.searches.values())).own
        parts = [judged(self._pooled(w), self.across, each) for w, is_own in enumerate(own) if is_own and len(own) > 1]
        verdicts = {judged(self._pooled(), self.across, tolerance), *parts}
        return "out" if "out" in verdicts else "open" if "open" in verdicts else "in"

    def _pooled(self, wording: int | None = None) -> dict[str, int]:
        """Pictures of each attribute in all rounds: of one wording, or of all."""
        past = {k: [c for c in s.past if wording in (None, c.wording)] for k, s in self.searches.items()}
        counts = {name: sum(cell.hits for cell in cells) for name, cells in past.items()}
        n = sum(cell.n for cell in next(iter(past.values())))
        return counts | {list(self.across)[-1]: n - sum(counts.values())}


def spread(shares: Sequence[Mapping[str, float]], across: Sequence[Mapping[str, float]]) -> float:
    """Δ of Gandikota et al. 2024: mean of |desired − actual| / desired over attributes and concepts."""
    parts = [abs(a[name] - s[name]) / a[name] for s, a in zip(shares, across, strict=True) for name in a]
    return sum(parts) / len(parts)


def _facts(wordings: int, wording: int, alpha: float) -> Float[np.ndarray, " parameters"]:
    """1, α, and both again for this wording."""
    row = np.zeros(2 + 2 * wordings)
    row[0], row[1], row[2 + wording], row[2 + wordings + wording] = 1.0, alpha, 1.0, alpha
    return row


def _share(odds: float) -> float:
    """1 / (1 + e^−x), without overflow."""
    return 1 / (1 + math.exp(-odds)) if odds > 0 else math.exp(odds) / (1 + math.exp(odds))
