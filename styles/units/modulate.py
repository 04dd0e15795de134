"""Turn units: set, shift or scale them, inside a mask or everywhere, along a sweep, or from a small file.

Also the light layer of a turned lamp: `L = max(0, lit - off)`, recoloured and dimmed in linear light.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from styles.files import whole
from styles.generator import Generator, StyleEdit, refuse_nan
from styles.layers import Noise
from styles.units.natural import affine_rows, moments

Unit = tuple[str, int]
Value = float | Sequence[float] | Tensor
How = Literal["set", "shift", "scale", "sigma"]
HOWS: tuple[str, ...] = ("set", "shift", "scale", "sigma")
EDIT_FORMAT = "styles.unit-edit/1"
Image = Float[Tensor, "batch rgb h w"]


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of every unit over random latents, per layer."""

    mean: dict[str, Float[Tensor, " channels"]]
    sigma: dict[str, Float[Tensor, " channels"]]
    samples: int

    def range(self, unit: Unit, *, sigmas: float = 6.0) -> tuple[float, float]:
        """mean ± sigmas · σ of a unit, the ends of a slider."""
        mean, sigma = float(self.mean[unit[0]][unit[1]]), float(self.sigma[unit[0]][unit[1]])
        return mean - sigmas * sigma, mean + sigmas * sigma


@torch.no_grad()
def style_statistics(
    model: Generator, *, samples: int = 10_000, truncation: float = 1.0, seed: int = 0, batch: int = 1000
) -> Statistics:
    """Stream latents through the mapping network and describe every unit.

    A unit is an affine function of w, s = a·w + b, so that mean and covariance of w are all that has to be kept: the
    mean is a·mean + b and the variance aᵀ C a. Classes of a conditional model are drawn evenly.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}.")
    mean, covariance = moments(model, samples, truncation=truncation, seed=seed, batch=batch)
    means = model.styles(mean[None].float())
    sigma = {name: _sigma(model, name, covariance) for name in means}
    return Statistics({name: value[0].cpu() for name, value in means.items()}, sigma, samples)


def _sigma(model: Generator, name: str, covariance: Tensor) -> Tensor:
    rows = affine_rows(model, name)
    return torch.einsum("ci,ij,cj->c", rows, covariance, rows).clamp_min(0).sqrt().float()


@contextlib.contextmanager
def turned(
    model: Generator,
    units: Mapping[Unit, Value],
    *,
    how: How = "set",
    mask: Tensor | None = None,
    mode: Literal["style", "feature"] = "style",
    statistics: Statistics | None = None,
) -> Iterator[Generator]:
    """Turn some units while the block runs, and undo it afterwards, also when the block raises.

    `units` maps (layer, channel) to a number, or to one number per image. `how`: "set" the style to it, "shift" by it,
    "scale" by it, or shift by that many "sigma" (`statistics` from `style_statistics`). With a `mask` (h x w or batch x
    h x w, in [0, 1]) the layers' outputs change inside the mask only. `mode="feature"` keeps the demodulation. Blocks
    can be nested; several units at once are one block. ValueError for unknown units, NaN, or a mask that does not fit.
    """
    with model.with_edits(edits_of(model, units, how=how, mask=mask, mode=mode, statistics=statistics)):
        yield model


def edits_of(
    model: Generator,
    units: Mapping[Unit, Value],
    *,
    how: How = "set",
    mask: Tensor | None = None,
    mode: Literal["style", "feature"] = "style",
    statistics: Statistics | None = None,
) -> list[StyleEdit]:
    """Checked edits, one per layer, in the order of the layers."""
    if how not in HOWS or mode not in ("style", "feature"):
        raise ValueError(f"how is one of {HOWS} and mode 'style' or 'feature', got {how!r} and {mode!r}.")
    if how == "sigma" and statistics is None:
        raise ValueError("turning by sigma needs `statistics`; make them with style_statistics(model).")
    region = None if mask is None else region_of(mask, model)
    by_layer: dict[str, dict[int, Tensor]] = {}
    for unit, value in units.items():
        name, channel = check_unit(model, unit)
        by_layer.setdefault(name, {})[channel] = _values(unit, value) * _step(unit, how, statistics)
    plain: Literal["set", "scale", "shift"] = "shift" if how == "sigma" else how
    return [
        StyleEdit(
            layer.name,
            torch.tensor(list(by_layer[layer.name]), device=model.device),
            _stacked(list(by_layer[layer.name].values())).to(model.device),
            plain,
            region,
            mode == "feature",
        )
        for layer in model.layers
        if layer.name in by_layer
    ]


def check_unit(model: Generator, unit: Unit) -> Unit:
    """The unit, if the generator has it."""
    if not isinstance(unit, tuple) or len(unit) != 2 or not isinstance(unit[0], str):
        raise ValueError(f"a unit is (layer, channel) such as ('b32.conv1', 12), got {unit!r}.")
    layer, channel = model.layer(unit[0]), unit[1]
    if isinstance(channel, bool) or not isinstance(channel, int) or not 0 <= channel < layer.channels:
        raise ValueError(f"layer {layer.name} has channels 0 to {layer.channels - 1}, got {channel!r}.")
    return layer.name, channel


def _values(unit: Unit, value: Value) -> Float[Tensor, " batch"]:
    values = torch.as_tensor(value, dtype=torch.float32).detach().cpu().reshape(-1)
    if not len(values):
        raise ValueError(f"no value for unit {unit}.")
    refuse_nan(values, f"the value of unit {unit}")
    return values


def _step(unit: Unit, how: How, statistics: Statistics | None) -> float:
    return float(statistics.sigma[unit[0]][unit[1]]) if how == "sigma" and statistics is not None else 1.0


def _stacked(rows: list[Tensor]) -> Float[Tensor, "batch units"]:
    """Values of several units side by side; single numbers are repeated for all images."""
    batch = max(len(row) for row in rows)
    if any(len(row) not in (1, batch) for row in rows):
        raise ValueError(f"units have values for different numbers of images: {sorted({len(row) for row in rows})}.")
    return torch.stack([row.expand(batch) for row in rows], 1)


def region_of(mask: Tensor, model: Generator) -> Float[Tensor, "batch 1 h w"]:
    """A checked mask on the generator's device."""
    values = torch.as_tensor(mask).detach().float()
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3:
        raise ValueError(f"a mask is h x w or batch x h x w, got {tuple(mask.shape)}.")
    refuse_nan(values, "the mask")
    if float(values.min()) < 0 or float(values.max()) > 1 or float(values.max()) == 0:
        raise ValueError("a mask holds numbers from 0 to 1 and must not be empty.")
    return values[:, None].to(model.device)


