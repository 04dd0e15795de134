"""The single-file layouts, one row each: what marks them, where their text encoders lie, what they lack."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from concept_edit.models.families import FAMILIES, Family
from concept_edit.models.files.names import UNET_PREFIX
from concept_edit.models.files.weights_files import Weights


@dataclass(frozen=True)
class Stored:
    """Where one text encoder lies in a file."""

    prefixes: tuple[str, ...]
    form: str
    """`hf` (transformers' names) or `openclip`."""
    act: str = "quick_gelu"
    pad: str = "<|endoftext|>"
    layers: int | None = None
    """Layers to keep at most (SD 2.x reads the last layer but one)."""


@dataclass(frozen=True)
class Layout:
    """A row: files of one family in its original layout."""

    family: str
    naming: str
    marks: tuple[str, ...]
    """Names, after the denoiser's prefix, that all must be there."""
    towers: Mapping[str, Stored]
    sources: tuple[str, ...]
    """Hub folders that hold the family's text encoders and tokenizers."""


_CROSS_ATTENTION = ("middle_block.1.transformer_blocks.0.attn2.to_k.weight",)
_CLIP_L = Stored(("text_encoders.clip_l.transformer.", "clip_l."), "hf")
_CLIP_G = Stored(("text_encoders.clip_g.transformer.", "clip_g."), "hf", act="gelu", pad="!")
_T5 = Stored(("text_encoders.t5xxl.transformer.", "t5xxl."), "hf")

LAYOUTS = (
    Layout(
        "flux",
        "flux",
        ("txt_in.weight", "vector_in.in_layer.weight", "double_blocks.0.img_attn.norm.key_norm.scale"),
        {"text_encoder": _CLIP_L, "text_encoder_2": _T5},
        ("black-forest-labs/FLUX.1-schnell", "black-forest-labs/FLUX.1-dev"),
    ),
    Layout(
        "sd3",
        "sd3",
        ("context_embedder.weight", "y_embedder.mlp.0.weight", "joint_blocks.0.x_block.attn.qkv.weight"),
        {"text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G, "text_encoder_3": _T5},
        ("stabilityai/stable-diffusion-3-medium-diffusers", "stabilityai/stable-diffusion-3.5-medium"),
    ),
    Layout(
        "sdxl",
        "unet",
        (*_CROSS_ATTENTION, "label_emb.0.0.weight"),
        {
            "text_encoder": Stored(("conditioner.embedders.0.transformer.",), "hf"),
            "text_encoder_2": Stored(("conditioner.embedders.1.model.",), "openclip", act="gelu", pad="!"),
        },
        ("stabilityai/stable-diffusion-xl-base-1.0",),
    ),
    Layout(
        "sd2",
        "unet",
        _CROSS_ATTENTION,
        {"text_encoder": Stored(("cond_stage_model.model.",), "openclip", act="gelu", pad="!", layers=23)},
        ("stabilityai/stable-diffusion-2-1",),
    ),
    Layout(
        "sd1",
        "unet",
        _CROSS_ATTENTION,
        {"text_encoder": Stored(("cond_stage_model.transformer.",), "hf")},
        ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    ),
)

SD2_WIDTH = 1024
"""Width of a text row in every published SD 2.x."""

_FOREIGN = (
    (r"lora_(unet|te)|\.lora_[AB]\.|\.lora_(down|up)\.", "a LoRA; open the model it belongs to"),
    (r"(text|pooled)\.(left|right)", "an edit file; open the model first and load it with Edit.load"),
    (r"conditioner\.embedders\.0\.model\.", "the SDXL refiner, which this toolkit does not edit; open the base model"),
    (
        r"distilled_guidance_layer\.|single_stream_modulation\.|early_stream_modulations\.",
        "of the Flux kind but not FLUX.1 (Chroma, FLUX.2), which this toolkit does not edit",
    ),
    (r"(down_blocks|transformer_blocks|time_embedding)\.", "one part of a diffusers folder; open the folder above it"),
    (r"(control_model|controlnet_cond_embedding)\.", "a ControlNet; open the model it steers"),
)


def prefix_of(names: Collection[str]) -> str:
    """What stands before the denoiser's names in this file."""
    return UNET_PREFIX if any(name.startswith(UNET_PREFIX) for name in names) else ""


def layout_of(weights: Weights) -> Layout:
    """The row a file belongs to, by its names; among rows alike, the one whose text encoder is there.

    SD 1.x and 2.x differ in their text encoders only; in a file without any, the width that SD 2.x reads decides.
    """
    path, names = weights.place, weights.where
    _refuse_foreign(path, names)
    prefix = prefix_of(names)
    fitting = [row for row in LAYOUTS if all(prefix + mark in names for mark in row.marks)]
    if not fitting:
        known = ", ".join(row.title for row in FAMILIES.values())
        raise ValueError(
            f"{path} is of no family this toolkit edits; expected {known} in the original layout, "
            f"got names such as {next(iter(sorted(names)), 'none at all')}."
        )
    complete = [row for row in fitting if any(find_tower(stored, names) for stored in row.towers.values())]
    if complete or fitting[0].family != "sd2":
        return (complete or fitting)[0]
    return fitting[0 if weights.shape(prefix + _CROSS_ATTENTION[0])[1] == SD2_WIDTH else -1]


def _refuse_foreign(path: Path, names: Collection[str]) -> None:
    for pattern, what in _FOREIGN:
        starts = (name.removeprefix(UNET_PREFIX) for name in names)
        if any(re.match(pattern, name) or (r"lora" in pattern and re.search(pattern, name)) for name in starts):
            raise ValueError(f"{path} is {what}.")


def find_tower(stored: Stored, names: Collection[str]) -> str | None:
    """The prefix under which a text encoder lies in the file; None when it is not there."""
    for prefix in stored.prefixes:
        if any(name.startswith(prefix) for name in names):
            return prefix
    return None


def configuration(family: Family, names: Collection[str], prefix: str) -> str:
    """Name of the shipped configuration folder for a file of `family`."""
    if family.name == "flux":
        return "flux-dev" if prefix + "guidance_in.in_layer.weight" in names else "flux-schnell"
    if family.name == "sd3" and prefix + "joint_blocks.0.x_block.attn.ln_q.weight" in names:
        return "sd35-large" if prefix + "joint_blocks.37.x_block.mlp.fc1.weight" in names else "sd35-medium"
    return family.name
