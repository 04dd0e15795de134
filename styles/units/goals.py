"""What a control is asked for: a change of the marked region, and how much of it a picture shows.

Pictures are display values in [-1, 1]; luminance here runs from 0 to 1. Masks are images x h x w at the pictures' side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.units.search import LUMA

Pictures = Float[Tensor, "batch rgb h w"]
Masks = Float[Tensor, "images h w"]
Which = int | slice
"""The number of one marked picture, several changes of which are looked at; or all of them, one change each."""
ALL = slice(None)
RING, GAP = 3, 1
"""Pixels of a 64 px picture: how wide the surroundings of a mask are, and how far they stay away from its edge."""
DARKEST = 0.1
"""Which of the generator's own pictures are taken for dark ones: the darkest tenth."""
LIT = 0.05
"""Luminance that must be there before it can be taken away."""


@dataclass(frozen=True)
class Goal:
    """The change that is asked for."""

    region: Masks
    """Where the change is wanted, one mask per marked picture."""
    wanted: Float[Tensor, "images channels h w"]
    """The wanted change of what `view` shows; only its pattern counts, `share` tells when there is enough of it."""
    view: Callable[[Pictures], Float[Tensor, "batch channels h w"]]
    """What of a picture, or of a change of one, is compared: its luminance or its colours (linear)."""
    share: Callable[[Pictures, Which], Float[Tensor, " batch"]]
    """How much of what was asked some changes of a marked picture (its number) show: 0 before, 1 for all of it."""
    level: Callable[[Pictures, Which], Float[Tensor, " batch"]]
    """What should grow on the way; where it turns back, the way has led past the goal."""
    what: str
    """The goal in words, for messages."""


def luminance(pictures: Pictures) -> Float[Tensor, "batch 1 h w"]:
    """Change of luminance on the scale 0 to 1; a linear map, so that it fits changes of pictures as well."""
    weights = pictures.new_tensor(LUMA if pictures.shape[1] == 3 else (1.0,))
    return torch.einsum("bchw,c->bhw", pictures, weights)[:, None] / 2


def colours(pictures: Pictures) -> Pictures:
    """Change of the colours on the scale 0 to 1."""
    return pictures / 2


def region_mean(values: Float[Tensor, "batch channels h w"], masks: Masks) -> Float[Tensor, "batch channels"]:
    """Mean inside the masks (one for all pictures, or one each)."""
    return (values * masks[:, None]).sum((2, 3)) / masks.sum((1, 2)).clamp_min(1e-6)[:, None]


