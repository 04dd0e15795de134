"""A diffusers folder: text encoders, tokenizers and text-side matrices now, the rest when an image is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from concept_edit.models.encode import OpenTower
from concept_edit.models.families import Family, Tower, family_of, readers_of
from concept_edit.models.files.asked import open_asked
from concept_edit.models.files.text_weights import StoredText, build
from concept_edit.models.files.weights_files import Weights, part, variant_of
from concept_edit.models.matrices import Matrices
from concept_edit.models.opened import OpenedModel, Origin
from concept_edit.models.placement import Placement
from concept_edit.models.quiet import quiet

_ENCODERS = {"clip": "CLIPTextModel", "clip_projection": "CLIPTextModelWithProjection", "t5": "T5EncoderModel"}
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components left out: a filter that blackens images would spoil every measurement of an edit."""


def open_folder(folder: Path, place: Placement, *, name: str) -> OpenedModel:
    """Open a diffusers folder, reading only what a solve needs."""
    index = read_json(folder / "model_index.json")
    denoiser_folder = folder / ("unet" if "unet" in index else "transformer")
    config = read_json(denoiser_folder / "config.json")
    family = family_of(str(index.get("_class_name")), config)
    if family.route is not None:
        return open_asked(folder, family, config, place, name=name, defaults=generation_in(folder))
    weights = part(denoiser_folder)
    names = list(readers_of(family, weights.where))
    stored = weights.dtype(names[0]) if names else torch.float32
    dtype = place.precision(stored)
    matrices = Matrices(weights, {key: key for key in names}, place.device, dtype)
    towers = [tower_in(folder, spec, place, dtype) for spec in family.towers if _present(folder, spec, index, family)]
    return OpenedModel(
        name,
        family,
        towers,
        matrices=matrices,
        load=lambda: _pipeline(folder, family, towers, index, place, dtype),
        defaults=generation_in(folder),
        origin=Origin(folder, matrices.names),
        layers=layers_of(config),
        channels=channels_of(config),
    )


def generation_in(folder: Path) -> dict[str, Any]:
    """Steps and guidance the model's makers chose, when the folder says so."""
    path = folder / "generation.json"
    chosen = read_json(path) if path.is_file() else {}
    return {name: chosen[name] for name in ("num_inference_steps", "guidance_scale") if name in chosen}


def layers_of(config: Mapping[str, Any]) -> int:
    """Residual blocks a level of a UNet has, from its configuration."""
    layers = config.get("layers_per_block", 2)
    return layers if isinstance(layers, int) else 2


def channels_of(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Channels a denoiser takes and gives, from its configuration; None where that does not say both."""
    taken, given = config.get("in_channels"), config.get("out_channels")
    return (taken, given) if isinstance(taken, int) and isinstance(given, int) else None


def painter(family: Family, channels: tuple[int, int] | None) -> str:
    """The diffusers class that paints with a denoiser of so many channels."""
    if channels is None or channels[0] <= channels[1]:
        return family.pipeline
    filling = {"flux": "FluxFillPipeline"}
    return filling.get(family.name, family.pipeline.removesuffix("Pipeline") + "InpaintPipeline")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; a diffusers folder has it: is this one complete?")
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; fetch it again.")
    return content


def _present(folder: Path, spec: Tower, index: dict[str, Any], family: Family) -> bool:
    listed = (index.get(spec.encoder) or [None])[0] is not None
    if not listed and not spec.optional:
        raise ValueError(f"{folder} has no {spec.encoder}; {family.title} needs it to read prompts.")
    return listed


def tower_in(folder: Path, spec: Tower, place: Placement, dtype: torch.dtype) -> OpenTower:
    """One text encoder with its tokenizer, from a diffusers folder."""
    where = folder / spec.encoder
    weights, tokenizer = part(where), tokenizer_in(folder, spec)
    try:
        config, stored = encoder_config(where, spec), StoredText(weights, form="t5" if spec.kind == "t5" else "hf")
        resting = build(spec.kind, config, stored, dtype)
    except (KeyError, ValueError):  # names or sizes that transformers may know how to read
        encoder = _as_transformers_reads(where, weights, spec, dtype)
        return OpenTower(spec, encoder.eval().requires_grad_(False).to(place.device), tokenizer)
    return settled(OpenTower(spec, resting.encoder, tokenizer, resting), place)


def settled(tower: OpenTower, place: Placement) -> OpenTower:
    """The tower where it belongs: asleep on a CPU, in the memory of any other device."""
    if tower.resting is not None and place.device.type != "cpu":
        tower.resting.wake(place.device)
    return tower


def encoder_config(where: Path, spec: Tower) -> Any:
    """The configuration of a text encoder in a diffusers folder."""
    import transformers

    kind = transformers.T5Config if spec.kind == "t5" else transformers.CLIPTextConfig
    return kind.from_pretrained(where, local_files_only=True)


def _as_transformers_reads(where: Path, weights: Weights, spec: Tower, dtype: torch.dtype) -> Any:
    import transformers

    variant = variant_of(next(iter(weights.where.values())))
    with quiet():
        encoder, info = getattr(transformers, _ENCODERS[spec.kind]).from_pretrained(
            where, local_files_only=True, use_safetensors=True, dtype=dtype, variant=variant, output_loading_info=True
        )
    if info["missing_keys"]:
        raise ValueError(f"{where} lacks {sorted(info['missing_keys'])[0]}; is its weight file complete?")
    return encoder


def tokenizer_in(folder: Path, spec: Tower) -> Any:
    """The tokenizer of one tower, from the folder alone."""
    import transformers

    where = folder / spec.tokenizer
    kind = transformers.T5Tokenizer if spec.kind == "t5" else transformers.CLIPTokenizer
    if not where.is_dir():
        raise ValueError(f"{where} is missing; fetch the tokenizer folder of the model.")
    try:
        return kind.from_pretrained(where, local_files_only=True)
    except (OSError, ImportError) as error:
        raise ValueError(f"The tokenizer in {where} cannot be read ({error}).") from error


def _pipeline(
    folder: Path,
    family: Family,
    towers: list[OpenTower],
    index: dict[str, Any],
    place: Placement,
    dtype: torch.dtype,
) -> Any:
    import diffusers

    given: dict[str, Any] = {tower.spec.encoder: tower.awake() for tower in towers}
    given |= {tower.spec.tokenizer: tower.tokenizer for tower in towers}
    given |= {name: None for name in _UNUSED if name in index}
    if "requires_safety_checker" in index:
        given["requires_safety_checker"] = False
    kind = painter(family, channels_of(read_json(folder / family.denoiser / "config.json")))
    weights = part(folder / family.denoiser)
    variant = variant_of(next(iter(weights.where.values())))
    with quiet():
        pipeline = getattr(diffusers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype, variant=variant, **given
        )
    return pipeline.to(place.device)
