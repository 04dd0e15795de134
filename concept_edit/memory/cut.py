"""A guarded map at the rank that its rows need.

Wordings of one concept have many rows that lie near each other, and the map that moves them all has a column for each.
Most of its singular values move nothing that is there: they are left out as long as no source row is moved otherwise by
more than a hundredth of its way, and no kept or ordinary row by more than a hundredth of its distance from the mean.
Files and LoRA are smaller by as much. What does not move at all still does not: those rows lie outside its row space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.memory.bounds import Surroundings
from concept_edit.memory.solve import Factors, Problem

_ERROR = 0.01
"""How far rows may be moved otherwise: of source rows' ways, of other rows' distances from the mean."""
_SHORT = 0.1
"""Ways shorter than this share of a row's distance from the mean count as so long."""


def cut(
    factors: Factors, counts: Sequence[int] | None, problem: Problem, around: Surroundings
) -> tuple[Factors, tuple[int, ...] | None]:
    """The factors, and how many columns are left for each concept.

    `counts` are the columns of each concept, which are cut by themselves, so that concepts are still told apart; None:
    all together. What several leave out adds up at random, so each has its part of the whole by the root of their
    number.
    """
    if not factors.rank:
        return factors, None if counts is None else tuple(counts)
    rows = _Rows(problem, around)
    if counts is None:
        return rows.cut(factors, _ERROR), None
    parts = zip(factors.left.split(list(counts), dim=1), factors.right.split(list(counts)), strict=True)
    share = _ERROR / math.sqrt(max(1, sum(count > 0 for count in counts)))
    found = [rows.cut(Factors(left, right), share) for left, right in parts]
    whole = Factors(torch.cat([f.left for f in found], dim=1), torch.cat([f.right for f in found]))
    return whole, tuple(f.rank for f in found)


class _Rows:
    """The rows that say how much may be left out, each divided by how far it may be moved otherwise."""

    def __init__(self, problem: Problem, around: Surroundings) -> None:
        self.around, mean = around, around.mean.double()
        sources, others = problem.sources.double(), torch.cat([problem.kept, around.ordinary]).double()
        way, far = (around.measured(rows).norm(dim=1) for rows in (problem.goals.double() - sources, sources - mean))
        whole = torch.cat([torch.maximum(way, _SHORT * far), around.measured(others - mean).norm(dim=1)])
        self.rows = torch.cat([sources, others])[whole > 0] / whole[whole > 0, None]

    def cut(self, factors: Factors, error: float) -> Factors:
        """The fewest singular values, by halving."""
        left, sizes, right = _svd(factors)
        fewest, most = 0, len(sizes)
        reach = self.rows @ right.T * sizes
        while fewest < most:
            middle = (fewest + most) // 2
            moved = self.around.measured(reach[:, middle:] @ left[:, middle:].T).norm(dim=1)
            enough = not len(moved) or float(moved.max()) <= error
            fewest, most = (fewest, middle) if enough else (middle + 1, most)
        root = sizes[:fewest].sqrt()
        return Factors(left[:, :fewest] * root, root[:, None] * right[:fewest])


def _svd(factors: Factors) -> tuple[Float[Tensor, "d_text n"], Float[Tensor, " n"], Float[Tensor, "n d_text"]]:
    """Of left right, without forming it where it is thin."""
    left, right = factors.left.double(), factors.right.double()
    if left.shape[1] >= left.shape[0]:
        u, sizes, v = torch.linalg.svd(left @ right, full_matrices=False)
        return u, sizes, v
    (q, r), (p, s) = torch.linalg.qr(left), torch.linalg.qr(right.T)
    u, sizes, v = torch.linalg.svd(r @ s.T, full_matrices=False)
    return q @ u, sizes, v @ p.T
