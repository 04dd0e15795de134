"""The split files of ComfyUI: a denoiser in `diffusion_models/`, its text encoder in `text_encoders/` beside it.

What a solve needs is read: the encoder, and of the denoiser the reader and the modules before it. Configurations and
the tokenizer, which such files lack, come from `companion`, a diffusers folder that needs no weights, or from the hub
cache. float8 weights are brought to full precision where they are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concept_edit.models.encode import OpenTower
from concept_edit.models.families import FAMILIES, Family, family_of, readers_of
from concept_edit.models.files.asked import absent, first_modules
from concept_edit.models.files.hub import cached
from concept_edit.models.files.names import UNET_PREFIX
from concept_edit.models.files.plain_json import read_json
from concept_edit.models.files.weights_files import FLOAT8, GGUF, SCALES, Weights, one_file
from concept_edit.models.fingerprint import HEARS_NO_TEXT, core_name
from concept_edit.models.matrices import Matrices
from concept_edit.models.opened import OpenedModel, Origin
from concept_edit.models.placement import Placement
from concept_edit.models.quiet import quiet
from concept_edit.models.route import OpenRoute


@dataclass(frozen=True)
class Split:
    """A row: how the original files of a family call what a prompt passes."""

    family: str
    names: Mapping[str, str]
    """Beginning of a name in diffusers -> in the file."""
    marks: tuple[str, ...]
    source: str
    """A hub folder with configurations and tokenizer."""
    unlike: str = ""
    """A name that another family has and this one has not."""


_FUSION = {"text_fusion.": "txtfusion.", "txt_in.linear_1.": "txtmlp.1.", "txt_in.linear_2.": "txtmlp.3."}
_FUSION |= {"txt_in.norm.weight": "txtmlp.0.scale"}
_TXT_IN = {"context_embedder.": "txt_in."}
_FLUX2 = ("single_stream_modulation.lin.weight", "txt_in.weight")
SPLITS = (
    Split(
        "zimage",
        {"cap_embedder.": "cap_embedder."},
        ("cap_embedder.1.weight", "cap_pad_token"),
        "Tongyi-MAI/Z-Image-Turbo",
    ),
    Split(
        "qwen-image",
        {"txt_norm.": "txt_norm.", "txt_in.": "txt_in."},
        ("txt_norm.weight", "txt_in.weight"),
        "Qwen/Qwen-Image",
    ),
    Split("flux2", _TXT_IN, _FLUX2, "black-forest-labs/FLUX.2-dev"),
    Split("flux2-klein", _TXT_IN, _FLUX2, "black-forest-labs/FLUX.2-klein-4B"),
    Split("krea2", _FUSION, ("txtfusion.projector.weight", "txtmlp.1.weight"), "krea/Krea-2-Raw"),
    Split("chroma", _TXT_IN, ("distilled_guidance_layer.in_proj.weight", "txt_in.weight"), "lodestones/Chroma1-HD"),
    Split("auraflow", {"context_embedder.": "cond_seq_linear."}, ("cond_seq_linear.weight",), "fal/AuraFlow-v0.3"),
    Split(
        "lumina2",
        {"time_caption_embed.caption_embedder.": "cap_embedder."},
        ("cap_embedder.0.weight", "cap_embedder.1.weight"),
        "Alpha-VLLM/Lumina-Image-2.0",
        unlike="cap_pad_token",
    ),
)
_TWINS = {"shared.weight": "encoder.embed_tokens.weight", "encoder.embed_tokens.weight": "shared.weight"}
"""T5's two names for its embedding; files keep one."""


@dataclass(frozen=True)
class Renamed(Weights):
    """A file's tensors by diffusers' names; float8 is read as bfloat16 times its scale."""

    names: Mapping[str, str] = field(default_factory=dict)
    """Name in diffusers -> in the file."""
    scales: Mapping[str, str] = field(default_factory=dict)
    """Name in diffusers -> the name of its scale in the file."""

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        file = one_file(self.place)
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ValueError(f"{self.place} lacks {missing[0]} ({len(missing)} of {len(names)} tensors missing).")
        found = file.read([self.names[name] for name in names])
        scales = file.read([self.scales[name] for name in names if name in self.scales])
        return {
            name: _plain(found[self.names[name]], scales.get(self.scales.get(name, "")), f"{name} in {self.place}")
            for name in names
        }

    def dtype(self, name: str) -> torch.dtype:
        stored = one_file(self.place).dtype(self.names[name])
        return torch.bfloat16 if stored in FLOAT8 else stored

    def shape(self, name: str) -> tuple[int, ...]:
        return one_file(self.place).shape(self.names[name])


