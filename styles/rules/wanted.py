"""What is marked and what it shall become: regions of pictures, and the values that make a region another colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.generator import Generator, refuse_nan
from styles.rules.keys import Arrival
from styles.units.goals import coloured

HOLD = 1.0
"""Weight of the rest of the marked pictures against the marked region when a colour is looked for."""
SMALL = 1e-4
"""Weight of the size of a shift, in standard deviations of the layer's values."""
STEPS = 40


class Region(NamedTuple):
    """A marked region of one or several pictures."""

    w: Float[Tensor, "batch layers d_w"] | Float[Tensor, "batch d_w"]
    mask: Float[Tensor, "h w"] | Float[Tensor, "batch h w"]
    """In [0, 1], at the pictures' side: one for all of them, or one each."""


def checked_mask(model: Generator, region: Region, what: str) -> Float[Tensor, "batch h w"]:
    """The region's masks, one per picture; `what` is how messages call it.

    Raises:
        ValueError: a mask of another size or number, numbers outside 0 to 1, an empty mask, one that covers everything.
    """
    mask, side, count = torch.as_tensor(region.mask).detach().float(), model.config.resolution, len(region.w)
    shape = tuple(mask.shape)
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or len(mask) not in (1, count) or mask.shape[1:] != (side, side):
        raise ValueError(
            f"the mask of {what} is {' x '.join(map(str, shape))}; give {side} x {side}, or {count} x {side} x {side}."
        )
    refuse_nan(mask, f"the mask of {what}")
    if float(mask.min()) < 0 or float(mask.max()) > 1:
        raise ValueError(f"the mask of {what} must hold numbers from 0 to 1.")
    if bool((mask.amax((1, 2)) <= 0).any()):
        raise ValueError(f"the mask of {what} is empty; mark the region that is meant.")
    if bool((mask.amin((1, 2)) >= 1).any()):
        raise ValueError(f"the mask of {what} covers the whole picture; leave out what should stay.")
    return mask.expand(count, -1, -1).to(model.device)


def places_of(mask: Float[Tensor, "batch h w"], side: int) -> Float[Tensor, "batch places"]:
    """Which places of a layer of that side are marked: those covered by half, or the most covered one."""
    cover = nnf.interpolate(mask[:, None], size=(side, side), mode="area").flatten(1)
    return cover > torch.minimum(cover.amax(1, keepdim=True), cover.new_tensor(0.5)) - 1e-6


def mean_value(arrival: Arrival, places: Float[Tensor, "batch places"]) -> Float[Tensor, " outputs"]:
    """The mean of a layer's values over marked places, every place counted once."""
    return arrival.values().transpose(1, 2)[places].mean(0)


def coloured_shift(
    arrival: Arrival, mask: Float[Tensor, "batch h w"], places: Float[Tensor, "batch places"], colour: Sequence[float]
) -> Float[Tensor, " outputs"]:
    """The shift of the values, one for all marked places, that brings the region's mean colour to `colour`.

    It is looked for with the layers after it as they are (L-BFGS): the region's change against the wanted one, `HOLD`
    times the change of the rest of these pictures, and `SMALL` times the shift's size.

    Raises:
        ValueError: no colour, or the one that the region has.
    """
    own = arrival.values()
    with torch.no_grad():
        before = arrival.painted(own)
    wanted = before + 2 * coloured(before, mask, tuple(colour)).wanted
    scale, where = own.std(), places[:, None].to(own)
    shift = torch.zeros(1, own.shape[1], 1, device=own.device, requires_grad=True)
    search = torch.optim.LBFGS([shift], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        after = arrival.painted(own + scale * shift * where)
        inside = ((after - wanted).square().mean(1) * mask).sum() / mask.sum()
        outside = ((after - before).square().mean(1) * (1 - mask)).sum() / (1 - mask).sum()
        value = inside + HOLD * outside + SMALL * shift.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(loss)
    return (scale * shift.detach())[0, :, 0]
