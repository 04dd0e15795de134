"""What a generator's units cause: they are removed, or inserted somewhere else, and the area of each thing is measured.

    first, more = area_changes(G, "b32.conv1", [[12], [12, 3]], w, segmenter, concept="shade")
    first.removed["shade"] - first.whole["shade"], first.effect("shade")

Bau et al. 2019, "GAN Dissection: Visualizing and Understanding Generative Adversarial Networks" (section 3.2): units
are forced to 0 (removed) or, at some places, to their mean where the thing stands (inserted); the average causal effect
is the difference of the two in the area that a segmenter sees. Here a removal is everywhere, and areas are those of
the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as nnf

from styles.dissection.activations import maps_of
from styles.dissection.segmenter import Segments, known
from styles.generator import Generator
from styles.layers import StyledConv


@dataclass(frozen=True)
class AreaChange:
    """Some units of a layer removed and inserted. Areas are mean shares of the picture, 0 to 1, by class."""

    units: tuple[int, ...]
    whole: Mapping[str, float]
    """Nothing changed."""
    removed: Mapping[str, float]
    inserted: Mapping[str, float]

    def effect(self, name: str) -> float:
        """The average causal effect of these units on a class: its area inserted minus its area removed."""
        return self.inserted[name] - self.removed[name]


@contextmanager
def forced(
    model: Generator,
    layer: str,
    units: Sequence[int],
    level: float | Float[Tensor, " units"] = 0.0,
    *,
    where: Float[Tensor, "batch h w"] | None = None,
) -> Iterator[None]:
    """Inside, the maps of these units (a layer's input channels times their styles, as `maps_of` gives them) hold
    `level`, one number or one for each unit; with `where` (one mask per picture, in [0, 1], of any size) there alone.
    Demodulation stays as it was, so that other units' share of the layer is untouched; 0 everywhere is the `feature`
    meaning of zeroing.

    Raises:
        ValueError: no such layer, a unit that it does not have, levels or masks of another number, told when it runs.
    """
    channels = model.layer(layer).channels
    wrong = [unit for unit in units if not 0 <= unit < channels]
    if wrong:
        raise ValueError(f"{layer} has units 0 to {channels - 1}, no {wrong[0]}")
    levels = torch.as_tensor(level, dtype=torch.float32).reshape(-1)
    if len(levels) not in (1, len(units)):
        raise ValueError(f"{len(levels)} levels for {len(units)} units; give one number, or one for each")
    chosen, levels = torch.tensor(list(units), dtype=torch.long), levels.expand(len(units))

    def force(module: nn.Module, given: tuple[Tensor, ...], more: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, style = given
        at = chosen.to(x.device)
        target = levels.to(x)[None, :, None, None]
        if where is not None:
            if len(where) != len(x):
                raise ValueError(f"masks for {len(where)} pictures and {len(x)} pictures; give one for each")
            share = nnf.interpolate(where[:, None].to(x), size=x.shape[-2:], mode="area")
            own = x[:, at] * style.to(x)[:, at, None, None]
            target = torch.lerp(own, target.expand_as(own), share)
        x, plain = x.clone(), style.clone()
        x[:, at], plain[:, at] = target.to(x.dtype), 1.0
        if isinstance(module, StyledConv):
            kept = more.get("demodulate")
            more = {**more, "demodulate": style if kept is None else kept}
        return (x, plain), more

    hook = model.module(layer).register_forward_pre_hook(force, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def area_changes(
    model: Generator,
    layer: str,
    sets: Sequence[Sequence[int]],
    w: Tensor,
    segmenter: Segments,
    *,
    concept: str,
    where: Float[Tensor, "batch h w"] | None = None,
    batch: int = 32,
) -> list[AreaChange]:
    """Each set of units removed everywhere, and inserted at `where`, at the level they have where `concept` stands.

    `where`: one mask per row of `w`, in [0, 1], of any size; by default where the concept stands in the mirrored
    picture, so mostly where it is not.

    Raises:
        ValueError: a concept that the segmenter does not know or sees in no picture, or as `forced`.
    """
    known(segmenter, [concept])

    def views(units: Sequence[int], level: float | Tensor, places: Tensor | None) -> Iterator[dict[str, Tensor]]:
        for i in range(0, len(w), batch):
            part = None if places is None else places[i : i + batch]
            with forced(model, layer, units, level, where=part):
                found = segmenter.masks(model.synthesize(w[i : i + batch]))
            yield found

    def areas(found: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
        total = dict.fromkeys(segmenter.classes, 0.0)
        for masks in found:
            for name, mask in masks.items():
                total[name] += float(mask.float().mean((1, 2)).sum())
        return {name: value / len(w) for name, value in total.items()}

    plain = list(views((), 0.0, None))
    seen = torch.cat([masks[concept] for masks in plain]).float()
    if not bool(seen.any()):
        raise ValueError(f"the segmenter sees no {concept} in these {len(w)} pictures, so there is no level to insert")
    levels = present_levels(maps_of(model, layer, w, batch=batch), seen)
    places = seen.flip(-1) if where is None else where
    whole = areas(plain)
    return [
        AreaChange(
            tuple(units), whole, areas(views(units, 0.0, None)), areas(views(units, levels[list(units)], places))
        )
        for units in sets
    ]


def present_levels(
    maps: Float[Tensor, "pictures units h w"], masks: Float[Tensor, "pictures H W"]
) -> Float[Tensor, " units"]:
    """The mean of every unit's map where a thing stands: what it is forced to where the thing is inserted."""
    share = nnf.interpolate(masks[:, None].float(), size=maps.shape[-2:], mode="area")
    return (maps * share).sum((0, 2, 3)) / share.sum().clamp_min(1e-12)