def _plain(value: Tensor, scale: Tensor | None, what: str) -> Tensor:
    if value.dtype in FLOAT8:
        return (value.float() * (1.0 if scale is None else _by_row(scale.float(), value, what))).to(torch.bfloat16)
    if not value.is_floating_point():
        raise ValueError(f"{what} is stored as {value.dtype}; convert the file to bfloat16 or float8 and open that.")
    return value


def _by_row(scale: Tensor, value: Tensor, what: str) -> Tensor:
    """A scale of the whole matrix, or of each of its rows."""
    if scale.numel() not in (1, len(value)):
        raise ValueError(
            f"{what} is float8 with a scale of shape {tuple(scale.shape)}, where one number or one a row is read; "
            "convert the file to bfloat16 and open that."
        )
    return scale.reshape(-1, *(1,) * (value.ndim - 1))


def split_rows(names: Collection[str]) -> list[Split]:
    """The rows whose denoiser this file may be."""
    bare = {name.removeprefix(UNET_PREFIX).removeprefix("diffusion_model.") for name in names}
    return [row for row in SPLITS if all(mark in bare for mark in row.marks) and row.unlike not in bare]


def open_split(path: Path, rows: Sequence[Split], place: Placement, *, companion: Path | None) -> OpenedModel:
    """Open a denoiser's file with the text encoder beside it.

    Raises:
        ValueError: no configuration, no encoder or one of another model, or weights that cannot be read.
    """
    row, folder = _described(path, rows, companion)
    family = FAMILIES[row.family]
    weights = _renamed(path, row)
    names = list(readers_of(family, weights.names))
    dtype = place.dtype or weights.dtype(names[0])
    shell = _shell(path, folder, family, place, dtype)
    config = read_json(folder / family.denoiser / "config.json")
    return OpenedModel(
        str(path),
        family,
        [OpenTower(spec, getattr(shell, spec.encoder), getattr(shell, spec.tokenizer)) for spec in family.towers],
        matrices=Matrices(weights, {key: key for key in names}, place.device, dtype),
        load=lambda: _pipeline(path, folder, family, shell, dtype).to(place.device),
        origin=Origin(path, {name: weights.names[name] for name in names}),
        route=OpenRoute(family, shell, first_modules(family, config, weights, place, dtype)),
    )


def _described(path: Path, rows: Sequence[Split], companion: Path | None) -> tuple[Split, Path]:
    """The row and the folder with its configurations."""
    for row in rows:
        folder = companion or cached(row.source)
        if folder is not None and (folder / "model_index.json").is_file():
            kind = family_of(str(read_json(folder / "model_index.json").get("_class_name")), {}).name
            if kind == row.family:
                return row, folder
    fits = " or ".join(FAMILIES[row.family].title for row in rows)
    if companion is not None:
        raise ValueError(f"{path} is a {fits} denoiser and {companion} describes another model; give its own folder.")
    raise ValueError(
        f"{path} is a {fits} denoiser without configurations and tokenizer; give companion=, its diffusers folder (no "
        f"weights needed), or fetch one into the hub cache: "
        f'hf download {rows[0].source} --include "*.json" "tokenizer/*"'
    )


def _renamed(path: Path, row: Split) -> Renamed:
    there = one_file(path).where
    names, scales = dict[str, str](), dict[str, str]()
    for name in there:
        bare = name.removeprefix(UNET_PREFIX).removeprefix("diffusion_model.")
        for ours, theirs in row.names.items():
            if bare.startswith(theirs):
                known = _fused(ours + bare.removeprefix(theirs))
                names[known] = name
                for scale in (name.removesuffix(".weight") + ending for ending in SCALES):
                    if scale in there:
                        scales[known] = scale
    return Renamed(path, dict.fromkeys(names, path), names, scales)


def _fused(name: str) -> str:
    """A name inside Krea 2's fusion as diffusers has it."""
    if not name.startswith("text_fusion."):
        return name
    for pattern, theirs in (
        (r"\.attn\.w([qkv])\.", r".attn.to_\1."),
        (r"\.attn\.wo\.", ".attn.to_out.0."),
        (r"\.attn\.gate\.", ".attn.to_gate."),
        (r"\.attn\.qknorm\.([qk])norm\.scale", r".attn.norm_\1.weight"),
        (r"\.mlp\.", ".ff."),
        (r"\.prenorm\.scale", ".norm1.weight"),
        (r"\.postnorm\.scale", ".norm2.weight"),
    ):
        name = re.sub(pattern, theirs, name)
    return name


