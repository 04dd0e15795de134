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
from concept_edit.memory.solve import Factors, Problem, thin_svd

_ERROR = 0.01
"""How far rows may be moved otherwise: of source rows' ways, of other rows' distances from the mean."""


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
    rows, columns = _Rows(problem, around), [factors.rank] if counts is None else list(counts)
    share = _ERROR / math.sqrt(sum(count > 0 for count in columns))
    parts = zip(factors.left.double().split(columns, dim=1), factors.right.double().split(columns), strict=True)
    found = [rows.cut(left, right, share) for left, right in parts]
    whole = Factors(torch.cat([f.left for f in found], dim=1), torch.cat([f.right for f in found]))
    return whole, None if counts is None else tuple(f.rank for f in found)


class _Rows:
    """The rows that say how much may be left out, each divided by how far it may be moved otherwise."""

    def __init__(self, problem: Problem, around: Surroundings) -> None:
        self.around, others = around, torch.cat([problem.kept, around.ordinary])
        ways = around.lengths(around.measured(problem.goals - problem.sources), problem.sources)
        rows, whole = torch.cat([problem.sources, others]).double(), torch.cat([ways, around.far(others)])
        self.rows = rows[whole > 0] / whole[whole > 0, None]

    def cut(self, left: Float[Tensor, "d_text rank"], right: Float[Tensor, "rank d_text"], error: float) -> Factors:
        """The fewest singular values, by halving."""
        left, sizes, right = thin_svd(left, right)
        fewest, most = 0, len(sizes)
        reach = self.rows @ right.T * sizes
        while fewest < most:
            middle = (fewest + most) // 2
            moved = self.around.measured(reach[:, middle:] @ left[:, middle:].T).norm(dim=1)
            enough = not len(moved) or float(moved.max()) <= error
            fewest, most = (fewest, middle) if enough else (middle + 1, most)
        root = sizes[:fewest].sqrt()
        return Factors(left[:, :fewest] * root, root[:, None] * right[:fewest])
