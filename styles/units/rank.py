"""Find the units behind a marked region: screen all of them by gradient probes, then ablate the best ones exactly.

"Zeroed" has three meanings. `style` (the lecture's): the unit's style is 0 before modulation, demodulation follows.
`feature` (GAN Dissection): its contribution is removed, demodulation kept. `mean` (StyleCLIP): it takes its mean.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.generator import Generator, Layer
from styles.layers import NOISES, Noise
from styles.units.ranking import Ranking
from styles.units.search import Mode, Rule, Screen, Search

Masks = Tensor | Mapping[str, Tensor]
MODES, SCREENS = ("style", "feature", "mean"), ("probes", "none")


def rank_units(
    model: Generator,
    w: Float[Tensor, "images layers d_w"] | Float[Tensor, "images d_w"],
    mask: Masks,
    *,
    mode: Mode = "style",
    layers: Sequence[str] | None = None,
    screen: Screen = "probes",
    confirm: int = 100,
    protect: Tensor | None = None,
    ignore: Tensor | None = None,
    gamma: float = 0.0,
    probes: int = 4,
    at: int | None = None,
    noise: Noise = "const",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    resume: str | Path | None = None,
) -> Ranking:
    """Rank the units of a generator by how much of their effect lies in a marked region of some images.

    `mask` is h x w (the same for all images) or images x h x w with values in [0, 1], or several of them by name; the
    first one decides the order. Masks of another size than the image are resized, with a warning. Changes of `protect`
    pixels are subtracted from the score, `ignore` pixels count nowhere. `layers` are layer names ("b32.conv1") or
    blocks ("b32"). tRGB units are always exact, in closed form; of the others `screen="probes"` ablates the `confirm`
    units that come first for any mask and leaves an estimate for the rest, `screen="none"` ablates all. `at` scores at
    the RGB of a smaller resolution (units above it are left out). `resume` names a file that an interrupted ranking
    leaves behind and goes on from. Float32 throughout. ValueError tells what does not fit.
    """
    if mode not in MODES or screen not in SCREENS or noise not in NOISES[:2]:
        raise ValueError(
            f"mode is one of {MODES}, screen of {SCREENS}, noise of {NOISES[:2]}; got {mode!r}, {screen!r}, {noise!r}."
        )
    if confirm < 1 or probes < 1 or gamma < 0:
        raise ValueError(
            f"confirm and probes must be at least 1, gamma not negative; got {confirm}, {probes}, {gamma}."
        )
    if model.edited:
        raise ValueError("the generator has edits of turned() on it; rank outside the with block.")
    side = _side(model, at)
    with full_precision(model), torch.no_grad():
        styles = model.styles(w)
        weights, names = weights_of(mask, len(w), side, model, protect=protect, ignore=ignore)
        chosen = choose_layers(model, layers, side)
        rule = Rule(mode, gamma, noise, side, names)
        job = Search(model, styles, weights, chosen, rule)
        job.hooks(progress, cancel, Path(resume) if resume is not None else None, (probes, confirm, seed, screen))
        return job.run(screen, probes, confirm, seed)


@contextlib.contextmanager
def full_precision(model: Generator) -> Iterator[None]:
    """Features in float32 for a while: tiny effects drown in fp16."""
    kept, model.compute_dtype = model.compute_dtype, torch.float32
    try:
        yield
    finally:
        model.compute_dtype = kept


def _side(model: Generator, at: int | None) -> int:
    if at is None:
        return model.config.resolution
    if model.config.architecture != "skip" and at != model.config.resolution:
        raise ValueError("an 'orig' generator has RGB at its full resolution only; leave `at` out.")
    sides = sorted({layer.resolution for layer in model.layers})
    if at not in sides:
        raise ValueError(f"`at` must be one of {sides}, got {at}.")
    return at


def choose_layers(model: Generator, names: Sequence[str] | None, side: int) -> tuple[Layer, ...]:
    """The layers of some names or blocks, up to a resolution."""
    if names is not None:
        known = {layer.name for layer in model.layers} | {layer.name.split(".")[0] for layer in model.layers}
        for name in names:
            if name not in known:
                raise ValueError(f"no layer or block {name!r}; there are {', '.join(la.name for la in model.layers)}.")
    found = [
        layer
        for layer in model.layers
        if layer.resolution <= side and (names is None or layer.name in names or layer.name.split(".")[0] in names)
    ]
    if not found:
        raise ValueError(f"none of the layers asked for lies at or below {side} px.")
    return tuple(found)


def weights_of(
    mask: Masks, images: int, side: int, model: Generator, *, protect: Tensor | None, ignore: Tensor | None
) -> tuple[Float[Tensor, "images weights h w"], tuple[str, ...]]:
    """The masks, all counted pixels and the protected ones, each without the ignored pixels; and the masks' names."""
    named = dict(mask) if isinstance(mask, Mapping) else {"mask": mask}
    if not named:
        raise ValueError("no mask was given; mark at least one region.")
    full = model.config.resolution
    made = [_checked(value, name, images, full) for name, value in named.items()]
    for name, value in zip(named, made, strict=True):
        if bool((value.amax((1, 2)) <= 0).any()):
            raise ValueError(f"mask {name!r} is empty; mark the region whose units are wanted.")
        if bool((value.amin((1, 2)) >= 1).any()):
            raise ValueError(f"mask {name!r} covers the whole image; leave something outside to compare with.")
    counted = 1 - (torch.zeros_like(made[0]) if ignore is None else _checked(ignore, "ignore", images, full))
    guard = torch.zeros_like(made[0]) if protect is None else _checked(protect, "protect", images, full)
    stack = torch.stack([*made, torch.ones_like(guard), guard], 1) * counted[:, None]
    stack = nnf.interpolate(stack, size=(side, side), mode="area") if side != full else stack
    if bool((stack[:, : len(named)].sum((2, 3)) <= 0).any()):
        raise ValueError("`ignore` covers a whole mask; leave some of it to be scored.")
    return stack.to(model.device), tuple(named)


def _checked(mask: Tensor, name: str, images: int, side: int) -> Float[Tensor, "images h w"]:
    """A mask as images x side x side floats."""
    values = torch.as_tensor(mask).detach().float().cpu()
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or len(values) not in (1, images):
        raise ValueError(f"mask {name!r} must be h x w or {images} x h x w (one per image), got {tuple(mask.shape)}.")
    if not bool(torch.isfinite(values).all()) or float(values.min()) < 0 or float(values.max()) > 1:
        raise ValueError(f"mask {name!r} must hold numbers from 0 to 1.")
    if values.shape[1:] != (side, side):
        warnings.warn(
            f"mask {name!r} is {values.shape[2]} x {values.shape[1]}; resized to {side} x {side}.", stacklevel=2
        )
        size = (side, side)
        values = nnf.interpolate(values[:, None], size=size, mode="bilinear", antialias=True)[:, 0].clamp(0, 1)
    return values.expand(images, -1, -1)
