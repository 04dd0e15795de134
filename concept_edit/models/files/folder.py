"""A diffusers folder: text encoders, tokenizers and text-side matrices now, the rest when an image is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from concept_edit.models.encode import OpenTower
from concept_edit.models.families import Family, Tower, family_of, readers_of
from concept_edit.models.files.asked import open_asked
from concept_edit.models.files.plain_json import read_json
from concept_edit.models.files.plausible import check_folder, refuse_larger
from concept_edit.models.files.text_weights import StoredText, build
from concept_edit.models.files.weights_files import Weights, part, variant_of
from concept_edit.models.matrices import Matrices
from concept_edit.models.opened import OpenedModel, Origin
from concept_edit.models.placement import Placement
from concept_edit.models.quiet import quiet
from concept_edit.reading.plain import one_sentence, short

_ENCODERS = {"clip": "CLIPTextModel", "clip_projection": "CLIPTextModelWithProjection", "t5": "T5EncoderModel"}
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components left out: a filter that blackens images would spoil every measurement of an edit."""
_FEWEST = 4
"""Tokens of the smallest tokenizer: marks of begin, end and padding, and a word."""
_LONGEST = 8192
"""Tokens of the longest prompt."""


def open_folder(folder: Path, place: Placement, *, name: str) -> OpenedModel:
    """Open a diffusers folder, reading only what a solve needs."""
    index = read_json(folder / "model_index.json")
    check_folder(folder)
    denoiser_folder = folder / ("unet" if "unet" in index else "transformer")
    config = read_json(denoiser_folder / "config.json")
    family = family_of(str(index.get("_class_name")), config)
    if family.route is not None:
        return open_asked(folder, family, config, place, name=name, defaults=generation_in(folder))
    weights = part(denoiser_folder)
    names = list(readers_of(family, weights.where))
    weights.refuse_packed(names)
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
    found: dict[str, Any] = {name: chosen[name] for name in ("num_inference_steps", "guidance_scale") if name in chosen}
    for name, value in found.items():
        if type(value) not in (int, float):
            raise ValueError(f"{path}: {name} is {short(value)}; expected a number. Fetch it again.")
    return found


def layers_of(config: Mapping[str, Any]) -> int:
    """Residual blocks a level of a UNet has, from its configuration."""
    layers = config.get("layers_per_block", 2)
    return layers if isinstance(layers, int) else 2


def channels_of(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Channels a denoiser takes and gives, from its configuration; None where that does not say both.

    Where it is given patches and its configuration counts what it gives by pixels (Qwen-Image), both are of a patch.
    """
    taken, given, side = config.get("in_channels"), config.get("out_channels"), config.get("patch_size")
    if not (isinstance(taken, int) and isinstance(given, int)):
        return None
    return taken, taken if isinstance(side, int) and taken == given * side**2 else given


def painter(family: Family, channels: tuple[int, int] | None) -> str:
    """The diffusers class that paints with a denoiser of so many channels."""
    if channels is None or channels[0] <= channels[1]:
        return family.pipeline
    filling = {"flux": "FluxFillPipeline"}
    return filling.get(family.name, family.pipeline.removesuffix("Pipeline") + "InpaintPipeline")


def _present(folder: Path, spec: Tower, index: dict[str, Any], family: Family) -> bool:
    entry = index.get(spec.encoder)
    listed = isinstance(entry, list) and len(entry) == 2 and entry[0] is not None
    if not listed and not spec.optional:
        raise ValueError(f"{folder} has no {spec.encoder}; {family.title} needs it to read prompts.")
    return listed


def tower_in(folder: Path, spec: Tower, place: Placement, dtype: torch.dtype) -> OpenTower:
    """One text encoder with its tokenizer, from a diffusers folder."""
    where = folder / spec.encoder
    weights, tokenizer = part(where), tokenizer_in(folder, spec)
    weights.refuse_packed(weights.where)
    config, stored = encoder_config(where, spec), StoredText(weights, form="t5" if spec.kind == "t5" else "hf")
    refuse_tokenizer(folder / spec.tokenizer, spec, tokenizer, config)
    try:
        resting = build(spec.kind, config, stored, dtype)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        # names or sizes that transformers may know how to read, and if not, `_as_transformers_reads` says what is wrong
        encoder = _as_transformers_reads(where, weights, spec, config, dtype)
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
    with one_sentence(where / "config.json", "read as the configuration of a text encoder"):
        return kind.from_pretrained(where, local_files_only=True)


def refuse_tokenizer(where: Path, spec: Tower, tokenizer: Any, config: Any) -> None:
    """Refuse a tokenizer that names tokens the encoder does not have, hardly any, or longer prompts than it reads.

    Raises:
        ValueError: with both numbers.
    """
    known, length = len(tokenizer), spec.length or int(tokenizer.model_max_length)
    most = length if spec.kind == "t5" else config.max_position_embeddings
    if not _FEWEST <= known <= config.vocab_size:
        raise ValueError(f"the tokenizer in {where} has {known:,} tokens and its encoder {config.vocab_size:,}.")
    if length > most or length > _LONGEST:
        raise ValueError(f"the tokenizer in {where} makes prompts of {length:,} tokens and its encoder reads {most:,}.")


def _as_transformers_reads(where: Path, weights: Weights, spec: Tower, config: Any, dtype: torch.dtype) -> Any:
    import transformers
    from accelerate import init_empty_weights

    with one_sentence(where / "config.json", "made into a text encoder"), init_empty_weights():
        refuse_larger(getattr(transformers, _ENCODERS[spec.kind])(config), weights, where / "config.json")
    variant = variant_of(next(iter(weights.where.values())))
    with one_sentence(where, "opened"), quiet():
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
    hollow = next((path for path in sorted(where.iterdir()) if path.is_file() and not path.stat().st_size), None)
    if hollow is not None:
        raise ValueError(f"{hollow} is empty; fetch the tokenizer folder of the model.")
    with one_sentence(f"The tokenizer in {where}", "read"):
        return kind.from_pretrained(where, local_files_only=True)


def _pipeline(
    folder: Path,
    family: Family,
    towers: list[OpenTower],
    index: dict[str, Any],
    place: Placement,
    dtype: torch.dtype,
) -> Any:
    import diffusers
    from accelerate import init_empty_weights

    given: dict[str, Any] = {tower.spec.encoder: tower.awake() for tower in towers}
    given |= {tower.spec.tokenizer: tower.tokenizer for tower in towers}
    given |= {name: None for name in _UNUSED if name in index}
    if "requires_safety_checker" in index:
        given["requires_safety_checker"] = False
    weights, where = part(folder / family.denoiser), folder / family.denoiser / "config.json"
    variant = variant_of(next(iter(weights.where.values())))
    config = read_json(where)
    with one_sentence(where, f"made into a {family.denoiser}"), init_empty_weights():
        refuse_larger(getattr(diffusers, family.denoiser_class).from_config(config), weights, where)
    with one_sentence(folder, "put together to paint"), quiet():
        pipeline = getattr(diffusers, painter(family, channels_of(config))).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype, variant=variant, **given
        )
    return pipeline.to(place.device)
