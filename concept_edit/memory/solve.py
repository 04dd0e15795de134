"""The closed form: all the mathematics of an edit, on rows of embeddings. No model, no recipe, only torch.

Axes: `edits` source rows, `keeps` kept rows, `d_text` width of the text stream, `d_out` outputs of a matrix, `rank`.
Everything is computed in float64; one Cholesky factorisation serves every layer that reads the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 4096
"""Rows turned to float64 at a time when a moment is summed; bounds the memory, not the result's meaning."""
_SMALL = 128
"""Width from which on half of a symmetric product is worth copying."""
_SINGULAR = 1e-13
"""Squared ratio of the Cholesky factor's diagonal under which float64 has no digits left for the answer."""


@dataclass(frozen=True)
class Problem:
    """One text stream's least squares, equation 7 of Gandikota et al. (WACV 2024) with the ridge of its code:

    for every matrix W that reads the stream, minimise over W'
        Σ s ‖W'c − W t‖² + Σ p ‖W'k − W k‖² + λ ‖W' − W‖²
    """

    sources: Float[Tensor, "edits d_text"]
    """C: rows to be changed."""
    goals: Float[Tensor, "edits d_text"]
    """T: rows they shall act as."""
    weights: Float[Tensor, " edits"]
    """S: weight of each pair, at least 0."""
    kept: Float[Tensor, "keeps d_text"]
    """P: rows that shall act as before."""
    kept_weights: Float[Tensor, " keeps"]
    """Weight of each kept row, at least 0."""
    ridge: float
    """λ, at least 0."""
    moment: Float[Tensor, "d_text d_text"] | None = None
    """Further source and kept rows as their weighted sum Σ p k kᵀ, float64."""
    cross: Float[Tensor, "d_text d_text"] | None = None
    """Further pairs as Σ s (t − c) cᵀ, float64; their Σ s c cᵀ is part of `moment`."""

    @property
    def width(self) -> int:
        """d_text."""
        return self.sources.shape[1]

    @property
    def rows(self) -> int:
        """Source and kept rows held one by one."""
        return len(self.sources) + len(self.kept)

    def to(self, device: str | torch.device) -> Problem:
        """The same problem with its tensors on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


class Factors(NamedTuple):
    """The map A = left right of a stream: every matrix becomes W' = W (I + A)."""

    left: Float[Tensor, "d_text rank"]
    right: Float[Tensor, "rank d_text"]

    @property
    def rank(self) -> int:
        """Columns of `left`."""
        return self.left.shape[1]

    def float(self) -> Factors:
        """Both in float32, on the CPU."""
        return Factors(self.left.float().cpu().contiguous(), self.right.float().cpu().contiguous())

    def dense(self) -> Float[Tensor, "d_text d_text"]:
        """A, float64."""
        return self.left.double() @ self.right.double()


def thin_svd(
    left: Float[Tensor, "rows rank"], right: Float[Tensor, "rank columns"]
) -> tuple[Float[Tensor, "rows n"], Float[Tensor, " n"], Float[Tensor, "n columns"]]:
    """U, the singular values, and V transposed of `left @ right`, without forming it."""
    (q, r), (p, s) = torch.linalg.qr(left), torch.linalg.qr(right.T)
    u, sizes, v = torch.linalg.svd(r @ s.T, full_matrices=False)
    return q @ u, sizes, v @ p.T


def empty_factors(width: int) -> Factors:
    """The factors of an edit that changes no weight: rank 0."""
    return Factors(torch.zeros(width, 0), torch.zeros(0, width))


def solve_problem(problem: Problem) -> Factors:
    """The minimiser of `problem` for every W at once, float64.

        M = λI + Cᵀ S C + PᵀP        left = (T − C)ᵀ        right = S C M⁻¹        W' = W + (W left) right

    `left` and `right` have one rank for each source row while those number d_text or fewer. Beyond, and where pairs
    came as sums, `left` is A itself and `right` the identity: rank d_text, exactly the same A.

    Raises:
        ValueError: rows too few or too alike for the ridge (no unique answer in float64), or NaN among them.
    """
    _refuse_nan(problem)
    if len(problem.sources) > problem.width or problem.cross is not None:
        return _dense(problem)
    left = (problem.goals.double() - problem.sources.double()).T.contiguous()
    return Factors(left, right_factor(problem))


def right_factor(problem: Problem) -> Float[Tensor, "edits d_text"]:
    """S C M⁻¹: what stays the same while only the goals move.

    With fewer rows than d_text the same product is taken on the rows' side, R (λI + RᵀR)⁻¹ = (λI + RRᵀ)⁻¹ R for the
    stacked rows R = [√S C; √P P], a factorisation of size `edits + keeps`.
    """
    if len(problem.sources) == 0:
        return problem.sources.double()
    if problem.moment is None and problem.rows < problem.width:
        return _right_from_rows(problem)
    weighted = problem.weights.double()[:, None] * problem.sources.double()
    return torch.cholesky_solve(weighted.T, factorise(moment_matrix(problem), problem)).T.contiguous()


