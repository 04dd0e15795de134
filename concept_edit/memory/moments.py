"""Second moments of keys, streamed: what ordinary text puts into a matrix, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass
class Moment:
    """Σ k kᵀ over the rows added so far, float64; add, then read `mean` or `shrunk`."""

    total: Float[Tensor, "d_key d_key"]
    count: int = 0

    @classmethod
    def empty(cls, width: int) -> Moment:
        """Of no rows."""
        return cls(torch.zeros(width, width, dtype=torch.float64))

    def add(self, rows: Float[Tensor, "rows d_key"]) -> None:
        """Count these rows in; products in float32, added up in float64."""
        rows = rows.detach().float()
        self.total += (rows.T @ rows).double().cpu()
        self.count += len(rows)

    @property
    def mean(self) -> Float[Tensor, "d_key d_key"]:
        """E[k kᵀ].

        Raises:
            ValueError: no rows yet.
        """
        if self.count == 0:
            raise ValueError("no keys were counted; give texts")
        return self.total / self.count


def shrink(moment: Float[Tensor, "d_key d_key"], share: float) -> Float[Tensor, "d_key d_key"]:
    """(1 − a) C + a (tr C / d) I: the moment of ordinary keys with a share `a` of them spread evenly.

    Raises:
        ValueError: a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"shrinkage {share:g} is no share; give 0 (the moment as counted) to 1 (the identity, scaled)")
    shrunk = (1 - share) * moment.double()
    shrunk.diagonal().add_(share * moment.diagonal().double().mean())
    return shrunk


def condition(moment: Float[Tensor, "d_key d_key"]) -> float:
    """Largest by smallest eigenvalue; infinite where it has no inverse."""
    values = torch.linalg.eigvalsh(moment.double())
    return float(values[-1] / values[0]) if float(values[0]) > 0 else float("inf")
