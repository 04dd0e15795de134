"""Factors written into a model's matrices, and the very same bits put back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from concept_edit.memory.solve import Factors, change
from concept_edit.models.contract import Model, Site


def readers(
    model: Model, sites: Sequence[Site], factors: Mapping[str, Factors]
) -> Iterator[tuple[Site, Callable[[Tensor], Tensor]]]:
    """Each site with the function W -> W A, in float32 on the matrix's device."""
    ready: dict[tuple[str, torch.device], Callable[[Tensor], Tensor]] = {}
    weights = model.weights()
    for site in sites:
        key = (site.stream, weights[site.name].device)
        if key not in ready:
            ready[key] = change(factors[site.stream], weights[site.name].device)
        yield site, ready[key]


def write(model: Model, sites: Sequence[Site], factors: Mapping[str, Factors], strength: float) -> dict[str, Tensor]:
    """Change the matrices and return copies of what they were; after any failure they are what they were.

    Raises:
        ValueError: a strength that is no number, NaN in the weights or an overflow.
    """
    if not math.isfinite(strength):
        raise ValueError(f"strength {strength} is not a number to multiply by; 0 is the original, 1 the whole edit")
    weights, before = model.weights(), dict[str, Tensor]()
    try:
        for site, read in readers(model, sites, factors):
            if strength != 0 and factors[site.stream].rank:
                weight = weights[site.name]
                before[site.name] = weight.detach().clone()
                _change(weight, site, strength * read(weight[:, : site.columns]))
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
