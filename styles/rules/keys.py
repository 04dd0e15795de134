"""What arrives at a convolution: its keys, place by place, and their second moment over the generator's own pictures.

A modulated convolution (Karras et al. 2020, equations 1 to 3) is a matrix over keys, y = d ⊙ (W k): k the input times
the style, 3 x 3 places unfolded; d the demodulation. One that doubles the side is the same: zeros are put between the
inputs, the FIR filter runs first (both act on each channel alone), and W is turned by half a turn.

Axes: batch (pictures), outputs (channels of the layer), keys (9 times the input channels), places (h · w of the layer).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.generator import Generator, State
from styles.layers import FIR, StyledConv
from styles.units.natural import latents
from styles.units.rank import full_precision

Matrix = Float[Tensor, "outputs keys"]


def convolution(model: Generator, layer: str) -> StyledConv:
    """The styled convolution of that name.

    Raises:
        ValueError: no layer of that name, or one that is no convolution.
    """
    module = model.module(layer)
    if not isinstance(module, StyledConv):
        names = ", ".join(row.name for row in model.layers if row.kind != "torgb")
        raise ValueError(f"{layer} holds no rule, it only mixes colours; take a convolution: {names}.")
    return module


def as_matrix(module: StyledConv, weight: Float[Tensor, "outputs inputs 3 3"]) -> Matrix:
    """The convolution's weight as a matrix over the keys of `unfolded`."""
    return (weight.flip(2, 3) if module.up else weight).flatten(1)


def as_weight(module: StyledConv, matrix: Matrix) -> Float[Tensor, "outputs inputs 3 3"]:
    """The reverse of `as_matrix`."""
    weight = matrix.unflatten(1, (-1, 3, 3))
    return weight.flip(2, 3) if module.up else weight


def unfolded(module: StyledConv, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch keys places"]:
    """Keys of all places, such that W k is what `module.linear` gives for the modulated input `x`."""
    if not module.up:
        return nnf.unfold(x, 3, padding=1)
    side = 2 * x.shape[-1] - 1
    spread = x.new_zeros(*x.shape[:2], side, side)
    spread[..., ::2, ::2] = x
    taps = x.new_tensor(FIR)
    kernel = (torch.outer(taps, taps) / 16).expand(x.shape[1], 1, 4, 4)
    return nnf.unfold(nnf.conv2d(spread, kernel, padding=3, groups=x.shape[1]), 3)


@dataclass(frozen=True)
class Arrival:
    """Some pictures under way, stopped before a convolution."""

    model: Generator
    layer: str
    state: State
    styles: dict[str, Float[Tensor, "batch channels"]]
    keys: Float[Tensor, "batch keys places"]

    @classmethod
    @torch.no_grad()
    def at(cls, model: Generator, layer: str, w: Tensor) -> Arrival:
        """Run the layers before `layer`, in float32."""
        module = convolution(model, layer)
        with full_precision(model):
            styles = model.styles(w)
            state = model.start(len(styles[layer]))
            for row in model.layers:
                if row.name == layer:
                    break
                state = model.step(row.name, state, styles[row.name])
        keys = unfolded(module, state.x * styles[layer][:, :, None, None])
        return cls(model, layer, state, styles, keys)

    @property
    def gain(self) -> Float[Tensor, "batch outputs 1"]:
        """The demodulation d of each picture."""
        return convolution(self.model, self.layer).demodulation(self.styles[self.layer])[:, :, None]

    def values(self) -> Float[Tensor, "batch outputs places"]:
        """d ⊙ (W k): what the layer gives before noise, bias and activation."""
        module = convolution(self.model, self.layer)
        return self.gain * (as_matrix(module, module.weight) @ self.keys)

    def painted(self, values: Float[Tensor, "batch outputs places"]) -> Float[Tensor, "batch rgb h w"]:
        """The pictures that follow from these values; the layers after it run as they are."""
        module, side = convolution(self.model, self.layer), round(values.shape[2] ** 0.5)
        x = module.finish(values.unflatten(2, (side, side)), values.new_ones(1, 1))
        state, after = State(x, self.state.rgb), False
        with full_precision(self.model):
            for row in self.model.layers:
                if after:
                    state = self.model.step(row.name, state, self.styles[row.name])
                after |= row.name == self.layer
        assert state.rgb is not None
        return state.rgb


@dataclass(frozen=True)
class KeyMoment:
    """C = E[k kᵀ] of a layer's keys over pictures and places: what the layer is asked for ordinarily."""

    layer: str
    moment: Float[Tensor, "keys keys"]
    """float64, on the CPU."""
    samples: int
    generator: str
    """`identity` of the generator that it was counted on."""

    def shrunk(self, share: float) -> Float[Tensor, "keys keys"]:
        """(1 − a) C + a (tr C / n) I.

        Raises:
            ValueError: a share outside 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"shrinkage is a share from 0 (C as counted) to 1 (C is ignored), got {share}.")
        made = (1 - share) * self.moment
        made.diagonal().add_(share * self.moment.diagonal().mean())
        return made


@torch.no_grad()
def key_moment(
    model: Generator, layer: str, *, samples: int = 100, truncation: float = 1.0, seed: int = 0, batch: int = 8
) -> KeyMoment:
    """Stream random latents and count a layer's keys at every place: memory is that of one batch.

    Raises:
        ValueError: no samples, a layer that is no convolution, or `turned` in force.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    refuse_edited(model)
    total, places = torch.zeros((), dtype=torch.float64), 0
    for w in latents(model, samples, truncation=truncation, seed=seed, batch=batch):
        keys = Arrival.at(model, layer, w).keys.transpose(1, 2).flatten(0, 1)
        total, places = total + (keys.T @ keys).double().cpu(), places + len(keys)
    return KeyMoment(layer, total / places, samples, identity(model))


def refuse_edited(model: Generator) -> None:
    """ValueError while `turned` is in force: keys and values would be those of the turned generator."""
    if model.edited:
        raise ValueError("the generator has edits of turned() on it; solve outside the with block.")


def identity(model: Generator) -> str:
    """SHA-256 of a generator's configuration and weights without those of its convolutions, which rules change."""
    changed = {f"synthesis.{row.name}.weight" for row in model.layers if row.kind != "torgb"}
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if name not in changed:
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
