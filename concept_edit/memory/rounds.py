"""The rounds of a guarded solve: one least squares whose weights move until every row is where it should be.

Two forms of the same: on the free directions of the stream, and on the side of the rows where the stream is too wide.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.memory.bounds import Bounds, Guarded, Surroundings
from concept_edit.memory.solve import Factors, Problem, factorise

_STEP = (0.5, 3.0)
"""A weight moves by at most these factors in one round."""
_CORPUS = 60.0
"""Weight of the corpus in the first solve, beside source rows of weight 1."""
_SPAN = 1e-7
"""Directions of the fixed rows under this share of the largest are rounding of float32."""
_NEAR = 1e-12
"""Lengths under this count as none."""
_ROWS = 2048
"""Channels, or rows, turned to float64 at a time where streams are wide."""


def complement(fixed: Float[Tensor, "fixed d_text"]) -> Float[Tensor, "d_text free"]:
    """An orthonormal basis of all directions in which no fixed row has a part, float64."""
    if not len(fixed):
        return torch.eye(fixed.shape[1], dtype=torch.float64)
    _, sizes, directions = torch.linalg.svd(fixed.double(), full_matrices=True)
    return directions[int((sizes > _SPAN * sizes[0]).sum()) :].T.contiguous()


class Weights(ABC):
    """One problem, its weights, and how they move from solve to solve."""

    free: int
    """Directions that no fixed row has a part in."""

    def __init__(self, problem: Problem, around: Surroundings) -> None:
        self.problem, self.around = problem, around
        self.scale = torch.ones(problem.width, dtype=torch.float64) if around.scale is None else around.scale.double()
        self.ways = (problem.goals - problem.sources).double()
        self.seen = around.measured(self.ways)
        self.far = around.lengths(self.seen, problem.sources).clamp(min=_NEAR)
        self.kept_far = around.far(problem.kept).clamp(min=_NEAR)
        self.ordinary_far = around.far(around.ordinary).square().sum()
        self.weights, self.kept_weights = problem.weights.double().clone(), problem.kept_weights.double().clone()
        self.corpus_weight = _CORPUS * float(self.weights.mean()) if len(self.weights) else 0.0

    def run(self, bounds: Bounds) -> Guarded:
        for _ in range(bounds.rounds):
            self._reweigh(self._solve(), bounds)
        return self._solve()

    def left(self, factors: Factors) -> Tensor:
        """Share of each source row's way that a map leaves."""
        moved = (self.problem.sources.double() @ factors.right.T) @ factors.left.T
        return self.around.measured(moved - self.ways).norm(dim=1) / self.far

    @abstractmethod
    def _solve(self) -> Guarded:
        """The map of the present weights, and how far it is from every bound."""

    def _none_free(self) -> ValueError:
        return ValueError(
            f"the {len(self.around.fixed)} rows of the empty prompt take up all {self.problem.width} directions of the "
            "stream and leave none to edit in; use method 'uce'"
        )

    def _reweigh(self, seen: Guarded, bounds: Bounds) -> None:
        self.weights *= (seen.left / bounds.left).clamp(*_STEP)
        self.kept_weights *= (seen.drift / bounds.drift).clamp(*_STEP)
        self.corpus_weight *= min(_STEP[1], max(_STEP[0], seen.corpus / bounds.corpus))


class Rounds(Weights):
    """Solved on the free directions, channels divided by their scale: one factorisation of size d_text a round."""

    def __init__(self, problem: Problem, around: Surroundings) -> None:
        super().__init__(problem, around)
        self.basis = complement(around.fixed.double() / self.scale)
        self.free = self.basis.shape[1]
        if not self.free:
            raise self._none_free()
        self.sources, self.kept = (self._on_basis(rows) for rows in (problem.sources, problem.kept))
        self.moment = self.basis.T @ (around.moment.double() / self.scale / self.scale[:, None]) @ self.basis
        self.ordinary = self._on_basis(around.ordinary)

    def _on_basis(self, rows: Tensor) -> Tensor:
        return (rows.double() / self.scale) @ self.basis

    def _solve(self) -> Guarded:
        matrix = self.corpus_weight * self.moment
        matrix += self.sources.T @ (self.weights[:, None] * self.sources)
        matrix += self.kept.T @ (self.kept_weights[:, None] * self.kept)
        matrix.diagonal().add_(self.problem.ridge)
        factor = factorise(matrix, self.problem)
        right = self.weights[:, None] * torch.cholesky_solve(self.sources.T, factor).T
        leverage = self.kept_weights * (torch.cholesky_solve(self.kept.T, factor).T * self.kept).sum(dim=1)
        drift = (self.seen.T @ (right @ self.kept.T)).norm(dim=0) / self.kept_far
        corpus = self._corpus_drift(self.seen.T @ right)
        factors = self._factors(right)
        return Guarded(factors, self.left(factors), drift, drift / (1 - leverage).clamp(min=_NEAR), corpus)

    def _corpus_drift(self, change: Tensor) -> float:
        """Over caption tokens of captions that ask for none of the concepts; over all, where there are none such."""
        if not len(self.ordinary):
            return math.sqrt(max(0.0, float(((change @ self.moment) * change).sum()) / max(_NEAR, self.around.spread)))
        return float(((self.ordinary @ change.T).square().sum() / self.ordinary_far).sqrt())

    def _factors(self, right: Tensor) -> Factors:
        """One rank for each source row, or the dense map and the identity where there are more rows than d_text."""
        if len(right) <= self.problem.width:
            return Factors(self.ways.T.contiguous(), ((right @ self.basis.T) / self.scale).contiguous())
        change = self.ways.T @ right
        whole = torch.eye(self.problem.width, dtype=torch.float64)
        return Factors(((change @ self.basis.T) / self.scale).contiguous(), whole)


