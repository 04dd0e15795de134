"""Changes of weights that can be undone to the bit: the verbs every edit has, whatever it was solved from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

Change = Callable[[Tensor], Tensor]
"""Matrix (out x in) -> its change at strength 1, float32."""


def write(weights: Mapping[str, Tensor], changes: Mapping[str, Change], strength: float) -> dict[str, Tensor]:
    """Change the matrices in place and return copies of what they were; after any failure they are what they were.

    The sum is taken in float32 and rounded once to the matrix's dtype.

    Raises:
        ValueError: a strength that is no number, or NaN and infinite numbers before or after.
    """
    if not math.isfinite(strength):
        raise ValueError(f"strength {strength} is not a number to multiply by; 0 is the original, 1 the whole edit")
    before: dict[str, Tensor] = {}
    if strength == 0:
        return before
    try:
        for name, change in changes.items():
            weight = weights[name]
            new = (weight.float() + strength * change(weight)).to(weight.dtype)
            if not bool(torch.isfinite(new).all()):
                raise ValueError(f"{name} holds NaN or infinite numbers, or would with this edit; nothing was changed")
            before[name] = weight.detach().clone()
            with torch.no_grad():
                weight.copy_(new)
    except BaseException:
        restore(weights, before)
        raise
    return before


def restore(weights: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    """Put back what `write` returned."""
    with torch.no_grad():
        for name, weight in before.items():
            weights[name].copy_(weight)


@contextmanager
def changed(weights: Mapping[str, Tensor], changes: Mapping[str, Change], strength: float) -> Iterator[None]:
    """The changes inside a `with` block; the very same bits after it, also when the block raises. Blocks nest."""
    before = write(weights, changes, strength)
    try:
        yield
    finally:
        restore(weights, before)