def _shell(path: Path, folder: Path, family: Family, place: Placement, dtype: torch.dtype) -> Any:
    """The pipeline with its text encoder and tokenizer, and nothing else."""
    import diffusers

    spec = family.towers[0]
    encoder = _encoder(path, folder, spec.encoder, dtype)
    given: dict[str, Any] = {family.denoiser: None, **absent(family), spec.encoder: encoder}
    with quiet():
        shell = getattr(diffusers, family.pipeline).from_pretrained(folder, local_files_only=True, dtype=dtype, **given)
    return shell.to(place.device)


def _encoder(path: Path, folder: Path, name: str, dtype: torch.dtype) -> Any:
    """The text encoder the folder describes, with the weights of a file beside the denoiser's."""
    import transformers
    from accelerate import init_empty_weights

    kind = read_json(folder / "model_index.json")[name][1]
    config = transformers.AutoConfig.from_pretrained(folder / name, local_files_only=True)
    with init_empty_weights(include_buffers=False):
        encoder = getattr(transformers, kind)(config)
    wanted = {key: value for key, value in encoder.named_parameters() if not HEARS_NO_TEXT.search(key)}
    place = path.parent.parent / "text_encoders"
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else []
    misfits = []
    for file in files:
        weights = one_file(file)
        known = {core_name(key): key for key in weights.where}
        known = {twin: known[name] for name, twin in _TWINS.items() if name in known} | known
        lacking = [key for key in wanted if core_name(key) not in known]
        wrong = [k for k, v in wanted.items() if not lacking and weights.shape(known[core_name(k)]) != tuple(v.shape)]
        if not lacking and not wrong:
            return _filled(encoder, wanted, weights, known, dtype)
        packed = f", stored as {weights.dtype(known[core_name(wrong[0])])}" if wrong else ""
        misfits.append(f"{file.name} ({(lacking or wrong)[0]}{packed})")
    if misfits:
        raise ValueError(
            f"the text encoders in {place} are of another model than {path.name}: {', '.join(misfits)}; "
            f"put its own ({kind}) there, in bfloat16 or float8."
        )
    gguf = "; GGUF files are not read" if place.is_dir() and any(place.glob(f"*{GGUF}")) else ""
    raise ValueError(f"{path} has no partner: put its text encoder ({kind}) into {place}, as safetensors{gguf}.")


def _filled(
    encoder: Any, wanted: Mapping[str, Any], weights: Weights, known: Mapping[str, str], dtype: torch.dtype
) -> Any:
    """Weights put into the encoder, one tensor at a time; what hears no text is left empty."""
    from accelerate.utils import set_module_tensor_to_device

    for name, value in encoder.named_parameters():
        if name not in wanted:
            set_module_tensor_to_device(encoder, name, "cpu", torch.zeros(value.shape, dtype=dtype))
            continue
        stored = known[core_name(name)]
        scale = [s for ending in SCALES if (s := stored.removesuffix(".weight") + ending) in weights.where]
        found = weights.read([stored, *scale])
        plain = _plain(found[stored], found[scale[0]] if scale else None, f"{stored} in {weights.place}")
        set_module_tensor_to_device(encoder, name, "cpu", plain.to(dtype))
    encoder.tie_weights()
    return encoder.eval().requires_grad_(False)


def _pipeline(path: Path, folder: Path, family: Family, shell: Any, dtype: torch.dtype) -> Any:
    import diffusers

    if not (folder / "vae").is_dir() or not any((folder / "vae").glob("*.safetensors")):
        raise ValueError(
            f"{path} has no autoencoder, so it cannot paint; give companion=, a diffusers folder that has vae/ with "
            "its weights. A solve needs none."
        )
    given = {name: getattr(shell, name) for spec in family.towers for name in (spec.encoder, spec.tokenizer)}
    try:
        with quiet():
            denoiser = getattr(diffusers, family.denoiser_class).from_single_file(
                str(path), config=str(folder), subfolder=family.denoiser, local_files_only=True, dtype=dtype
            )
            kind = getattr(diffusers, family.pipeline)
            return kind.from_pretrained(folder, local_files_only=True, dtype=dtype, transformer=denoiser, **given)
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} cannot paint as {family.title} ({str(error).splitlines()[0]})") from error