class RowRounds(Weights):
    """The same on the rows' side: R (λI + RᵀR)⁻¹ = (λI + RRᵀ)⁻¹ R for the weighted rows R of sources, kept prompts and
    corpus, so that memory grows with rows and not with d_text². λ is the ridge and the corpus' floor."""

    def __init__(self, problem: Problem, around: Surroundings) -> None:
        super().__init__(problem, around)
        self.span = row_span(around.fixed.double() / self.scale)
        self.free = problem.width - self.span.shape[1]
        if not self.free:
            raise self._none_free()
        self.rows = torch.cat([problem.sources.float(), problem.kept.float(), around.moment.float()])
        self.inside = self._inside(self.rows)
        self.gram = self._products(self.rows, self.inside)
        self.ordinary = self._products(around.ordinary, self._inside(around.ordinary))
        self.wayed = self.seen @ self.seen.T

    def _inside(self, rows: Tensor) -> Tensor:
        """Coordinates of each row's part in the span of the fixed rows."""
        blocks = [(block.double() / self.scale) @ self.span for block in rows.split(_ROWS)]
        return torch.cat(blocks) if blocks else torch.zeros(0, self.span.shape[1], dtype=torch.float64)

    def _products(self, rows: Tensor, inside: Tensor) -> Float[Tensor, "some rows"]:
        """Inner products of some rows with all, of their parts outside that span."""
        found = -(inside @ self.inside.T)
        for i in range(0, self.problem.width, _ROWS):
            scale = self.scale[i : i + _ROWS]
            found += (rows[:, i : i + _ROWS].double() / scale) @ (self.rows[:, i : i + _ROWS].double() / scale).T
        return found

    def _solve(self) -> Guarded:
        assert self.around.floor is not None
        count, kept = len(self.weights), len(self.kept_weights)
        corpus = torch.full((len(self.around.moment),), self.corpus_weight, dtype=torch.float64)
        roots = torch.cat([self.weights, self.kept_weights, corpus]).sqrt()
        ridge = self.problem.ridge + self.corpus_weight * float(self.around.floor)
        system = roots[:, None] * self.gram * roots
        system.diagonal().add_(ridge)
        factor = factorise(system, self.problem)
        pick = torch.eye(len(roots), count, dtype=torch.float64)
        mix = roots[:count, None] * torch.cholesky_solve(pick, factor).T * roots
        inverse = torch.linalg.solve_triangular(factor, torch.eye(len(roots), dtype=torch.float64), upper=False)
        leverage = 1 - ridge * inverse.square().sum(dim=0)[count : count + kept]
        moves = mix @ self.gram
        own = moves[:, :count] - torch.eye(count, dtype=torch.float64)
        left = self._lengths(own) / self.far
        drift = self._lengths(moves[:, count : count + kept]) / self.kept_far
        tokens = self._corpus_drift(mix, moves)
        predicted = drift / (1 - leverage).clamp(min=_NEAR)
        return Guarded(self._factors(mix), left, drift, predicted, tokens)

    def _lengths(self, shares: Float[Tensor, "edits rows"]) -> Float[Tensor, " rows"]:
        """‖Σ share · way‖ of every column, as the readers see it."""
        return (shares * (self.wayed @ shares)).sum(dim=0).clamp(min=0).sqrt()

    def _corpus_drift(self, mix: Tensor, moves: Tensor) -> float:
        if len(self.ordinary):
            return float(self._lengths(mix @ self.ordinary.T).norm() / self.ordinary_far.sqrt())
        count = len(self.weights) + len(self.kept_weights)
        assert self.around.floor is not None
        tail = float(self.around.floor) * float(self._lengths(_root(mix @ self.gram @ mix.T)).square().sum())
        total = float(self._lengths(moves[:, count:]).square().sum()) + tail
        return math.sqrt(total / max(_NEAR, self.around.spread))

    def _factors(self, mix: Tensor) -> Factors:
        right, inside = torch.zeros(len(mix), self.problem.width, dtype=torch.float64), mix @ self.inside
        for i in range(0, self.problem.width, _ROWS):
            part = slice(i, i + _ROWS)
            right[:, part] = mix @ (self.rows[:, part].double() / self.scale[part]) - inside @ self.span[part].T
        return Factors(self.ways.T.contiguous(), right / self.scale)


def _root(gram: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """A square root of a positive semidefinite matrix."""
    sizes, directions = torch.linalg.eigh(gram)
    return directions * sizes.clamp(min=0).sqrt()


def row_span(fixed: Float[Tensor, "fixed d_text"]) -> Float[Tensor, "d_text dims"]:
    """An orthonormal basis of the directions that fixed rows have a part in, float64; `complement` has the others."""
    if not len(fixed):
        return torch.zeros(fixed.shape[1], 0, dtype=torch.float64)
    _, sizes, directions = torch.linalg.svd(fixed.double(), full_matrices=False)
    return directions[: int((sizes > _SPAN * sizes[0]).sum())].T.contiguous()