def moment_matrix(problem: Problem) -> Float[Tensor, "d_text d_text"]:
    """M = λI + Cᵀ S C + PᵀP, float64."""
    return _with_the_rest(row_moment(problem.sources, problem.weights), problem)


def row_moment(rows: Float[Tensor, "rows d_text"], weights: Float[Tensor, " rows"]) -> Float[Tensor, "d_text d_text"]:
    """Σ w r rᵀ, float64, a block of rows at a time."""
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for i in range(0, len(rows), _BLOCK):
        total += _gram(weights[i : i + _BLOCK].double().sqrt()[:, None] * rows[i : i + _BLOCK].double())
    return total


def goal_moment(
    sources: Float[Tensor, "edits d_text"], goals: Float[Tensor, "edits d_text"], weights: Float[Tensor, " edits"]
) -> Float[Tensor, "d_text d_text"]:
    """Σ s t cᵀ, float64, a block of rows at a time; sources that share a goal are summed first."""
    total = torch.zeros(sources.shape[1], sources.shape[1], dtype=torch.float64, device=sources.device)
    for i in range(0, len(sources), _BLOCK):
        different, which = _different(goals[i : i + _BLOCK])
        weighted = weights[i : i + _BLOCK].double()[:, None] * sources[i : i + _BLOCK].double()
        shared = torch.zeros(len(different), sources.shape[1], dtype=torch.float64, device=sources.device)
        total += different.double().T @ shared.index_add_(0, which, weighted)
    return total


def _different(rows: Float[Tensor, "rows d_text"]) -> tuple[Tensor, Tensor]:
    """The different rows, and for each row which of them it is."""
    if bool((rows == rows[:1]).all()):
        return rows[:1], torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    different, which = torch.unique(rows, dim=0, return_inverse=True)
    return different, which


def _gram(rows: Float[Tensor, "rows d_text"]) -> Float[Tensor, "d_text d_text"]:
    """rowsᵀ rows, the half below the diagonal copied from the half above."""
    half = rows.shape[1] // 2
    if half < _SMALL:
        return rows.T @ rows
    first, second = rows[:, :half], rows[:, half:]
    corner = first.T @ second
    return torch.cat([torch.cat([_gram(first), corner], 1), torch.cat([corner.T, _gram(second)], 1)])


def change(factors: Factors, device: str | torch.device = "cpu") -> Callable[[Tensor], Tensor]:
    """A function W -> W A in float32 on `device`, the cheaper way round for the rank."""
    if factors.rank > factors.left.shape[0] // 2:
        dense = factors.dense().float().to(device)
        return lambda matrix: matrix.float() @ dense
    left, right = factors.left.float().to(device), factors.right.float().to(device)
    return lambda matrix: (matrix.float() @ left) @ right


def _dense(problem: Problem) -> Factors:
    """(Tᵀ S C − Cᵀ S C) M⁻¹ and the identity."""
    own = row_moment(problem.sources, problem.weights)
    cross = goal_moment(problem.sources, problem.goals, problem.weights) - own
    if problem.cross is not None:
        cross += problem.cross
    solution = torch.cholesky_solve(cross.T, factorise(_with_the_rest(own, problem), problem)).T.contiguous()
    return Factors(solution, torch.eye(problem.width, dtype=torch.float64, device=cross.device))


def _with_the_rest(own: Float[Tensor, "d_text d_text"], problem: Problem) -> Float[Tensor, "d_text d_text"]:
    """M, given Cᵀ S C."""
    matrix = own + row_moment(problem.kept, problem.kept_weights)
    matrix.diagonal().add_(problem.ridge)
    return matrix if problem.moment is None else matrix + problem.moment


def _right_from_rows(problem: Problem) -> Float[Tensor, "edits d_text"]:
    n = len(problem.sources)
    roots = torch.cat([problem.weights, problem.kept_weights]).double().sqrt()[:, None]
    rows = roots * torch.cat([problem.sources, problem.kept]).double()
    gram = _gram(rows.T)
    gram.diagonal().add_(problem.ridge)
    pick = torch.eye(len(rows), n, dtype=torch.float64, device=rows.device)
    return roots[:n] * (torch.cholesky_solve(pick, factorise(gram, problem)).T @ rows)


def factorise(matrix: Float[Tensor, "n n"], problem: Problem) -> Float[Tensor, "n n"]:
    """The lower Cholesky factor, or a refusal where float64 cannot tell the answer."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    diagonal = factor.diagonal()
    ratio = float((diagonal.min() / diagonal.max()) ** 2) if not failed else 0.0
    too_few = problem.ridge == 0 and problem.moment is None and problem.rows < problem.width
    if too_few or not ratio > _SINGULAR:
        raise ValueError(
            f"ridge {problem.ridge:g} is too small for {problem.rows} rows of width {problem.width}: "
            "there is no unique answer; raise the ridge (0.5 is the published value)"
        )
    return factor


def _refuse_nan(problem: Problem) -> None:
    for name, value in vars(problem).items():
        if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
            raise ValueError(f"the {name.replace('_', ' ')} hold NaN or infinite numbers; check the text encoder")
