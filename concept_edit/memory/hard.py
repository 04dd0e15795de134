"""Matrices as memories of key and value, rewritten: ROME, MEMIT and the null-space update in one page.

For a matrix W, rows of keys k with wanted changes d (what W k shall become, less what it is), and a second moment C of
all the keys that shall answer as before:

        u = C⁻¹ k          G_ij = u_i · k_j          W' = W + D M U
        hard       M = G⁻¹          all at once, W' k = W k + d exactly, least tr (W' − W) C (W' − W)ᵀ
        sequence   M = triu(G)⁻¹    the same, one after the other: what ROME does when it is called again and again
        soft       M = (I + G)⁻¹    least Σ ‖W'k − W k − d‖² + tr (W' − W) C (W' − W)ᵀ: MEMIT; null-space with its C⁻¹

The hard rule is equation 2 of ROME (Meng et al., NeurIPS 2022) for one key and EMMET's for many (Gupta et al., 2024),
the soft one equation 14 of MEMIT (Meng et al., ICLR 2023). In the null-space update (AlphaEdit, Fang et al., ICLR 2025)
C⁻¹ is 1/ridge on the directions that ordinary keys do not use and zero on the others.

`u` says all about C that later changes need: a key is taken out again, or added, without it. Everything in float64.
Axes: `keys` rows to rewrite, `d_key` inputs of the matrix, `d_out` its outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Mode = Literal["hard", "sequence", "soft"]
_SINGULAR = 1e-12
"""Share of a key's reach that must be its own for an exact answer to exist in float64."""


class MatrixFactors(NamedTuple):
    """A change of one matrix, W' = W + left right."""

    left: Float[Tensor, "d_out rank"]
    right: Float[Tensor, "rank d_key"]

    @property
    def rank(self) -> int:
        """Columns of `left`."""
        return self.left.shape[1]


@dataclass(frozen=True)
class Memory:
    """What one matrix shall hold: rows of keys, how far each reaches, and what is to change. All float32."""

    keys: Float[Tensor, "keys d_key"]
    reach: Float[Tensor, "keys d_key"]
    """U: C⁻¹ of each key."""
    wanted: Float[Tensor, "keys d_out"]
    """D: how W k shall change."""

    def pick(self, rows: list[int]) -> Memory:
        """These rows alone."""
        return Memory(self.keys[rows], self.reach[rows], self.wanted[rows])


def whiten(keys: Float[Tensor, "keys d_key"], moment: Float[Tensor, "d_key d_key"]) -> Float[Tensor, "keys d_key"]:
    """U = C⁻¹ of each key, float64.

    Raises:
        ValueError: a moment that has no inverse; shrink it, or collect more tokens than it is wide.
    """
    factor, failed = torch.linalg.cholesky_ex(moment.double())
    if failed or not bool(torch.isfinite(factor).all()):
        raise ValueError(
            "the keys' second moment has no inverse: collect it over more tokens than it is wide, or with shrinkage"
        )
    return torch.cholesky_solve(keys.double().T, factor).T.contiguous()


def even_key(
    keys: Float[Tensor, "facts contexts d_key"], moment: Float[Tensor, "d_key d_key"], ridge: float = 0.1
) -> Float[Tensor, "facts d_key"]:
    """A weighted mean of each fact's keys that gives every context the same share of the value, float64.

    k* = Kᵀ a, a ∝ (K C⁻¹ Kᵀ + ridge · mean energy · I)⁻¹ 1, Σ a = 1: with u = C⁻¹ k* every u · k_i is then alike, and u
    is the least change in C that does it. A large ridge gives the plain mean.

    Raises:
        ValueError: as `whiten`.
    """
    wide = keys.double()
    gram = wide @ whiten(wide.flatten(0, 1), moment).reshape(wide.shape).mT
    energy = gram.diagonal(dim1=1, dim2=2).mean(dim=1)
    held = gram + ridge * energy[:, None, None] * torch.eye(gram.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(held, torch.ones(*gram.shape[:2], 1, dtype=torch.float64))[..., 0]
    return ((weights / weights.sum(dim=1, keepdim=True))[..., None] * wide).sum(dim=1)


def null_basis(moment: Float[Tensor, "d_key d_key"], threshold: float) -> Float[Tensor, "d_key free"]:
    """Orthonormal directions in which ordinary keys have less than `threshold` times the mean energy of a direction.

    Raises:
        ValueError: there are none.
    """
    values, vectors = torch.linalg.eigh(moment.double())
    free = values <= threshold * values.mean()
    if not bool(free.any()):
        raise ValueError(
            f"no direction of the keys has less than {threshold:g} of the mean energy; raise the threshold, "
            "or use method 'memit'"
        )
    return vectors[:, free].contiguous()


def project(
    keys: Float[Tensor, "keys d_key"], basis: Float[Tensor, "d_key free"], ridge: float
) -> Float[Tensor, "keys d_key"]:
    """U of the null-space update: P k / ridge, float64."""
    return keys.double() @ basis @ basis.T / ridge


def rewrite_matrix(memory: Memory, mode: Mode) -> MatrixFactors:
    """The change that answers `memory`, float32; the same rows give the same bits.

    Raises:
        ValueError: for exact answers, keys that are alike: one key cannot have two values.
    """
    gram = _gram(memory, mode)
    left = torch.linalg.solve(gram.T, memory.wanted.double()).T
    return MatrixFactors(left.float().contiguous(), memory.reach.float().contiguous())


def shares(memory: Memory, mode: Mode) -> Float[Tensor, "keys d_key"]:
    """M U: how much of each row of D a key gets. The change of `rewrite_matrix` is Dᵀ M U, so the values can be looked
    for as the edit will hand them out, to every token.

    Raises:
        ValueError: as `rewrite_matrix`.
    """
    return torch.linalg.solve(_gram(memory, mode), memory.reach.double()).float()


def _gram(memory: Memory, mode: Mode) -> Float[Tensor, "keys keys"]:
    gram = memory.reach.double() @ memory.keys.double().T
    if mode == "soft":
        gram = gram + torch.eye(len(gram), dtype=torch.float64)
    if mode == "sequence":
        gram = gram.triu()
    _refuse_alike(gram)
    return gram


def _refuse_alike(gram: Float[Tensor, "keys keys"]) -> None:
    """Pivots of the elimination, each against its own key's reach."""
    if not len(gram):
        return
    lu = torch.linalg.lu_factor_ex(gram).LU
    if not float((lu.diagonal().abs() / gram.diagonal().abs().max()).min()) > _SINGULAR:
        raise ValueError(
            "two of the keys are the same, or a key has no reach: there is no exact answer; rewrite each subject once, "
            "or use method 'memit'"
        )
