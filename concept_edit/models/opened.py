"""An opened model: its text side in memory, the rest of the pipeline loaded when an image is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from concept_edit.models.contract import Encoded, Site
from concept_edit.models.encode import OpenTower, encode
from concept_edit.models.families import Family, readers_of
from concept_edit.models.fingerprint import fingerprint
from concept_edit.models.matrices import Matrices
from concept_edit.models.paint import check_options, paint, pairs_of
from concept_edit.models.route import OpenRoute

if TYPE_CHECKING:
    from PIL.Image import Image


_PLAIN = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class Origin:
    """The file or diffusers folder a model was read from, so that a checkpoint can be patched."""

    path: Path
    names: Mapping[str, str]
    """Site name -> name of its tensor on disk."""


class OpenedModel:
    """Implements `Model`. Made by `open_model`.

    The text-side matrices either lie in a file (`matrices`) and are handed to the pipeline when it is loaded, or belong
    to a live pipeline from the start. Either way `weights` gives the tensors that `generate` paints with.
    """

    def __init__(
        self,
        name: str,
        family: Family,
        towers: Sequence[OpenTower],
        *,
        matrices: Matrices | None = None,
        load: Callable[[], Any] | None = None,
        pipeline: Any = None,
        defaults: Mapping[str, Any] | None = None,
        origin: Origin | None = None,
        layers: int = 2,
        route: OpenRoute | None = None,
        channels: tuple[int, int] | None = None,
    ) -> None:
        self.name = name
        self.channels = channels
        """Channels the denoiser takes and gives, where known. One that takes more paints over a picture."""
        self.route = route
        """What is asked for rows, in families that have a `Route`."""
        self.origin = origin
        """Where the weights came from; None for a live pipeline."""
        self.layers = layers
        """Residual blocks a level of its UNet has; the original layouts count by it."""
        self.family = family
        self.towers = tuple(towers)
        self._matrices = matrices
        self._load = load
        self._pipeline = pipeline
        self._defaults = dict(defaults or {})
        self.shapes = self._shapes()
        """Name -> shape of the denoiser's text-side matrices."""
        _check_plain(self)
        self.sites = _sites(self)
        self.streams = _streams(self.sites, self.shapes)
        _check_widths(self)
        _check_finite(self)

    @cached_property
    def fingerprint(self) -> str:
        """Hex hash of the text encoders' weights and tokenizers."""
        asked = "" if self.route is None else repr(self.route.template)
        return fingerprint(self.towers, asked)

    @property
    def loaded(self) -> bool:
        """Whether the whole pipeline is in memory."""
        return self._pipeline is not None

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline; loaded on first use, painting with the very tensors of `weights`."""
        if self._pipeline is None:
            assert self._load is not None
            assert self._matrices is not None
            pipeline = self._load()
            _adopt(getattr(pipeline, self.family.denoiser), self._matrices.hold())
            self._pipeline = pipeline
        return self._pipeline

    def encode(self, prompts: Sequence[str], *, batch_size: int = 32, brief: bool = False) -> dict[str, Encoded]:
        """Encode `prompts` into every stream, `batch_size` at a time. `brief`: CLIP's without needless pads."""
        listed = [prompts] if isinstance(prompts, str) else list(prompts)
        if self.route is not None and listed and batch_size > 0:
            return self.route.encode(listed, batch_size)
        return encode(self.towers, listed, self.streams, batch_size, brief)

    def weights(self) -> dict[str, Tensor]:
        """Site name -> the live tensor, in the model's dtype and on its device; all are in memory from now on."""
        named = self._live() or (self._matrices.hold() if self._matrices else {})
        return {site.name: named[site.name] for site in self.sites}

    def matrix(self, name: str) -> Tensor:
        """One of `weights` to read, without bringing the others into memory."""
        if self._matrices is None or self._pipeline is not None:
            return self._live()[name]
        return self._matrices.look(name)

    def stored(self, name: str) -> Tensor:
        """The same in the precision of the file it lies in."""
        return self._live()[name] if self._matrices is None else self._matrices.stored(name)

    @property
    def reads_briefly(self) -> bool:
        """Whether a short prompt takes its text encoders little time, however long the pipelines pad it: CLIP's do."""
        return self.route is None and all(tower.spec.kind != "t5" for tower in self.towers)

    @property
    def arithmetic(self) -> str:
        """What the last bits of rows depend on: device and precision the text encoders are read in."""
        return ", ".join(dict.fromkeys(tower.arithmetic for tower in self.towers))

    def generate(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int],
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        batch_size: int = 8,
        progress: Callable[[int, int], None] | None = None,
        size: int | None = None,
    ) -> list[Image]:
        """One image per prompt and seed; a single prompt or seed is repeated. Each image has
        a CPU generator of its own, so it depends on its batch by rounding only.

        `progress(done, total)` is called after each batch; `size` is the side in pixels (None: the model's own).
        Steps and guidance left out are the model's own (`generation.json` in its folder), else the pipeline's.
        """
        check_options(steps, guidance_scale)
        self._refuse_words_alone()
        if guidance_scale is not None and "guidance_scale" not in signature(type(self.pipeline).__call__).parameters:
            raise ValueError(f"{self.family.title} takes no guidance scale; leave it out.")
        options = {"num_inference_steps": steps, "guidance_scale": guidance_scale, "height": size, "width": size}
        picture = {} if self.route is None else self.route.picture
        return paint(
            self.pipeline,
            pairs_of(prompts, seeds),
            negative_prompt=self._negative(negative_prompt),
            batch_size=1 if picture else batch_size,
            progress=progress,
            options={**self.family.plainly, **picture, **self._defaults}
            | {key: value for key, value in options.items() if value is not None},
        )

    def _refuse_words_alone(self) -> None:
        if self.channels is None or self.channels[0] <= self.channels[1]:
            return
        taken, given = self.channels
        raise ValueError(
            f"{self.name} paints only with a picture and a mask: its {self.family.denoiser} takes {taken} channels and "
            f"gives {given}, so words alone are not enough. The edit can be applied to it all the same: export it, or "
            "paint with model.pipeline inside edit.applied(model)."
        )

    def _negative(self, prompt: str | None) -> str | None:
        if prompt and not self.family.negative_prompt:
            raise ValueError(f"{self.family.title} takes no negative prompt; leave it out.")
        return prompt

    def _live(self) -> dict[str, Tensor]:
        """The pipeline's own matrices; nothing before it is loaded."""
        return {} if self._pipeline is None else _text_side(self.family, getattr(self._pipeline, self.family.denoiser))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if self._matrices is not None:
            return self._matrices.shapes
        return {name: tuple(weight.shape) for name, weight in self._live().items()}


