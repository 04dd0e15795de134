"""The generator: z to w to unit values to images, every unit addressable by (layer, channel).

Axes: batch, channels, h, w; layers (one w per layer), d_w (width of a w vector). A **unit** is one style scalar: an
input channel of a modulated convolution or of a tRGB layer, named like ("b32.conv1", 265).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as nnf

from styles.layers import NOISES, GeneratorConfig, MappingNetwork, Noise, StyledConv, Synthesis, ToRGB, grown


class Layer(NamedTuple):
    """One styled layer, in the order of the computation."""

    name: str
    kind: str
    """"conv", "up" (a convolution that doubles the side) or "torgb"."""
    resolution: int
    channels: int
    """Number of units: the layer's input channels."""
    w_index: int
    """Which row of w feeds it."""


class State(NamedTuple):
    """What the layers hand on: features and the RGB summed so far (None before the first tRGB)."""

    x: Float[Tensor, "batch channels h w"]
    rgb: Float[Tensor, "batch rgb h w"] | None


class Generator(nn.Module):
    """A StyleGAN2 generator. `map` gives w, `styles` the units' values, `synthesize` the images.

    Attributes: `config`; `layers` (a `Layer` each, in order); `compute_dtype`, float32 or float16 (features only; the
    RGB sum, the mapping and the demodulation stay in float32).
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        self.synthesis = Synthesis(config)
        self.compute_dtype = torch.float32
        self.layers: tuple[Layer, ...] = tuple(self._list_layers())
        self._edits: tuple[StyleEdit, ...] = ()

    def _list_layers(self) -> Iterator[Layer]:
        row = 0
        for side in (4 << i for i in range(len(self.config.channels))):
            for part in ("conv0", "conv1", "torgb"):
                module = getattr(self.synthesis.get_submodule(f"b{side}"), part, None)
                if module is None:
                    continue
                kind = {"conv0": "up", "conv1": "conv", "torgb": "torgb"}[part]
                yield Layer(f"b{side}.{part}", kind, side, module.weight.shape[1], row)
                row += part != "torgb"

    @property
    def num_ws(self) -> int:
        """Rows of w that the layers read: one per convolution and one for the last tRGB."""
        return max(layer.w_index for layer in self.layers) + 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mapping.w_avg.device  # type: ignore[return-value]

    @property
    def edited(self) -> bool:
        """Whether edits of `turned` are in force."""
        return bool(self._edits)

    @contextlib.contextmanager
    def with_edits(self, edits: Sequence[StyleEdit]) -> Iterator[None]:
        """Apply edits, after those already in force, to every image synthesised inside the block."""
        kept = self._edits
        self._edits = (*kept, *edits)
        try:
            yield
        finally:
            self._edits = kept

    def layer(self, name: str) -> Layer:
        """The layer of that name, or ValueError listing the names there are."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(
            f"no layer {name!r} in this generator, which has {', '.join(row.name for row in self.layers)}."
        )

    def module(self, name: str) -> StyledConv | ToRGB:
        """The module behind a layer name."""
        return self.synthesis.get_submodule(self.layer(name).name)  # type: ignore[return-value]

    def sample_z(self, seeds: Sequence[int]) -> Float[Tensor, "batch d_z"]:
        """One standard normal vector per seed, drawn on the CPU, so that a seed means the same on every device."""
        if not len(seeds):
            raise ValueError("seeds is empty; give at least one whole number.")
        rows = [torch.randn(self.config.z_dim, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        return torch.stack(rows).to(self.device)

    def map(
        self,
        z: Float[Tensor, "batch d_z"],
        *,
        truncation: float = 1.0,
        class_labels: Sequence[int] | Float[Tensor, "batch classes"] | None = None,
    ) -> Float[Tensor, "batch layers d_w"]:
        """w of every layer: the mapping network, then w_avg.lerp(w, truncation) (the truncation trick)."""
        if z.ndim != 2 or z.shape[1] != self.config.z_dim:
            raise ValueError(f"z must be batch x {self.config.z_dim}, got {tuple(z.shape)}.")
        refuse_nan(z, "z")
        z = z.to(self.device, torch.float32)
        w = self.mapping(z, self._classes(class_labels, len(z)))
        w = w if truncation == 1.0 else torch.lerp(self.mapping.w_avg, w, truncation)  # type: ignore[arg-type]
        return w[:, None].repeat(1, self.num_ws, 1)

    def _classes(self, labels: Sequence[int] | Tensor | None, batch: int) -> Tensor | None:
        if not self.config.c_dim:
            if labels is not None:
                raise ValueError("class_labels were given but this generator is unconditional; leave them out.")
            return None
        if labels is None:
            raise ValueError(f"this generator is conditional; give class_labels (0 to {self.config.c_dim - 1}).")
        rows = torch.as_tensor(labels, device=self.device)
        if rows.ndim == 1 and not rows.is_floating_point():
            if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= self.config.c_dim):
                raise ValueError(f"class_labels must lie in 0 to {self.config.c_dim - 1}, got {rows.tolist()}.")
            rows = nnf.one_hot(rows.long(), self.config.c_dim)
        if rows.shape != (batch, self.config.c_dim):
            raise ValueError(f"class_labels fit {len(rows)} images of {self.config.c_dim} classes, z has {batch} rows.")
        return rows.float()

    def full_w(self, w: Tensor) -> Float[Tensor, "batch layers d_w"]:
        if w.ndim == 2:
            w = w[:, None].expand(-1, self.num_ws, -1)
        if w.ndim != 3 or w.shape[1:] != (self.num_ws, self.config.w_dim):
            wanted = f"batch x {self.num_ws} x {self.config.w_dim} or batch x {self.config.w_dim}"
            raise ValueError(f"w must be {wanted}, got {tuple(w.shape)}.")
        refuse_nan(w, "w")
        return w.to(self.device, torch.float32)

    def styles(self, w: Tensor) -> dict[str, Float[Tensor, "batch channels"]]:
        """The value of every unit: the raw affine outputs, layer by layer. Edits of `turned` are not applied."""
        w = self.full_w(w)
        return {layer.name: self.module(layer.name).affine(w[:, layer.w_index]) for layer in self.layers}

    def synthesize(self, w: Tensor, *, noise: Noise = "const") -> Float[Tensor, "batch rgb h w"]:
        """Images of w (batch x layers x d_w, or batch x d_w for one w everywhere), float32, about [-1, 1]."""
        return self.synthesize_styles(self.styles(w), noise=noise)

    def synthesize_styles(
        self, styles: Mapping[str, Float[Tensor, "batch channels"]], *, noise: Noise = "const"
    ) -> Float[Tensor, "batch rgb h w"]:
        """Images from unit values, such as `styles` gives; edits of `turned` are applied on the way."""
        if noise not in NOISES:
            raise ValueError(f"noise must be one of {', '.join(NOISES)}, got {noise!r}.")
        state = self.start(len(styles[self.layers[0].name]))
        for layer in self.layers:
            state = self._edited_step(layer.name, state, styles[layer.name], noise)
        assert state.rgb is not None
        return state.rgb

    def start(self, batch: int) -> State:
        """The state before the first layer: the learned constant."""
        const: Tensor = self.synthesis.get_submodule("b4").const  # type: ignore[assignment]
        return State(const.to(self.compute_dtype).expand(batch, -1, -1, -1), None)

    def step(
        self,
        name: str,
        state: State,
        style: Float[Tensor, "batch channels"],
        *,
        demodulate: Tensor | None = None,
        noise: Noise = "const",
    ) -> State:
        """One layer: a convolution replaces the features, a tRGB adds to the RGB (upsampled when it is smaller)."""
        module = self.synthesis.get_submodule(name)
        if isinstance(module, ToRGB):
            rgb = module(state.x, style)
            return State(state.x, rgb if state.rgb is None else grown(state.rgb, rgb.shape[-1]) + rgb)
        return State(module(state.x, style, demodulate=demodulate, noise=noise), state.rgb)

    def _edited_step(self, name: str, state: State, style: Tensor, noise: Noise) -> State:
        """One layer with the edits in force: those without a mask first, then each masked one blended in."""
        edits = [edit for edit in self._edits if edit.layer == name]
        everywhere, local = ([edit for edit in edits if (edit.mask is not None) == masked] for masked in (False, True))
        if noise == "random" and local:
            raise ValueError("a masked edit needs fixed noise: use noise='const' or 'none'.")
        plain = style
        for edit in everywhere:
            plain = edit.apply(plain)
        after = self.step(name, state, plain, demodulate=kept(everywhere, plain, style), noise=noise)
        for edit in local:
            turned = edit.apply(plain)
            other = self.step(name, state, turned, demodulate=kept([edit], turned, plain), noise=noise)
            after = blend(after, other, edit.mask)  # type: ignore[arg-type]
        return after


@dataclass(frozen=True)
class StyleEdit:
    """A change of some units of one layer, as `modulate.turned` hands it to a generator."""

    layer: str
    channels: Tensor
    values: Float[Tensor, "rows units"]
    """What to write, multiply by or add: one row per image, or one row for all."""
    how: Literal["set", "scale", "shift"] = "set"
    mask: Float[Tensor, "masks 1 h w"] | None = None
    feature: bool = False

    def apply(self, style: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch channels"]:
        """The style after the edit; the input is left alone."""
        now, values = style[:, self.channels], self.values.to(style)
        for name, given in (("values", self.values), ("a mask", self.mask)):
            if given is not None and len(given) not in (1, len(style)):
                raise ValueError(f"an edit has {name} for {len(given)} images; give 1 or {len(style)}, one per image.")
        changed = {"set": values.expand_as(now), "scale": now * values, "shift": now + values}[self.how]
        style = style.clone()
        style[:, self.channels] = changed
        return style


def kept(edits: Sequence[StyleEdit], style: Tensor, own: Tensor) -> Tensor | None:
    """The style to demodulate with: units of `feature` edits keep their own value; None when it is `style`."""
    found = style
    for edit in edits:
        if edit.feature:
            found = found.clone()
            found[:, edit.channels] = own[:, edit.channels]
    return None if found is style else found


def blend(first: State, second: State, mask: Float[Tensor, "masks 1 h w"]) -> State:
    """`second` where the mask is 1, `first` where it is 0, mixed between; exact at both ends."""

    def mix(a: Tensor, b: Tensor) -> Tensor:
        m = (
            nnf.interpolate(mask.to(a), size=a.shape[-2:], mode="area")
            if mask.shape[-2:] != a.shape[-2:]
            else mask.to(a)
        )
        return torch.where(m >= 1, b, torch.where(m <= 0, a, a + m * (b - a)))

    x = second.x if second.x is first.x else mix(first.x, second.x)
    if first.rgb is None or second.rgb is None or second.rgb is first.rgb:
        return State(x, second.rgb)
    return State(x, mix(first.rgb, second.rgb))


def refuse_nan(values: Tensor, name: str) -> None:
    """ValueError when a tensor holds NaN or infinity."""
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} holds NaN or infinite values; draw it anew or check where it came from.")
