"""Exact ablation of single units at the least cost: what comes before a unit is kept, what comes after runs densely.

For one image the layers before a unit give the same features whatever the unit does (cached prefix), its own layer
changes by a rank-one term, and the layers behind it see fixed styles, so that their modulation and demodulation are
multiplied into the weights once and many ablated images pass as one plain batch. All in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as nnf

from styles.generator import Generator, Layer, State
from styles.layers import SQRT2, Noise, StyledConv, ToRGB, grown, smooth

CPU_NUMBERS, GPU_NUMBERS = 1 << 24, 1 << 28
"""Feature values that one pass may hold at a time."""


class Dense(NamedTuple):
    """A layer with its styles multiplied in: plain weights, and the shift of noise and bias."""

    weight: Tensor
    shift: Tensor


class Change(NamedTuple):
    """The images after changing some units of a layer, one unit each."""

    part: slice
    """Which of the asked units these are."""
    image: Float[Tensor, "units rgb h w"]


class RgbChange(NamedTuple):
    """A tRGB unit changes the image by one map times one colour: ΔI = colour ⊗ map."""

    part: slice
    colour: Float[Tensor, "units rgb"]
    map: Float[Tensor, "units h w"]


class Ablation:
    """One image, ready for many single-unit changes.

    `styles` holds the unit values of that image (batch 1); `stop` scores at the RGB of a smaller resolution of a skip
    generator. `image` is the unchanged image at that resolution.
    """

    def __init__(
        self,
        model: Generator,
        styles: Mapping[str, Float[Tensor, "1 channels"]],
        *,
        noise: Noise = "const",
        stop: int | None = None,
        numbers: int | None = None,
    ) -> None:
        self.model, self.styles, self.noise = model, styles, noise
        side = stop or model.config.resolution
        self.layers = tuple(layer for layer in model.layers if layer.resolution <= side)
        self.numbers = numbers or (CPU_NUMBERS if model.device.type == "cpu" else GPU_NUMBERS)
        self.before: dict[str, State] = {}
        state = State(model.start(1).x.float(), None)
        for layer in self.layers:
            self.before[layer.name] = state
            state = model.step(layer.name, state, styles[layer.name], noise=noise)
        if state.rgb is None:
            raise ValueError(f"an 'orig' generator has no RGB at {side} px; score at its full resolution.")
        self.image: Float[Tensor, "1 rgb h w"] = state.rgb
        self._dense: dict[str, Dense] = {}
        self._linear: tuple[str, Tensor] | None = None

    def dense(self, name: str) -> Dense:
        """Weights W s d √2 of a convolution (equations 1 to 3, and the gain of the activation), or W s g of a tRGB."""
        if name not in self._dense:
            module, style = self.model.module(name), self.styles[name]
            if isinstance(module, ToRGB):
                made = Dense(module.weight * (style * module.gain)[:, :, None, None], module.bias)
            else:
                gain = module.demodulation(style) * SQRT2
                weight = module.weight * style[:, :, None, None] * gain[0, :, None, None, None]
                weight = weight.transpose(0, 1) if module.up else weight
                shift = (module.bias[:, None, None] + module.noise(self.image, self.noise)) * SQRT2
                made = Dense(weight.contiguous(), shift)
            self._dense[name] = made
        return self._dense[name]

    def step(self, layer: Layer, state: State) -> State:
        """One layer behind the changed unit, for a batch of changed features."""
        module, (weight, shift) = self.model.module(layer.name), self.dense(layer.name)
        if isinstance(module, ToRGB):
            y = nnf.conv2d(state.x, weight, shift)
            return State(
                state.x, self._add(state.rgb, y if module.clamp is None else y.clamp(-module.clamp, module.clamp))
            )
        y = (
            smooth(nnf.conv_transpose2d(state.x, weight, stride=2))
            if module.up
            else nnf.conv2d(state.x, weight, padding=1)
        )
        y = nnf.leaky_relu_(y.add_(shift), 0.2)
        return State(y if module.clamp is None else y.clamp_(-module.clamp, module.clamp), state.rgb)

    @staticmethod
    def _add(rgb: Tensor | None, y: Tensor) -> Tensor:
        return y if rgb is None else grown(rgb, y.shape[-1]) + y

    def rest(self, position: int, state: State, first: int = 0) -> Iterator[Change]:
        """Run the layers from `position` on; the batch is cut where the features grow large."""
        for at in range(position, len(self.layers)):
            layer = self.layers[at]
            room = max(1, self.numbers // (self._size(layer)))
            if len(state.x) > room:
                for start in range(0, len(state.x), room):
                    yield from self.rest(at, _part(state, slice(start, start + room)), first + start)
                return
            state = self.step(layer, state)
        assert state.rgb is not None
        yield Change(slice(first, first + len(state.rgb)), state.rgb)

    def _size(self, layer: Layer) -> int:
        """Numbers that one image holds in a layer."""
        return self.model.module(layer.name).weight.shape[0] * (layer.resolution + 1) ** 2

    def changes(
        self,
        name: str,
        channels: Int[Tensor, " units"],
        values: Float[Tensor, " units"],
        *,
        feature: bool = False,
        pause: Callable[[], None] | None = None,
    ) -> Iterator[Change]:
        """The images with each of some units of a convolution set to its value, one unit at a time.

        `feature` keeps the demodulation of the unchanged style. `pause` is called between batches (cancelling).
        """
        position = [layer.name for layer in self.layers].index(name)
        room = max(1, 2 * self.numbers // self._size(self.layers[position]))
        for start in range(0, len(channels), room):
            part = slice(start, start + room)
            state = self._own(name, channels[part], values[part], feature)
            for change in self.rest(position + 1, state, start):
                yield change
                if pause is not None:
                    pause()

    def _own(self, name: str, channels: Tensor, values: Tensor, feature: bool) -> State:
        """The unit's own layer: y' = d' (y/d + Δs_u W_u ⊛ x_u), a rank-one change of the linear part."""
        module, before, style = self.model.module(name), self.before[name], self.styles[name]
        if isinstance(module, ToRGB):
            x = before.x.expand(len(channels), -1, -1, -1)
            return State(x, self._add(before.rgb, module(x, _replaced(style, channels, values))))
        weight = module.weight[:, channels].transpose(0, 1)
        change = _single(module, before.x[0, channels], weight * (values - style[0, channels])[:, None, None, None])
        y = change.add_(self._base(name, module))
        gain = module.demodulation(style if feature else _replaced(style, channels, values))
        return State(module.finish(y, gain, noise=self.noise), before.rgb)

    def _base(self, name: str, module: StyledConv) -> Tensor:
        """The linear part of the unchanged layer, kept for the layer in hand."""
        if self._linear is None or self._linear[0] != name:
            x = self.before[name].x * self.styles[name][:, :, None, None]
            self._linear = (name, module.linear(x, module.weight))
        return self._linear[1]

    def rgb_changes(self, name: str, channels: Tensor, values: Tensor) -> Iterator[RgbChange]:
        """tRGB units in closed form: ΔI = (s'_u - s_u) g w_u ⊗ x_u, grown by the FIR filter to the image's side.

        Exact while no clamp acts on this layer's RGB; `clamped` tells.
        """
        module, side = self.model.module(name), self.image.shape[-1]
        assert isinstance(module, ToRGB)
        change = (values - self.styles[name][0, channels]) * module.gain
        colour = change[:, None] * module.weight[:, channels, 0, 0].T
        room = max(1, self.numbers // side**2)
        for start in range(0, len(channels), room):
            part = slice(start, start + room)
            yield RgbChange(part, colour[part], grown(self.before[name].x[0, channels[part], None], side)[:, 0])

    def clamped(self, name: str, channels: Tensor, values: Tensor) -> bool:
        """Whether a clamp could act on this tRGB layer before or after one of the changes."""
        module = self.model.module(name)
        assert isinstance(module, ToRGB)
        if module.clamp is None:
            return False
        x, style = self.before[name].x, self.styles[name]
        loose = nnf.conv2d(x, module.weight * (style * module.gain)[:, :, None, None], module.bias).abs().max()
        change = (values - style[0, channels]).abs() * module.gain * module.weight[:, channels, 0, 0].abs().amax(0)
        return bool(loose + (change * x[0, channels].abs().amax((1, 2))).max() >= module.clamp)


def _single(module: StyledConv, x: Float[Tensor, "units h w"], weight: Float[Tensor, "units outputs 3 3"]) -> Tensor:
    """The response of a layer's linear part to one channel at a time."""
    units, outputs = weight.shape[:2]
    if module.up:
        y = nnf.conv_transpose2d(x[None], weight, stride=2, groups=units)
        return smooth(y.unflatten(1, (units, outputs))[0])
    columns = nnf.unfold(x[:, None], 3, padding=1)
    return torch.bmm(weight.flatten(2), columns).unflatten(2, x.shape[1:])


def _replaced(style: Float[Tensor, "1 channels"], channels: Tensor, values: Tensor) -> Float[Tensor, "units channels"]:
    """One row per unit, that unit set to its value."""
    rows = style.repeat(len(channels), 1)
    rows[torch.arange(len(channels), device=style.device), channels] = values
    return rows


def _part(state: State, index: slice) -> State:
    rgb = state.rgb
    return State(state.x[index], rgb if rgb is None or len(rgb) == 1 else rgb[index])
