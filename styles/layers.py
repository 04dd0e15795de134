"""The layers of StyleGAN2 in plain PyTorch; no custom operators.

Written from "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al. 2020, sections 2 and 4). Parameter
names follow the official files (`synthesis.b32.conv1.weight`), so a state dict reads like one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as nnf

Noise = Literal["const", "none", "random"]
NOISES: tuple[str, ...] = ("const", "none", "random")
FIR = (1.0, 3.0, 3.0, 1.0)
SQRT2 = math.sqrt(2.0)


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that fixes the shapes and the arithmetic of a generator, apart from its weights."""

    resolution: int
    """Side of the image in pixels, a power of two from 4 upward."""
    channels: tuple[int, ...]
    """Feature channels of the blocks 4, 8, 16, ... px."""
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    """Number of classes; 0 when the model is unconditional."""
    mapping_layers: int = 8
    mapping_width: int | None = None
    """Width of the hidden mapping layers; None means w_dim."""
    mapping_lr: float = 0.01
    """Runtime multiplier of the mapping weights and biases (lr_mul of the official code)."""
    architecture: str = "skip"
    """"skip": every block adds to the RGB; "orig": only the last block has a tRGB layer."""
    clamp: float | None = None
    """Bound on activations (256 in models trained with fp16), or None."""
    rgb: int = 3
    """Image channels."""

    def __post_init__(self) -> None:
        blocks = int(math.log2(self.resolution)) - 1 if self.resolution >= 4 else 0
        if blocks < 1 or self.resolution != 4 << (blocks - 1):
            raise ValueError(f"resolution must be a power of two from 4 upward, got {self.resolution}.")
        if len(self.channels) != blocks:
            raise ValueError(
                f"a {self.resolution} px generator has {blocks} blocks, got {len(self.channels)} channels."
            )
        if self.architecture not in ("skip", "orig"):
            raise ValueError(f"architecture must be 'skip' or 'orig', got {self.architecture!r}.")
        sizes = (*self.channels, self.w_dim, self.mapping_layers, self.rgb)
        if min(sizes) < 1 or min(self.z_dim, self.c_dim) < 0 or self.z_dim + self.c_dim < 1:
            raise ValueError("channels, w_dim, mapping_layers and rgb must be positive, z_dim and c_dim not negative.")

    @classmethod
    def config_f(cls, resolution: int, **changes: Any) -> GeneratorConfig:
        """The channels of config-f: 512 up to 64 px, then halved at each step (16384·2 / resolution)."""
        sides = [4 << i for i in range(int(math.log2(resolution)) - 1)]
        return cls(resolution, tuple(min(512, 32768 // side) for side in sides), **changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GeneratorConfig:
        """The config stored by `to_dict`; unknown or missing keys are refused."""
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            raise ValueError(f"generator config has the keys {sorted(values)}, expected {sorted(known)}.")
        return cls(**{**values, "channels": tuple(int(c) for c in values["channels"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for JSON."""
        return {**asdict(self), "channels": list(self.channels)}


class FullyConnected(nn.Module):
    """Linear layer with the equalised learning rate of Karras et al. 2018: y = x (W·m/√in)ᵀ + b·m."""

    def __init__(self, inputs: int, outputs: int, *, lr: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr))
        self.lr = lr

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        gain = self.lr / math.sqrt(self.weight.shape[1])
        return nnf.linear(x, self.weight * gain, self.bias * self.lr)


class MappingNetwork(nn.Module):
    """z (and a class) to w: normalise, then fully connected layers with lrelu(0.2)·√2."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        width = config.mapping_width or config.w_dim
        embedded = config.w_dim if config.c_dim else 0
        sizes = [config.z_dim + embedded] + [width] * (config.mapping_layers - 1) + [config.w_dim]
        self.embed = FullyConnected(config.c_dim, config.w_dim) if config.c_dim else None
        self.depth = config.mapping_layers
        for index in range(self.depth):
            self.add_module(f"fc{index}", FullyConnected(sizes[index], sizes[index + 1], lr=config.mapping_lr))
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(
        self, z: Float[Tensor, "batch d_z"], classes: Float[Tensor, "batch classes"] | None = None
    ) -> Float[Tensor, "batch d_w"]:
        x = unit_moment(z)
        if self.embed is not None and classes is not None:
            x = torch.cat([x, unit_moment(self.embed(classes))], dim=1)
        for index in range(self.depth):
            x = nnf.leaky_relu(self.get_submodule(f"fc{index}")(x), 0.2) * SQRT2
        return x


class StyledConv(nn.Module):
    """Modulated 3x3 convolution with demodulation (equations 1 to 3), noise, bias, lrelu(0.2)·√2, optional clamp."""

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, config: GeneratorConfig, *, resolution: int, up: bool) -> None:
        super().__init__()
        self.affine = FullyConnected(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.up, self.clamp, self.resolution = up, config.clamp, resolution

    def forward(
        self,
        x: Float[Tensor, "batch inputs h w"],
        style: Float[Tensor, "batch inputs"],
        *,
        demodulate: Float[Tensor, "batch inputs"] | None = None,
        noise: Noise = "const",
    ) -> Float[Tensor, "batch outputs h2 w2"]:
        """Run the layer; `demodulate` gives another style to demodulate with (the `feature` meaning of zeroing)."""
        weight: Tensor = self.weight
        gain = self.demodulation(style if demodulate is None else demodulate)
        if x.dtype == torch.float16:  # keep the products inside the range of fp16; demodulation takes the scales back
            peak, top = weight.abs().amax(dim=(1, 2, 3)), style.abs().amax(dim=1, keepdim=True).clamp_min(1e-8)
            fan = math.sqrt(weight[0].numel())
            weight, style, gain = weight / (peak[:, None, None, None] * fan), style / top, gain * (peak * fan) * top
        y = self.linear(x * style.to(x.dtype)[:, :, None, None], weight.to(x.dtype))
        return self.finish(y, gain.to(x.dtype), noise=noise)

    def demodulation(self, style: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        """d_o = (Σ_i s_i² ‖W_oi‖² + 1e-8)^-½ (equation 3)."""
        return torch.rsqrt(style.square() @ self.weight.square().sum(dim=(2, 3)).T + 1e-8)

    def linear(self, x: Tensor, weight: Float[Tensor, "outputs inputs 3 3"]) -> Tensor:
        """The convolution itself; an up-convolution is transposed with stride 2 and followed by the FIR filter."""
        if not self.up:
            return nnf.conv2d(x, weight, padding=1)
        return smooth(nnf.conv_transpose2d(x, weight.transpose(0, 1), stride=2))

    def finish(self, y: Tensor, gain: Tensor, *, noise: Noise = "const") -> Tensor:
        """Demodulate, add noise and bias, activate. The √2 is applied first: lrelu is positively homogeneous."""
        shift = (self.bias[:, None, None] + self.noise(y, noise)) * SQRT2
        y = torch.addcmul(shift.to(y.dtype), y, (gain * SQRT2)[:, :, None, None])
        y = nnf.leaky_relu(y, 0.2)
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)

    def noise(self, like: Tensor, kind: Noise) -> Tensor | float:
        """The noise image times its strength, broadcast over channels."""
        if kind == "none":
            return 0.0
        if kind == "const":
            return self.noise_const * self.noise_strength
        return torch.randn(len(like), 1, *like.shape[2:], device=like.device) * self.noise_strength


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, without demodulation. A unit's value is the raw affine output."""

    def __init__(self, inputs: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.affine = FullyConnected(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(config.rgb, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.rgb))
        self.clamp = config.clamp

    @property
    def gain(self) -> float:
        """1/√in, the equalised learning rate of this layer."""
        return 1.0 / math.sqrt(self.weight.shape[1])

    def forward(
        self, x: Float[Tensor, "batch inputs h w"], style: Float[Tensor, "batch inputs"]
    ) -> Float[Tensor, "batch rgb h w"]:
        weight = (self.weight[None, :, :, 0, 0] * (style * self.gain)[:, None]).to(x.dtype)
        y = (weight @ x.flatten(2)).unflatten(2, x.shape[2:]) + self.bias.to(x.dtype)[:, None, None]
        y = y if self.clamp is None else y.clamp(-self.clamp, self.clamp)
        return y.float()


class Block(nn.Module):
    """The layers of one resolution under their official names."""

    def __init__(self, config: GeneratorConfig, index: int) -> None:
        super().__init__()
        side, outputs = 4 << index, config.channels[index]
        if index == 0:
            self.const = nn.Parameter(torch.randn(outputs, 4, 4))
        else:
            self.conv0 = StyledConv(config.channels[index - 1], outputs, config, resolution=side, up=True)
        self.conv1 = StyledConv(outputs, outputs, config, resolution=side, up=False)
        if config.architecture == "skip" or side == config.resolution:
            self.torgb = ToRGB(outputs, config)


class Synthesis(nn.Module):
    """The blocks, and the flat list of their styled layers."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        for index in range(len(config.channels)):
            self.add_module(f"b{4 << index}", Block(config, index))


def unit_moment(x: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d"]:
    """x scaled so that the mean of its squares is 1."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


@lru_cache
@torch.inference_mode(False)
def fir(device: torch.device, dtype: torch.dtype) -> Float[Tensor, "4 4"]:
    """[1,3,3,1]⊗[1,3,3,1]/16, made once on each device, as a tensor that gradients may pass wherever it was made."""
    taps = torch.tensor(FIR, device=device, dtype=dtype)
    return torch.outer(taps, taps) / 16


def smooth(x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h2 w2"]:
    """FIR [1,3,3,1]⊗[1,3,3,1]/64·4 after a stride-2 transposed convolution: side 2n+1 becomes 2n."""
    kernel = fir(x.device, x.dtype).expand(x.shape[1], 1, 4, 4)
    return nnf.conv2d(x, kernel, padding=1, groups=x.shape[1])


def grown(rgb: Float[Tensor, "batch rgb h w"], side: int) -> Float[Tensor, "batch rgb side side"]:
    """Doubled by zero insertion and the FIR filter until it has that side."""
    kernel = fir(rgb.device, rgb.dtype).expand(rgb.shape[1], 1, 4, 4)
    while rgb.shape[-1] < side:
        rgb = nnf.conv_transpose2d(rgb, kernel, stride=2, padding=1, groups=rgb.shape[1])
    return rgb
