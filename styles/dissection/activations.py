"""The maps of a layer's units over a probe set: of a generator, a convolutional network, a transformer of patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from styles.generator import Generator

Picture = TypeVar("Picture")
MOST_NUMBERS = 500_000_000
"""Values of all maps that are held at a time, 2 GB in float32."""


@torch.no_grad()
def maps_of(
    network: nn.Module,
    layer: str,
    probe: Tensor,
    *,
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "pictures units h w"]:
    """The activation map of every unit for every picture of the probe set.

    `probe`: for a `Generator` latents w, whose layer's units are its style scalars (the map is the scaled input
    channel); for any other network what it takes, pictures x 3 x h x w. A layer of tokens (pictures x tokens x width)
    is read as a square of patches, tokens in front of it (a class token) left out.

    Raises:
        ValueError: no layer of that name (those there are, listed), an empty probe, a layer whose output is no map, or
            more values than can be held.
    """
    module = module_of(network, layer)
    if not len(probe):
        raise ValueError("the probe set is empty; give some pictures")
    found: list[Tensor] = []

    def styled(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        x, style = given[0], given[1]
        found.append((x * style[:, :, None, None]).float().cpu())

    def plain(_: nn.Module, __: object, out: object) -> None:
        found.append(as_maps(out, layer).float().cpu())

    generated = isinstance(network, Generator)
    hook = module.register_forward_pre_hook(styled) if generated else module.register_forward_hook(plain)
    try:
        for done, part in enumerate(probe.split(batch), 1):
            network.synthesize(part) if isinstance(network, Generator) else network(part)
            if found[0][0].numel() * len(probe) > MOST_NUMBERS:
                raise ValueError(
                    f"{layer} has {found[0][0].numel():,} values a picture, too many for {len(probe)} pictures at "
                    "once; give fewer pictures or a smaller layer"
                )
            if progress is not None:
                progress(min(done * batch, len(probe)), len(probe))
    finally:
        hook.remove()
    return torch.cat(found)


@torch.no_grad()
def maps_while(
    network: nn.Module, layer: str, paint: Callable[[int], Picture], count: int
) -> tuple[Float[Tensor, "pictures units h w"], list[Picture]]:
    """The maps of a network's units while pictures are painted with it, such as a UNet's; and the pictures.

    `paint(i)` paints picture i, running the network as often as it likes. A unit's map is its mean over these runs; of
    a batch the last row counts, which under guidance is the one that has read the prompt. `labelled` goes on from here.

    Raises:
        ValueError: nothing to paint, no layer of that name, a layer whose output is no map, or a picture that was
            painted without the network.
    """
    if count < 1:
        raise ValueError("there is nothing to paint; ask for at least one picture")
    module, seen, found, pictures = module_of(network, layer), [], [], []
    hook = module.register_forward_hook(lambda _, __, out: seen.append(as_maps(out, layer)[-1].float().cpu()))
    try:
        for index in range(count):
            seen.clear()
            pictures.append(paint(index))
            if not seen:
                raise ValueError(f"picture {index} was painted without {layer}; give the network that paints it")
            found.append(torch.stack(seen).mean(0))
    finally:
        hook.remove()
    return torch.stack(found), pictures


@torch.no_grad()
def pictures_of(network: nn.Module, probe: Tensor, *, batch: int = 32) -> Float[Tensor, "pictures rgb h w"]:
    """What the probe set shows: what a generator makes of its latents, or the pictures that it is; on the CPU.

    Raises:
        ValueError: an empty probe.
    """
    if not len(probe):
        raise ValueError("the probe set is empty; give some pictures")
    if not isinstance(network, Generator):
        return probe.cpu()
    return torch.cat([network.synthesize(part).cpu() for part in probe.split(batch)])


def module_of(network: nn.Module, layer: str) -> nn.Module:
    """The module of that name.

    Raises:
        ValueError: there is none; the names there are.
    """
    if isinstance(network, Generator):
        return network.module(layer)
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        names = [name for name in modules if name]
        shown = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
        raise ValueError(f"no layer {layer!r} in this network, which has {shown}")
    return modules[layer]


def as_maps(out: object, layer: str) -> Float[Tensor, "pictures units h w"]:
    """A module's output as maps.

    Raises:
        ValueError: it is none.
    """
    if isinstance(out, tuple | list) and out:
        out = out[0]
    if isinstance(out, Tensor) and out.ndim == 4:
        return out
    if isinstance(out, Tensor) and out.ndim == 3:
        side = math.isqrt(out.shape[1])
        if side > 1:
            patches = out[:, out.shape[1] - side * side :]
            return patches.transpose(1, 2).unflatten(2, (side, side))
    shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    raise ValueError(
        f"the layer {layer} gives no map of units over a picture but {shape}; choose a convolution or a block"
    )


def pieces(maps: Float[Tensor, "pictures units h w"], units: int = 16) -> Iterator[tuple[slice, Tensor]]:
    """Some units at a time."""
    for start in range(0, maps.shape[1], units):
        part = slice(start, min(start + units, maps.shape[1]))
        yield part, maps[:, part]
