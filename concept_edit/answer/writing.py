"""Factors written into a model's matrices, and the very same bits put back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from concept_edit.memory.solve import Factors, change
from concept_edit.models.contract import Model, Site


def reader(factors: Mapping[str, Factors]) -> Callable[[Site, Tensor], Tensor]:
    """The function (site, W) -> W A, in float32 on the matrix's device, over the columns that read text."""
    ready: dict[tuple[str, torch.device], Callable[[Tensor], Tensor]] = {}

    def read(site: Site, weight: Tensor) -> Tensor:
        key = (site.stream, weight.device)
        if key not in ready:
            ready[key] = change(factors[site.stream], weight.device)
        return ready[key](weight[:, : site.columns])

    return read


def write(model: Model, sites: Sequence[Site], factors: Mapping[str, Factors], strength: float) -> dict[str, Tensor]:
    """Change the matrices and return copies of what they were; after any failure they are what they were.

    Raises:
        ValueError: a strength that is no number, NaN in the weights or an overflow.
    """
    if not math.isfinite(strength):
        raise ValueError(f"strength {strength} is not a number to multiply by; 0 is the original, 1 the whole edit")
    if strength == 0 or not any(factors[site.stream].rank for site in sites):
        return {}
    weights, before, read = model.weights(), dict[str, Tensor](), reader(factors)
    try:
        for site in sites:
            if factors[site.stream].rank:
                weight = weights[site.name]
                before[site.name] = weight.detach().clone()
                _change(weight, site, strength * read(site, weight))
    except BaseException:
        restore(weights, before)
        raise
    return before


def restore(weights: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    """Put copies back."""
    with torch.no_grad():
        for name, weight in before.items():
            weights[name].copy_(weight)


def _change(weight: Tensor, site: Site, delta: Tensor) -> None:
    """Add in float32, round once, and write."""
    new = (weight[:, : site.columns].float() + delta).to(weight.dtype)
    if not bool(torch.isfinite(new).all()):
        raise ValueError(f"{site.name} holds NaN or infinite numbers, or would with this edit; nothing was changed")
    with torch.no_grad():
        weight[:, : site.columns].copy_(new)