@torch.no_grad()
def sweep(
    model: Generator,
    w: Tensor,
    units: Mapping[Unit, float] | Sequence[Unit],
    values: Sequence[float],
    *,
    how: How = "sigma",
    mask: Tensor | None = None,
    statistics: Statistics | None = None,
    noise: Noise = "const",
) -> list[Image]:
    """Images along a line of values, one batch per value.

    `units` may weigh each unit (its value is weight · step). The default turns by ±σ about the unit's own value:
    `sweep(G, w, [unit], [-6, ..., 6], statistics=stats)`; step 0 is the image itself, bit for bit.
    """
    if not len(values):
        raise ValueError("values is empty; give at least one step.")
    weighted = dict(units) if isinstance(units, Mapping) else dict.fromkeys(units, 1.0)
    frames = []
    for value in values:
        edit = {unit: weight * float(value) for unit, weight in weighted.items()}
        with turned(model, edit, how=how, mask=mask, statistics=statistics):
            frames.append(model.synthesize(w, noise=noise))
    return frames


def mixed(model: Generator, w: Tensor, other: Tensor, layers: Sequence[str]) -> Float[Tensor, "batch layers d_w"]:
    """Style mixing: `w` with the rows of `other` at some layers ("b32.conv1") or blocks ("b32").

    Rows are what layers read: a tRGB shares its row with the next block's first convolution.
    """
    first, second = model.full_w(w).clone(), model.full_w(other)
    if len(second) not in (1, len(first)):
        raise ValueError(f"w has {len(first)} images and the other one {len(second)}; give 1 or {len(first)}.")
    rows = {la.w_index for la in model.layers for name in layers if name in (la.name, la.name.split(".")[0])}
    for name in layers:
        if not any(name in (la.name, la.name.split(".")[0]) for la in model.layers):
            raise ValueError(f"no layer or block {name!r}; there are {', '.join(la.name for la in model.layers)}.")
    for row in rows:
        first[:, row] = second[:, row]
    return first


