"""A single `.safetensors` file in its family's original layout, opened without a network.

Only the text encoders and the text-side matrices are read; `generate` reads the rest. What a file lacks (its
tokenizer always, sometimes its text encoders) comes from the package, from a companion folder or from the hub cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from concept_edit.models.encode import OpenTower
from concept_edit.models.families import FAMILIES, Family, Tower, readers_of
from concept_edit.models.files.folder import encoder_config, generation_in, painter, settled, tokenizer_in, tower_in
from concept_edit.models.files.hub import cached
from concept_edit.models.files.layouts import Layout, configuration, find_tower, layout_of, prefix_of
from concept_edit.models.files.names import diffusers_name, layers_per_level
from concept_edit.models.files.split import open_split, split_rows
from concept_edit.models.files.text_weights import StoredText, build, clip_config, t5_config
from concept_edit.models.files.tokenizers import clip_tokenizer
from concept_edit.models.files.weights_files import Weights, one_file
from concept_edit.models.matrices import Matrices
from concept_edit.models.opened import OpenedModel, Origin
from concept_edit.models.placement import Placement
from concept_edit.models.quiet import quiet
from concept_edit.models.resting import Resting
from concept_edit.reading.plain import sentence


@dataclass(frozen=True)
class _File:
    """One file and what is known of it."""

    path: Path
    weights: Weights
    layout: Layout
    family: Family
    prefix: str
    companion: Path | None
    place: Placement

    def needed(self, name: str) -> Path | None:
        """A folder that has the part `name`: the companion, or a hub folder in the local cache."""
        folders = [self.companion, *(cached(repo) for repo in self.layout.sources)]
        return next((folder for folder in folders if folder is not None and (folder / name).is_dir()), None)


def open_single_file(path: Path, place: Placement, *, companion: Path | None = None) -> OpenedModel:
    """Open one original-layout file. `companion`: a diffusers folder that holds what the file lacks."""
    weights = one_file(path)
    if rows := split_rows(weights.where):
        return open_split(path, rows, place, companion=companion)
    layout = layout_of(weights)
    file = _File(path, weights, layout, FAMILIES[layout.family], prefix_of(weights.where), companion, place)
    stored = text_side(file.family, layout.naming, weights)
    weights.refuse_packed(stored.values())
    dtype = place.precision(weights.dtype(next(iter(stored.values()))) if stored else torch.float32)
    matrices = Matrices(weights, stored, place.device, dtype)
    towers = _towers(file, dtype)
    origin = Origin(path, stored)
    load = lambda: _pipeline(file, towers, dtype)  # noqa: E731
    layers = layers_per_level(weights.where)
    defaults = {} if companion is None else generation_in(companion)
    return OpenedModel(
        str(path), file.family, towers, matrices=matrices, load=load, origin=origin, layers=layers, defaults=defaults,
        channels=_channels(file),
    )  # fmt: skip


def text_side(family: Family, naming: str, weights: Weights) -> dict[str, str]:
    """Site name -> its name in the file, for every matrix that reads text."""
    prefix, layers = prefix_of(weights.where), layers_per_level(weights.where)
    named = {
        ours: name
        for name in weights.where
        if name.startswith(prefix) and (ours := diffusers_name(name.removeprefix(prefix), naming, layers))
    }
    return {name: named[name] for name in readers_of(family, named)}


def _towers(file: _File, dtype: torch.dtype) -> list[OpenTower]:
    found = [_tower(file, spec, dtype) for spec in file.family.towers]
    return [tower for tower in found if tower is not None]


def _tower(file: _File, spec: Tower, dtype: torch.dtype) -> OpenTower | None:
    prefix = find_tower(file.layout.towers[spec.encoder], file.weights.where)
    if prefix is None:
        return _borrowed(file, spec, dtype)
    file.weights.refuse_packed(name for name in file.weights.where if name.startswith(prefix))
    tokenizer = _tokenizer(file, spec)
    try:
        resting = _built(file, spec, prefix, tokenizer, dtype)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"The {spec.encoder} in {file.path} cannot be opened: {sentence(error)}") from error
    return settled(OpenTower(spec, resting.encoder, tokenizer, resting), file.place)


def _built(file: _File, spec: Tower, prefix: str, tokenizer: Any, dtype: torch.dtype) -> Resting:
    row = file.layout.towers[spec.encoder]
    if spec.kind == "t5":
        stored = StoredText(file.weights, prefix, "t5")
        return build("t5", _config(file, spec) or t5_config(stored.outline), stored, dtype)
    stored = StoredText(file.weights, prefix, row.form, row.layers)
    if spec.kind == "clip_projection" and "text_projection.weight" not in stored.outline:
        width = len(stored.outline["final_layer_norm.weight"])
        stored = replace(stored, more={"text_projection.weight": torch.eye(width)})
    config = _config(file, spec) or clip_config(stored.outline, row.act, tokenizer)
    if config.vocab_size != len(tokenizer):
        raise ValueError(
            f"it knows {config.vocab_size} tokens and the tokenizer {len(tokenizer)}; "
            "give companion=, a diffusers folder with this model's own tokenizer"
        )
    return build(spec.kind, config, stored, dtype)


def _config(file: _File, spec: Tower) -> Any:
    """The companion's own configuration of a tower, for models of unusual shape."""
    if file.companion is None or not (file.companion / spec.encoder / "config.json").is_file():
        return None
    return encoder_config(file.companion / spec.encoder, spec)


