"""A rule rewritten: what is marked in one or a few pictures becomes something else in every picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from styles.generator import Generator, refuse_nan
from styles.rules.edit import RuleEdit
from styles.rules.keys import Arrival, KeyMoment, identity, key_moment, refuse_edited
from styles.rules.solving import rank_update
from styles.rules.wanted import Region, checked_mask, coloured_shift, mean_value, places_of
from styles.units.goals import coloured

SHRINKAGE = 0.5
"""Share of C that is spread evenly: decided on held-out rooms from four marked ones (benchmarks/rule.md)."""


def rewrite_rule(
    model: Generator,
    layer: str,
    *,
    keys: Region | tuple[Tensor, Tensor],
    values: Region | Sequence[float] | Tensor,
    rank: int = 1,
    statistics: KeyMoment | None = None,
    shrinkage: float = SHRINKAGE,
) -> RuleEdit:
    """Change one convolution so that what `keys` marks becomes `values`, in every picture of the generator.

    `keys` is a `Region`: (w, mask) of the pictures marked. `values` is a `Region` whose look is pasted, a colour (three
    numbers from 0 to 1), or goal values of the layer (one per output channel, after demodulation, before noise and
    activation). The marked places' mean value becomes the goal; their pattern about the mean stays. The change has
    rank `rank`, its directions are those of C⁻¹ k (Bau et al. 2020, section 3.4), solved in closed form; `statistics`
    from `key_moment` (counted here over 100 pictures when left out), of which `shrinkage` is the share spread evenly.

    The edit's `measured` tells, on the marked pictures: `values` (share of the wanted shift of values that is there at
    strength 1), `outside` (mean change of display values outside the mask, scale 0 to 1) and, for a colour, `reached`.

    Raises:
        ValueError: a layer that is no convolution, masks that do not fit, are empty or cover everything, statistics of
            another layer or generator, values of another width.
    """
    refuse_edited(model)
    keys = Region(*keys)
    mask = checked_mask(model, keys, "the keys")
    arrival = Arrival.at(model, layer, keys.w)
    places = places_of(mask, model.layer(layer).resolution)
    shift, note = _shift(model, arrival, mask, places, values)
    if statistics is None:
        statistics = key_moment(model, layer)
    if statistics.layer != layer or statistics.generator != identity(model):
        raise ValueError(
            f"the statistics are of {statistics.layer}, or of another generator; count them with key_moment(model, "
            f"{layer!r})."
        )
    marked = arrival.keys.transpose(1, 2)[places].T
    wanted = (shift[None, :, None] / arrival.gain).expand(-1, -1, places.shape[1]).transpose(1, 2)[places].T
    left, right = rank_update(marked, wanted, statistics.shrunk(shrinkage), rank)
    edit = RuleEdit(layer, left.float().contiguous(), right.float().contiguous(), identity(model), note)
    return edit.told(_measured(edit, arrival, keys.w, mask, places, shift, values))


def _shift(
    model: Generator, arrival: Arrival, mask: Tensor, places: Tensor, values: Region | Sequence[float] | Tensor
) -> tuple[Float[Tensor, " outputs"], str]:
    """How far the marked places' mean value has to go, and the wish in words."""
    if isinstance(values, Region):
        other = checked_mask(model, values, "the values")
        goal = Arrival.at(model, arrival.layer, values.w)
        there = places_of(other, model.layer(arrival.layer).resolution)
        return mean_value(goal, there) - mean_value(arrival, places), "the look of a region pasted"
    if isinstance(values, Tensor):
        own = mean_value(arrival, places)
        if values.shape != own.shape:
            raise ValueError(f"{arrival.layer} has {len(own)} output channels, values are {tuple(values.shape)}.")
        refuse_nan(values, "values")
        return values.to(own) - own, "values set"
    colour = tuple(float(part) for part in values)
    return coloured_shift(arrival, mask, places, colour), f"the colour {', '.join(f'{part:g}' for part in colour)}"


@torch.no_grad()
def _measured(
    edit: RuleEdit,
    arrival: Arrival,
    w: Tensor,
    mask: Tensor,
    places: Tensor,
    shift: Tensor,
    values: Region | Sequence[float] | Tensor,
) -> dict[str, float]:
    """What the edit does to the marked pictures."""
    before, own = arrival.painted(arrival.values()), mean_value(arrival, places)
    with edit.applied(arrival.model):
        now = Arrival.at(arrival.model, arrival.layer, w)
        after, moved = now.painted(now.values()), mean_value(now, places) - own
    rest = 1 - mask
    told = {
        "values": float(moved @ shift / shift.square().sum().clamp_min(1e-12)),
        "outside": float(((after - before).abs().mean(1) / 2 * rest).sum() / rest.sum()),
    }
    if not isinstance(values, Region | Tensor):
        goal = coloured(before, mask, tuple(values))
        told["reached"] = float(goal.share(after, slice(None)).mean())
    return told