def to_linear(images: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Display values in [-1, 1] to linear light in [0, 1] (sRGB, IEC 61966-2-1)."""
    v = ((images + 1) / 2).clamp(0, 1)
    return torch.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def to_display(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Linear light in [0, 1] to display values in [-1, 1] (sRGB)."""
    v = linear.clamp(0, 1)
    return torch.where(v <= 0.0031308, v * 12.92, 1.055 * v.clamp_min(1e-8) ** (1 / 2.4) - 0.055) * 2 - 1


def light_layer(off: Image, lit: Image) -> Image:
    """What a lamp adds, in linear light: max(0, lit - off)."""
    if off.shape != lit.shape:
        raise ValueError(f"the two images differ in shape: {tuple(off.shape)} and {tuple(lit.shape)}.")
    return (to_linear(lit) - to_linear(off)).clamp_min(0)


def relit(
    off: Image, light: Image, *, intensity: float = 1.0, colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Image:
    """The unlit image with a light layer of another intensity and colour, mixed in linear light."""
    if not math.isfinite(intensity) or intensity < 0 or any(not math.isfinite(c) or c < 0 for c in colour):
        raise ValueError(f"intensity and colour must be numbers from 0 upward, got {intensity} and {colour}.")
    tint = off.new_tensor(colour)[:, None, None]
    return to_display(to_linear(off) + intensity * tint * light)


@dataclass(frozen=True)
class UnitEdit:
    """A change of some units that is kept in a small JSON file and applied to any latent."""

    units: tuple[tuple[str, int, float], ...]
    """(layer, channel, value)"""
    how: How = "set"
    mode: Literal["style", "feature"] = "style"
    note: str = ""
    measured: tuple[tuple[str, float], ...] = ()
    """(name, number): what the edit was measured to do where it was made."""

    def shifts(self, model: Generator) -> dict[str, Float[Tensor, " channels"]]:
        """What the edit adds to every unit, layer by layer; ValueError for an edit that does something else."""
        if self.how != "shift":
            raise ValueError(
                f"only an edit that shifts units can be taken for a direction; this one does {self.how!r}."
            )
        found = {layer.name: torch.zeros(layer.channels) for layer in model.layers}
        for name, channel, value in self.units:
            layer, at = check_unit(model, (name, channel))
            found[layer][at] += value
        return found

    @contextlib.contextmanager
    def applied(
        self,
        model: Generator,
        *,
        strength: float | Sequence[float] | Tensor = 1.0,
        mask: Tensor | None = None,
        statistics: Statistics | None = None,
    ) -> Iterator[Generator]:
        """`turned` with the stored values; `strength` (one, or one per image) multiplies shift and sigma edits."""
        factor = torch.as_tensor(strength, dtype=torch.float64).detach().cpu().reshape(-1)
        if self.how not in ("shift", "sigma") and bool((factor != 1).any()):
            raise ValueError(f"strength needs an edit that shifts units; this one does {self.how!r}.")
        values: dict[Unit, Value] = {(layer, channel): value * factor for layer, channel, value in self.units}
        if self.how == "sigma" and statistics is None:
            statistics = style_statistics(model)
        with turned(model, values, how=self.how, mask=mask, mode=self.mode, statistics=statistics):
            yield model

    def save(self, path: str | Path) -> None:
        """Write the JSON file."""
        rows = [{"layer": layer, "channel": channel, "value": value} for layer, channel, value in self.units]
        content: dict[str, object] = {"format": EDIT_FORMAT, "how": self.how, "mode": self.mode, "note": self.note}
        if self.measured:
            content["measured"] = dict(self.measured)
        content["units"] = rows
        target = Path(path)
        with whole(target) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> UnitEdit:
        """Read the JSON file; ValueError when it is something else."""
        from styles.units.edit_file import read_unit_edit

        return cls._of(read_unit_edit(path).model_dump())

    @classmethod
    def _of(cls, content: Any) -> UnitEdit:
        if (
            content["format"] != EDIT_FORMAT
            or content["how"] not in HOWS
            or content["mode"] not in ("style", "feature")
        ):
            raise ValueError(f"expected a file of format {EDIT_FORMAT!r}, got {str(content['format'])[:40]!r}.")
        rows = tuple((str(row["layer"]), int(row["channel"]), float(row["value"])) for row in content["units"])
        if not rows or not all(math.isfinite(value) for _, _, value in rows):
            raise ValueError("the unit edit holds no units, or values that are no numbers.")
        told = tuple((str(name), float(value)) for name, value in dict(content.get("measured", {})).items())
        return cls(rows, content["how"], content["mode"], str(content.get("note", "")), told)