def _borrowed(file: _File, spec: Tower, dtype: torch.dtype) -> OpenTower | None:
    """A tower the file lacks, from the companion or the hub cache."""
    folder = file.needed(spec.encoder)
    if folder is not None:
        return tower_in(folder, spec, file.place, dtype)
    if spec.optional:
        return None
    raise ValueError(
        f"{file.path} has no {spec.encoder}, which {file.family.title} needs to read prompts; give companion=, a "
        f"diffusers folder that has it, or fetch one into the hub cache: "
        f'hf download {file.layout.sources[0]} --include "text_encoder*/*" "tokenizer*/*"'
    )


def _tokenizer(file: _File, spec: Tower) -> Any:
    stored = file.layout.towers[spec.encoder]
    if file.companion is not None and (file.companion / spec.tokenizer).is_dir():
        return tokenizer_in(file.companion, spec)
    if spec.kind != "t5":
        return clip_tokenizer(pad_token=stored.pad)
    folder = file.needed(spec.tokenizer)
    if folder is not None:
        return tokenizer_in(folder, spec)
    raise ValueError(
        f"The T5 tokenizer that {file.path} needs does not ship with this package; give companion=, a diffusers folder "
        f"that has {spec.tokenizer}/, or fetch it into the hub cache: "
        f'hf download {file.layout.sources[0]} --include "{spec.tokenizer}/*"'
    )


def _pipeline(file: _File, towers: list[OpenTower], dtype: torch.dtype) -> Any:
    import diffusers
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    shipped = files("concept_edit") / "families" / configuration(file.family, file.weights.where, file.prefix)
    config = file.companion if _describes(file) else Path(str(shipped))
    given: dict[str, Any] = {spec.encoder: None for spec in file.family.towers}
    given |= {spec.tokenizer: None for spec in file.family.towers}
    given |= {tower.spec.encoder: tower.awake() for tower in towers}
    given |= {tower.spec.tokenizer: tower.tokenizer for tower in towers}
    if not any(name.startswith(("first_stage_model.", "vae.")) for name in file.weights.where):
        given["vae"] = _vae(file, dtype)
    channels = _channels(file)
    kind = painter(file.family, channels)
    try:
        with quiet():
            if kind != file.family.pipeline and channels is not None:
                given[file.family.denoiser] = getattr(diffusers, file.family.denoiser_class).from_single_file(
                    str(file.path), config=str(config), subfolder=file.family.denoiser, local_files_only=True,
                    dtype=dtype, in_channels=channels[0],
                )  # fmt: skip
            pipeline = getattr(diffusers, kind).from_single_file(
                str(file.path), config=str(config), local_files_only=True, dtype=dtype, **given
            )
    except (SingleFileComponentError, RuntimeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{file.path} cannot paint as {file.family.title} ({str(error).strip().splitlines()[0]}); for another "
            "architecture give companion=, a diffusers folder with its configuration"
        ) from error
    return pipeline.to(file.place.device)


_ENDS = {
    "unet": ("input_blocks.0.0.weight", "out.2.weight"),
    "flux": ("img_in.weight", "final_layer.linear.weight"),
}
"""The first and the last matrix of a denoiser, by naming."""


def _channels(file: _File) -> tuple[int, int] | None:
    """Channels the denoiser takes and gives; None where the file does not say."""
    first, last = (file.prefix + name for name in _ENDS.get(file.layout.naming, ("", "")))
    if first not in file.weights.where or last not in file.weights.where:
        return None
    return file.weights.shape(first)[1], file.weights.shape(last)[0]


def _describes(file: _File) -> bool:
    return file.companion is not None and (file.companion / file.family.denoiser / "config.json").is_file()


def _vae(file: _File, dtype: torch.dtype) -> Any:
    import diffusers

    folder = file.needed("vae")
    if folder is None:
        raise ValueError(
            f"{file.path} has no autoencoder, so it cannot paint; give companion=, a diffusers folder that has "
            f'vae/, or fetch one into the hub cache: hf download {file.layout.sources[0]} --include "vae/*"'
        )
    with quiet():
        return diffusers.AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True, dtype=dtype)
