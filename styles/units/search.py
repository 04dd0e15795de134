"""One ranking under way: the gradient probes, the exact ablations, and the file an interrupted search leaves behind."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from styles.files import whole
from styles.generator import Generator, Layer, State
from styles.layers import Noise
from styles.units.ablate import Ablation
from styles.units.ranking import Ranking

Mode = Literal["style", "feature", "mean"]
Screen = Literal["probes", "none"]
LUMA = (0.2126, 0.7152, 0.0722)
WARMTH = (0.5, 0.5, -1.0)
_KEPT = ("sums", "estimate", "done", "screened")
"""What an unfinished ranking leaves behind."""
SAVE_EVERY = 10.0
"""Seconds between two saves of an unfinished ranking."""


class RankingCancelledError(RuntimeError):
    """The caller's `cancel` said stop; `partial` holds what was scored until then (None before the screen was done)."""

    def __init__(self, partial: Ranking | None) -> None:
        super().__init__("the ranking was cancelled.")
        self.partial = partial


@dataclass(frozen=True)
class Rule:
    """How units are zeroed and scored."""

    mode: Mode
    gamma: float
    noise: Noise
    side: int
    masks: tuple[str, ...]


class Search:
    """One ranking under way."""

    def __init__(
        self, model: Generator, styles: dict[str, Tensor], weights: Tensor, layers: tuple[Layer, ...], rule: Rule
    ) -> None:
        self.model, self.styles, self.weights, self.layers, self.rule = model, styles, weights, layers, rule
        self.images, self.count = len(weights), len(rule.masks)
        starts = [0]
        for layer in layers:
            starts.append(starts[-1] + layer.channels)
        self.range = {layer.name: slice(a, b) for layer, a, b in zip(layers, starts, starts[1:], strict=False)}
        self.units = tuple((layer.name, channel) for layer in layers for channel in range(layer.channels))
        self.sums = torch.zeros(len(self.units), self.images, 3 * self.count + 2)
        self.estimate = torch.zeros_like(self.sums)
        self.done = torch.zeros(len(self.units), self.images, dtype=torch.bool)
        self.screened = torch.zeros(self.images, dtype=torch.bool)
        self.wanted = torch.ones(len(self.units), dtype=torch.bool)
        self.goal = self.target_styles()
        self.hooks(None, None, None, ())

    def hooks(
        self,
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
        resume: Path | None,
        options: tuple[object, ...],
    ) -> None:
        """Where to report, whom to ask, and the file to go on from."""
        self.progress, self.cancel, self.file = progress, cancel, resume
        self.saved = time.monotonic()
        if resume is not None:
            self.key = self._fingerprint(options)
            self._load()

    def target_styles(self) -> dict[str, Float[Tensor, "images channels"]]:
        """What every unit is set to: 0, or its mean (the affine layer of the mean w)."""
        if self.rule.mode != "mean":
            return {layer.name: torch.zeros_like(self.styles[layer.name]) for layer in self.layers}
        mean = self.model.styles(self.model.mapping.w_avg[None])  # type: ignore[index]
        return {layer.name: mean[layer.name].expand(self.images, -1) for layer in self.layers}

    def run(self, screen: Screen, probes: int, confirm: int, seed: int) -> Ranking:
        """Screen, choose, ablate."""
        if screen == "probes":
            for image in (~self.screened).nonzero()[:, 0].tolist():
                self._pause()
                self.estimate[:, image] = self.screen(image, probes, seed)
                self.screened[image] = True
            self.wanted = self.choose(confirm)
        for image in range(self.images):
            self.confirm(image)
        self.calibrate()
        if self.file is not None:
            self.file.unlink(missing_ok=True)
        return self.ranking(screen)

    def ranking(self, screen: Screen) -> Ranking:
        """The result as far as it is known."""
        areas = self.weights.sum((2, 3)).cpu()
        rule = self.rule
        exact = self.done.all(1)
        sums = torch.where(self.done[:, :, None], self.sums, self.estimate)
        return Ranking(self.units, rule.masks, sums, areas, exact, rule.mode, rule.gamma, screen, rule.side)

    def screen(self, image: int, probes: int, seed: int) -> Float[Tensor, "units columns"]:
        """First-order estimates of all columns for one image (Hutchinson's random signs).

        E_r[(δ ∂(Σ M r I)/∂s)²] = Σ M² (δ ∂I/∂s)², one backward pass per sign pattern and mask; Cauchy-Schwarz turns the
        sum of squares into an upper estimate of Σ M D. The signed columns are plain first-order changes.
        """
        leaves = {la.name: self.styles[la.name][image : image + 1].clone().requires_grad_() for la in self.layers}
        with torch.enable_grad():
            rgb = self._forward(leaves, image)
            signs = self._signs(probes, rgb, seed + image)
            columns = [self._spread(rgb, weight, signs, leaves, image) for weight in self.weights[image]]
            for tint in (LUMA, WARMTH):
                linear = torch.einsum("bchw,c->bhw", rgb, rgb.new_tensor(tint[: rgb.shape[1]]))[0]
                columns += [self._slope((linear * m).sum(), leaves, image) for m in self.weights[image, : self.count]]
        return torch.stack(columns, 1).cpu()

    def _forward(self, leaves: Mapping[str, Tensor], image: int) -> Tensor:
        """The image at the scoring resolution as a function of the leaves."""
        state = State(self.model.start(1).x, None)
        for layer in self.model.layers:
            if layer.resolution > self.rule.side:
                break
            style = leaves.get(layer.name, self.styles[layer.name][image : image + 1])
            held = style.detach() if self.rule.mode == "feature" else None
            state = self.model.step(layer.name, state, style, demodulate=held, noise=self.rule.noise)
        assert state.rgb is not None
        return state.rgb

    def _signs(self, probes: int, like: Tensor, seed: int) -> Tensor:
        drawn = torch.randint(0, 2, (probes, *like.shape[1:]), generator=torch.Generator().manual_seed(seed))
        return (drawn * 2 - 1).to(like)

    def _spread(
        self, rgb: Tensor, weight: Tensor, signs: Tensor, leaves: dict[str, Tensor], image: int
    ) -> Float[Tensor, " units"]:
        """Estimate of Σ M D for one mask."""
        total = torch.zeros(len(self.units), device=rgb.device)
        if not bool((weight > 0).any()):
            return total
        for sign in signs:
            total += self._slope((rgb[0] * sign * weight).sum(), leaves, image).square()
        return (total / len(signs) / rgb.shape[1] * (weight > 0).sum()).sqrt()

    def _slope(self, value: Tensor, leaves: dict[str, Tensor], image: int) -> Float[Tensor, " units"]:
        """First-order change of a scalar when each unit goes to its target."""
        slopes = torch.autograd.grad(value, list(leaves.values()), retain_graph=True)
        pairs = zip(leaves.items(), slopes, strict=True)
        return torch.cat([((self.goal[name][image] - leaf[0]) * slope[0]).detach() for (name, leaf), slope in pairs])

    def choose(self, confirm: int) -> Bool[Tensor, " units"]:
        """The units to ablate: the first ones for each mask, and every tRGB unit."""
        wanted = torch.zeros(len(self.units), dtype=torch.bool)
        for layer in self.layers:
            if layer.kind == "torgb":
                wanted[self.range[layer.name]] = True
        convs = (~wanted).nonzero()[:, 0]
        areas = self.weights.sum((2, 3)).cpu()
        rule = self.rule
        ranking = Ranking(self.units, rule.masks, self.estimate, areas, wanted, rule.mode, rule.gamma)
        for name in self.rule.masks:
            best = ranking.score(name).mean(1)[convs].argsort(descending=True, stable=True)[:confirm]
            wanted[convs[best]] = True
        return wanted

    def confirm(self, image: int) -> None:
        """Ablate the wanted units of one image."""
        if bool(self.done[self.wanted, image].all()):
            return
        styles = {name: value[image : image + 1] for name, value in self.styles.items()}
        ablation = Ablation(self.model, styles, noise=self.rule.noise, stop=self.rule.side)
        for layer in self.layers:
            span = self.range[layer.name]
            open_ = self.wanted[span] & ~self.done[span, image]
            channels = open_.nonzero()[:, 0].to(self.model.device)
            if not len(channels):
                continue
            values = self.goal[layer.name][image, channels]
            parts = self._rgb(ablation, layer, channels, values, image)
            if parts is None:
                parts = self._convolution(ablation, layer, channels, values, image)
            for part, sums in parts:
                rows = span.start + channels[part].cpu()
                self.sums[rows, image], self.done[rows, image] = sums.cpu(), True
                self._pause()

    def _convolution(
        self, ablation: Ablation, layer: Layer, channels: Tensor, values: Tensor, image: int
    ) -> Iterable[tuple[slice, Tensor]]:
        feature = self.rule.mode == "feature"
        for change in ablation.changes(layer.name, channels, values, feature=feature):
            yield change.part, columns_of(change.image - ablation.image, self.weights[image])

    def _rgb(
        self, ablation: Ablation, layer: Layer, channels: Tensor, values: Tensor, image: int
    ) -> Iterable[tuple[slice, Tensor]] | None:
        """The columns of tRGB units in closed form; None for other layers and where a clamp could act."""
        if layer.kind != "torgb" or ablation.clamped(layer.name, channels, values):
            return None
        weights = self.weights[image].flatten(1)
        count = self.count

        def parts() -> Iterable[tuple[slice, Tensor]]:
            for change in ablation.rgb_changes(layer.name, channels, values):
                flat = change.map.flatten(1)
                size = change.colour.abs().mean(1, keepdim=True) * (flat.abs() @ weights.T)
                signed = flat @ weights[:count].T
                tints = [change.colour @ change.colour.new_tensor(t[: change.colour.shape[1]]) for t in (LUMA, WARMTH)]
                yield change.part, torch.cat([size, *(signed * tint[:, None] for tint in tints)], 1)

        return parts()

    def calibrate(self) -> None:
        """Scale the estimates so that they agree in the median with the exact sums, column by column."""
        known = self.done.all(1) & torch.tensor([not name.endswith("torgb") for name, _ in self.units])
        for column in range(self.count + 2):
            guess, truth = self.estimate[known, :, column].sum(1), self.sums[known, :, column].sum(1)
            ratio = truth[guess > 0] / guess[guess > 0]
            factor = float(ratio.median()) if len(ratio) else 1.0
            self.estimate[..., column] *= factor if math.isfinite(factor) else 1.0

    def _pause(self) -> None:
        """Between two pieces of work: report, save now and then, stop when asked."""
        if self.progress is not None:
            self.progress(int(self.done.sum()), int(self.wanted.sum()) * self.images)
        stopped = self.cancel is not None and self.cancel()
        if self.file is not None and (stopped or time.monotonic() - self.saved > SAVE_EVERY):
            self._save(self.file)
        if stopped:
            raise RankingCancelledError(self.ranking("probes") if bool(self.screened.all()) else None)

    def _fingerprint(self, options: tuple[object, ...]) -> str:
        """Hash of everything the sums depend on."""
        digest = hashlib.sha256(repr((self.rule, options, self.units[-1], len(self.units))).encode())
        tensors = [*self.model.state_dict().values(), *self.styles.values(), self.weights]
        for value in tensors:
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _save(self, file: Path) -> None:
        tensors = {name: getattr(self, name) for name in _KEPT}
        with whole(file) as part:
            save_file(tensors, part, metadata={"job": json.dumps(self.key)})
        self.saved = time.monotonic()

    def _load(self) -> None:
        if self.file is None or not self.file.exists():
            return
        try:
            with safe_open(self.file, "pt") as stored:
                if (stored.metadata() or {}).get("job") != json.dumps(self.key):
                    raise ValueError(f"{self.file.name} belongs to another ranking; delete it or name another file.")
                for name in _KEPT:
                    setattr(self, name, self._kept(stored, name))
        except SafetensorError as error:
            raise ValueError(f"{self.file.name} is no unfinished ranking ({str(error)[:80]}).") from None

    def _kept(self, stored: Any, name: str) -> Tensor:
        """A tensor of the file, which must be as the one it takes the place of; looked at before it is read."""
        mine, theirs = getattr(self, name), stored.get_slice(name)
        if tuple(theirs.get_shape()) == tuple(mine.shape):
            found = stored.get_tensor(name)
            if found.dtype == mine.dtype and bool(found.isfinite().all()):
                return found
        raise ValueError(f"{self.file} is damaged: {name} is not what this ranking keeps; delete it.")


def columns_of(
    change: Float[Tensor, "units rgb h w"], weights: Float[Tensor, "weights h w"]
) -> Float[Tensor, "units columns"]:
    """The raw sums of image changes: Σ M D for all weights, then Σ M Δluma and Σ M Δwarmth for the masks."""
    flat = weights.flatten(1)
    columns = [change.abs().mean(1).flatten(1) @ flat.T]
    for tint in (LUMA, WARMTH):
        linear = torch.einsum("uchw,c->uhw", change, change.new_tensor(tint[: change.shape[1]]))
        columns.append(linear.flatten(1) @ flat[:-2].T)
    return torch.cat(columns, 1)