def _text_side(family: Family, denoiser: torch.nn.Module) -> dict[str, Tensor]:
    """The live matrices that read text; a loaded PEFT adapter hides them behind `.base_layer`."""
    named = {name.replace(".base_layer.", "."): value.detach() for name, value in denoiser.named_parameters()}
    return {name: named[name] for name in readers_of(family, named)}


def _adopt(denoiser: torch.nn.Module, matrices: Mapping[str, Tensor]) -> None:
    named = dict(denoiser.named_parameters())
    for name, tensor in matrices.items():
        named[name].data = tensor


def _sites(model: OpenedModel) -> tuple[Site, ...]:
    found = readers_of(model.family, model.shapes)
    missing = {reader.role for reader in model.family.readers} - {reader.role for reader in found.values()}
    if missing:
        raise ValueError(
            f"{model.name} has no text-side matrices of role {', '.join(sorted(missing))}; "
            f"a {model.family.title} denoiser has them: is the file complete?"
        )
    pooled = _given(model).get("pooled") if any(reader.leading for reader in found.values()) else None
    return tuple(Site(n, r.stream, r.role, pooled if r.leading else None) for n, r in found.items())


def _streams(sites: Sequence[Site], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    widths = {site.stream: site.columns or shapes[site.name][1] for site in sites}
    first = [name for name in ("text", "pooled") if name in widths]
    return {name: widths[name] for name in dict.fromkeys([*first, *widths])}


def _check_widths(model: OpenedModel) -> None:
    """The encoders and the matrices must fit each other: a foreign text encoder is named here."""
    for site in model.sites:
        width = model.shapes[site.name][1]
        if (site.columns is None and width != model.streams[site.stream]) or width < (site.columns or 0):
            raise ValueError(f"{site.name} of {model.name} reads {width} columns, its stream has another width.")
    given = _given(model)
    for stream, width in model.streams.items():
        if given.get(stream, width) != width:
            raise ValueError(
                f"The text encoder of {model.name} gives {given[stream]} numbers a {stream} row, "
                f"its {model.family.denoiser} reads {width}: they do not belong together; "
                "give it the text encoder that it was trained with."
            )


def _given(model: OpenedModel) -> dict[str, int]:
    """Width of the rows that each stream is given; none of text where CLIP's are padded to a width no tower sets."""
    if model.route is not None:
        return model.route.widths()
    pooled = {"pooled": sum(tower.pooled_width for tower in model.towers)}
    feeding = [tower for tower in model.towers if tower.spec.hidden is not None]
    t5 = [tower for tower in feeding if tower.spec.kind == "t5"]
    if any(tower.optional for tower in model.family.towers) and not t5:
        return pooled
    return pooled | {"text": sum(tower.token_width for tower in (t5 or feeding))}


def _check_plain(model: OpenedModel) -> None:
    """What is in memory must be numbers: before widths are compared, since quantised matrices have other shapes."""
    encoders = ((t.spec.encoder, name, w) for t in model.towers if not t.asleep for name, w in t.tensors())
    matrices = ((model.family.denoiser, name, w) for name, w in model._live().items())
    for part, name, weight in chain(encoders, matrices):
        if weight.is_meta or weight.dtype not in _PLAIN:
            raise ValueError(
                f"{part}.{name} of {model.name} is {'not in memory' if weight.is_meta else weight.dtype}; the editor "
                "needs plain float weights: open the model without offloading or quantisation, in float32, float16 or "
                "bfloat16."
            )


def _check_finite(model: OpenedModel) -> None:
    encoders = ((t.spec.encoder, name, w) for t in model.towers for name, w in t.tensors())
    matrices = ((model.family.denoiser, site.name, model.stored(site.name)) for site in model.sites)
    for part, name, weight in chain(encoders, matrices):
        plain = weight.detach() if weight.dtype in _PLAIN else weight.detach().float()
        if plain.numel() and not all(map(math.isfinite, map(float, plain.aminmax()))):
            raise ValueError(f"{part}.{name} of {model.name} holds NaN or infinite numbers: the file is damaged.")
