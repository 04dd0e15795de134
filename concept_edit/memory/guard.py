"""The guarded solver: the same closed form, with every row's weight moved until the row is where it should be.

Plain UCE weighs all rows alike, so that easy concepts are erased far past need at the price of everything else. Here
three bounds are given, and a few solves find the weights that meet them:

    ‖c + A c − t‖ ≤ left · ‖t − c‖               every source row: the concept is gone
    ‖A k‖         ≤ drift · ‖k − μ‖              every kept row: what is named stays
    E ‖A k‖²      ≤ corpus² · E ‖k − μ‖²         ordinary caption tokens: so does everything else

μ is the corpus' mean; captions that ask for an erased concept are not ordinary. What holds captions is their moment
K0, however many they are. After each solve a row's weight is multiplied by what the row shows over its bound
(iteratively reweighted least squares). Rows that must not move at all, BOS and the empty prompt that guidance
subtracts, are an equality: the map is sought on the complement of their span, where A e = 0 holds whatever the weights.

How far a prompt that nobody named will move is predicted without holding any out, by the leave-one-out identity of
ridge regression: had a kept row k of weight p not been kept, its drift would be ‖A k‖ / (1 − p kᵀM⁻¹k).

One matrix holds about d_text rows. Where that prediction foretells noise and there are more source rows than two thirds
of the free directions, near pairs are merged into so many groups, each with the mean of its rows: less of each
concept goes, and the rest stays a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.memory.solve import Factors, Problem, factorise

if TYPE_CHECKING:
    from concept_edit.recipe import Recipe

_STEP = (0.5, 3.0)
"""A weight moves by at most these factors in one round."""
_CORPUS = 60.0
"""Weight of the corpus in the first solve, beside source rows of weight 1."""
_SPAN = 1e-7
"""Directions of the fixed rows under this share of the largest are rounding of float32."""
_NOISE = 0.65
"""Foretold drift from which on an edit is refused: among 900 artists, where more than 400 erased ones begin to take the
others along (benchmarks/encoder_identity.md)."""
_HELD = 0.65
"""Groups of source rows for each free direction. Fewer leave more of each concept, more take the others along; at 600
of 900 artists identity was best here."""
_LLOYD = 20
"""Passes of k-means over the rows."""
_SHORT = 0.1
"""Ways shorter than this share of a row's distance from the mean (a wording that begins as the guide does) count as so
long: there is little to erase."""
_NEAR = 1e-12
"""Lengths under this count as none."""


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

    moment: Float[Tensor, "d_text d_text"]
    """K0 = E k kᵀ over caption tokens, float64."""
    mean: Float[Tensor, " d_text"]
    """μ = E k, float64."""
    fixed: Float[Tensor, "fixed d_text"]
    """Rows that do not move at all."""
    ordinary: Float[Tensor, "tokens d_text"]
    """Some caption tokens of captions that ask for nothing the recipe changes."""

    @property
    def spread(self) -> float:
        """E ‖k − μ‖²."""
        return float(self.moment.trace() - self.mean @ self.mean)


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


def solve_guarded(problem: Problem, around: Surroundings, bounds: Bounds, *, merge: bool = True) -> Guarded:
    """The map that comes nearest to `bounds` after `bounds.rounds` further solves, float64.

    Where it foretells noise because there are too many rows, near ones are merged first (unless `merge` is False).

    Not additive: the weights depend on all rows together, so `+` and `without` solve anew from the rows.

    Raises:
        ValueError: pairs held as sums (too many to weigh one by one), or rows too alike for the ridge.
    """
    if problem.moment is not None:
        raise ValueError(
            "a guarded solve weighs every row, and these are too many to hold one by one; use the token rule 'last', "
            "fewer wordings, or method 'uce'"
        )
    rounds = _Rounds(problem, around)
    found, groups = rounds.run(bounds), int(_HELD * rounds.basis.shape[1])
    if not merge or not found.noise or len(problem.sources) <= groups:
        return found
    fewer = _Rounds(merged(problem, groups), around).run(bounds)
    return fewer._replace(left=rounds.left(fewer.factors), groups=groups)


def merged(problem: Problem, groups: int) -> Problem:
    """The problem with its pairs merged into at most `groups`, by k-means over sources and goals together.

    A group has the weighted mean of its rows and the sum of their weights. The same rows give the same groups.
    """
    pairs = torch.cat([problem.sources, problem.goals], dim=1).double()
    centres, weights = pairs[_spread_out(pairs, groups)], problem.weights.double()
    for _ in range(_LLOYD):
        own = torch.cdist(pairs, centres).argmin(dim=1)
        shares = torch.zeros(len(centres), dtype=torch.float64).index_add_(0, own, weights)
        sums = torch.zeros_like(centres).index_add_(0, own, weights[:, None] * pairs)
        centres, shares = (sums / shares[:, None])[shares > 0], shares[shares > 0]
    sources, goals = centres.float().split(problem.width, dim=1)
    return replace(problem, sources=sources, goals=goals, weights=shares)


def _spread_out(rows: Tensor, count: int) -> list[int]:
    """Where k-means starts: each time a row drawn by its squared distance from all chosen ones (k-means++)."""
    generator = torch.Generator().manual_seed(0)
    chosen, near = [0], (rows - rows[0]).square().sum(dim=1)
    while len(chosen) < count and bool(near.any()):
        chosen.append(int(torch.multinomial(near, 1, generator=generator)))
        near = torch.minimum(near, (rows - rows[chosen[-1]]).square().sum(dim=1))
    return chosen


def complement(fixed: Float[Tensor, "fixed d_text"]) -> Float[Tensor, "d_text free"]:
    """An orthonormal basis of all directions in which no fixed row has a part, float64."""
    if not len(fixed):
        return torch.eye(fixed.shape[1], dtype=torch.float64)
    _, sizes, directions = torch.linalg.svd(fixed.double(), full_matrices=True)
    return directions[int((sizes > _SPAN * sizes[0]).sum()) :].T.contiguous()


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


class _Rounds:
    """One problem on the free directions, its weights, and what each solve shows."""

    def __init__(self, problem: Problem, around: Surroundings) -> None:
        self.problem, self.around = problem, around
        self.basis = complement(around.fixed)
        if not self.basis.shape[1]:
            raise ValueError(
                f"the {len(around.fixed)} rows of the empty prompt take up all {problem.width} directions of the "
                "stream and leave none to edit in; use method 'uce'"
            )
        self.ways = (problem.goals - problem.sources).double()
        self.far = torch.maximum(self.ways.norm(dim=1), _SHORT * (problem.sources.double() - around.mean).norm(dim=1))
        self.far.clamp_(min=_NEAR)
        self.kept_far = (problem.kept.double() - around.mean).norm(dim=1).clamp(min=_NEAR)
        self.sources, self.kept = problem.sources.double() @ self.basis, problem.kept.double() @ self.basis
        self.moment = self.basis.T @ around.moment.double() @ self.basis
        self.ordinary = around.ordinary.double() @ self.basis
        self.ordinary_far = (around.ordinary.double() - around.mean).square().sum()
        self.weights, self.kept_weights = problem.weights.double().clone(), problem.kept_weights.double().clone()
        self.corpus_weight = _CORPUS * float(self.weights.mean()) if len(self.weights) else 0.0

    def run(self, bounds: Bounds) -> Guarded:
        for _ in range(bounds.rounds):
            self._reweigh(self._solve(), bounds)
        return self._solve()

    def _solve(self) -> Guarded:
        matrix = self.corpus_weight * self.moment
        matrix += self.sources.T @ (self.weights[:, None] * self.sources)
        matrix += self.kept.T @ (self.kept_weights[:, None] * self.kept)
        matrix.diagonal().add_(self.problem.ridge)
        factor = factorise(matrix, self.problem)
        right = self.weights[:, None] * torch.cholesky_solve(self.sources.T, factor).T
        leverage = self.kept_weights * (torch.cholesky_solve(self.kept.T, factor).T * self.kept).sum(dim=1)
        drift = (self.ways.T @ (right @ self.kept.T)).norm(dim=0) / self.kept_far
        change = self.ways.T @ right
        corpus = self._corpus_drift(change)
        factors = self._factors(right, change)
        return Guarded(factors, self.left(factors), drift, drift / (1 - leverage).clamp(min=_NEAR), corpus)

    def left(self, factors: Factors) -> Tensor:
        """Share of each source row's way that a map leaves."""
        moved = (self.problem.sources.double() @ factors.right.T) @ factors.left.T
        return (moved - self.ways).norm(dim=1) / self.far

    def _corpus_drift(self, change: Tensor) -> float:
        """Over caption tokens of captions that ask for none of the concepts; over all, where there are none such."""
        if not len(self.ordinary):
            return math.sqrt(max(0.0, float(((change @ self.moment) * change).sum()) / max(_NEAR, self.around.spread)))
        return float(((self.ordinary @ change.T).square().sum() / self.ordinary_far).sqrt())

    def _factors(self, right: Tensor, change: Tensor) -> Factors:
        """One rank for each source row, or the dense map and the identity where there are more rows than d_text."""
        if len(right) <= self.problem.width:
            return Factors(self.ways.T.contiguous(), (right @ self.basis.T).contiguous())
        return Factors((change @ self.basis.T).contiguous(), torch.eye(self.problem.width, dtype=torch.float64))

    def _reweigh(self, seen: Guarded, bounds: Bounds) -> None:
        self.weights *= (seen.left / bounds.left).clamp(*_STEP)
        self.kept_weights *= (seen.drift / bounds.drift).clamp(*_STEP)
        self.corpus_weight *= min(_STEP[1], max(_STEP[0], seen.corpus / bounds.corpus))
