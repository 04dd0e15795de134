"""The algebra of a rule: the change of a matrix that gives some keys new values and touches others least.

With C the second moment of ordinary keys, K the marked keys (columns), R how far their values are from the wanted ones:

    minimise ‖ΔK − R‖² over Δ = Λ Dᵀ, D = C^-½ U_r,   C^-½ K = U S Vᵀ          Δ = R V_r S_r⁻¹ U_rᵀ C^-½

U_r are the r directions in which the marked keys stand out most against ordinary ones (Bau et al. 2020, section 3.4:
the rows of Δ lie in the span of C⁻¹ k). At full rank Δ = R (Kᵀ C⁻¹ K)⁻¹ Kᵀ C⁻¹: all values exactly, and the least
tr(Δ C Δᵀ). Everything in float64.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_OWN = 1e-6
"""Share of the largest singular value from which on a direction is more than rounding."""


def rank_update(
    keys: Float[Tensor, "keys marked"],
    residual: Float[Tensor, "outputs marked"],
    moment: Float[Tensor, "keys keys"],
    rank: int,
) -> tuple[Float[Tensor, "outputs rank"], Float[Tensor, "rank keys"]]:
    """Factors of Δ = left right, float64; fewer than `rank` where the marked keys have fewer directions.

    Raises:
        ValueError: a rank below 1, a moment without an inverse, keys that are all zero.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}.")
    factor, failed = torch.linalg.cholesky_ex(moment.double().cpu())
    if int(failed):
        raise ValueError("the keys' second moment has no inverse; count it over more samples or raise the shrinkage.")
    white = torch.linalg.solve_triangular(factor, keys.double().cpu(), upper=False)
    u, s, vt = torch.linalg.svd(white, full_matrices=False)
    count = min(rank, int((s > _OWN * s[0]).sum()))
    if not count:
        raise ValueError("nothing arrives at this layer in the marked region; take another layer.")
    left = residual.double().cpu() @ vt[:count].T / s[:count]
    right = torch.linalg.solve_triangular(factor.T, u[:, :count], upper=True).T
    return left, right