def surroundings(masks: Masks) -> Masks:
    """A ring around each mask: near it, but clear of its edge."""
    unit = max(1, masks.shape[-1] // 64)
    wide, gap = 2 * (RING + GAP) * unit + 1, 2 * GAP * unit + 1
    grown, edge = (nnf.max_pool2d(masks[:, None], n, 1, n // 2)[:, 0] for n in (wide, gap))
    ring = (grown - edge).clamp(0, 1)
    if bool((ring.sum((1, 2)) < 1).any()):
        raise ValueError("nothing surrounds the mask; leave a margin around what is marked, to compare it with.")
    return ring


def excess(pictures: Pictures, masks: Masks, ring: Masks) -> Float[Tensor, " batch"]:
    """How much brighter a region is than its surroundings."""
    light = luminance(pictures)
    return (region_mean(light, masks) - region_mean(light, ring))[:, 0]


def darker(before: Pictures, masks: Masks, amount: float, own: Pictures) -> Goal:
    """The region's light gone (1), half gone (0.5), or grown (-1 doubles it).

    Light is what a region has more than its surroundings. It is gone when the region stands against them as in the
    darkest tenth of the generator's `own` pictures, or when going on would brighten the region again.
    """
    ring = surroundings(masks)
    start = excess(before, masks, ring)
    dark = torch.stack(
        [torch.quantile(excess(own, m[None], r[None]), DARKEST) for m, r in zip(masks, ring, strict=True)]
    )
    lit = start - dark
    if bool((lit < LIT).any()):
        at, least = int(lit.argmin()), float(lit.min())
        raise ValueError(
            f"the marked region of picture {at} is dark: it stands {float(start[at]):+.2f} against what is around "
            f"it, only {max(least, 0.0):.2f} above its dark state; mark it on a picture where it is lit."
        )

    def share(pictures: Pictures, at: Which) -> Tensor:
        return (start[at] - excess(pictures, _some(masks, at), _some(ring, at))) / (amount * lit[at])

    def level(pictures: Pictures, at: Which) -> Tensor:
        return -sign * region_mean(luminance(pictures), _some(masks, at))[:, 0]

    sign = 1.0 if amount > 0 else -1.0
    wanted = -amount * (luminance(before) + 0.5)
    return Goal(masks, wanted, luminance, share, level, "darker" if amount > 0 else "brighter")


def coloured(before: Pictures, masks: Masks, colour: tuple[float, ...]) -> Goal:
    """The region's mean colour becomes another one (red, green, blue from 0 to 1); its pattern stays."""
    if len(colour) != before.shape[1] or not all(0 <= c <= 1 for c in colour):
        raise ValueError(f"colour is {before.shape[1]} numbers from 0 to 1 (red, green, blue), got {colour!r}.")
    start = region_mean(colours(before) + 0.5, masks)
    step = before.new_tensor(colour) - start
    if bool((step.norm(dim=1) < LIT).any()):
        raise ValueError("the marked region has that colour already; ask for another one.")

    def share(pictures: Pictures, at: Which) -> Tensor:
        moved = region_mean(colours(pictures) + 0.5, _some(masks, at)) - start[at]
        return (moved * step[at]).sum(-1) / step[at].square().sum(-1)

    return Goal(masks, step[:, :, None, None].expand_as(before), colours, share, share, "of that colour")


def resized(before: Pictures, masks: Masks, factor: float) -> Goal:
    """What is marked grows (above 1) or shrinks about its centre; where it was, its surroundings' colour shows."""
    if not 0.3 <= factor <= 3 or abs(factor - 1) < 0.05:
        raise ValueError(f"size is a factor from 0.3 to 3 and not 1, got {factor}.")
    filled = region_mean(before, surroundings(masks))[:, :, None, None]
    centre = _centres(masks)
    theta = torch.eye(2, 3, device=masks.device).repeat(len(masks), 1, 1) / factor
    theta[:, :, 2] = centre * (1 - 1 / factor)
    shape = [len(masks), before.shape[1] + 1, *before.shape[2:]]
    places = nnf.affine_grid(theta, shape, align_corners=False)
    moved = nnf.grid_sample(torch.cat([before, masks[:, None]], 1), places, padding_mode="border", align_corners=False)
    mask = moved[:, -1:]
    bare = before + masks[:, None] * (filled - before)
    wanted = colours(bare + mask * (moved[:, :-1] - bare) - before)
    region = torch.maximum(masks, mask[:, 0])
    weight = region[:, None]
    power = (weight * wanted.square()).sum((1, 2, 3))
    if bool((power < 1e-3).any()):
        raise ValueError("the marked region looks like its surroundings, so that no other size of it would show.")

    def share(pictures: Pictures, at: Which) -> Tensor:
        change = colours(pictures - _some(before, at))
        return (_some(weight * wanted, at) * change).sum((1, 2, 3)) / power[at]

    return Goal(region, wanted, colours, share, share, "of that size")


def _some(values: Tensor, at: Which) -> Tensor:
    """The rows of one marked picture (as a batch of one), or all."""
    return values[at] if isinstance(at, slice) else values[at : at + 1]


def _centres(masks: Masks) -> Float[Tensor, "images 2"]:
    """Centres of mass as (x, y), both from -1 to 1."""
    side = torch.linspace(-1, 1, masks.shape[-1] * 2 + 1, device=masks.device)[1::2]
    total = masks.sum((1, 2))
    return torch.stack([(masks.sum(1) * side).sum(1) / total, (masks.sum(2) * side).sum(1) / total], 1)
