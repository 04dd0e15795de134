"""The model families, one row each. Nothing else in the package asks which family a model is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Tower:
    """One text encoder of a pipeline, and what the denoiser takes from it."""

    encoder: str
    """Component name in the pipeline, e.g. `text_encoder_2`."""
    tokenizer: str
    kind: Literal["clip", "clip_projection", "t5"]
    hidden: int | None
    """Which hidden state feeds the text stream: -1 the normalised last, -2 the one before; None: it feeds none."""
    pooled: str | None = None
    """Name of the output that feeds the pooled stream."""
    length: int | None = None
    """Tokens a prompt is padded to; None: the tokenizer's own length."""
    optional: bool = False
    """Whether the pipeline also runs without this tower."""


@dataclass(frozen=True)
class Reader:
    """Which state-dict names of the denoiser read which stream."""

    pattern: str
    stream: str
    role: str
    leading: bool = False
    """Whether the text fills the first columns only (SDXL: 1,280 pooled, then the time ids)."""


@dataclass(frozen=True)
class Family:
    """A row of the table: all that differs between Stable Diffusion 1.x, 2.x, XL, 3 and Flux."""

    name: str
    title: str
    classes: str
    """Pattern of the diffusers pipeline class names that belong to it, each spelt out."""
    pipeline: str
    """The diffusers class that paints from text."""
    denoiser: str
    """Component name: `unet` or `transformer`."""
    denoiser_class: str
    towers: tuple[Tower, ...]
    readers: tuple[Reader, ...]
    negative_prompt: bool = True


_CROSS_ATTENTION = tuple(
    Reader(rf"(?:down_blocks|mid_block|up_blocks)\..*\.attn2\.to_{role}\.weight", "text", role) for role in "kv"
)
_TRANSFORMER = (
    Reader(r"context_embedder\.weight", "text", "context"),
    Reader(r"time_text_embed\.text_embedder\.linear_1\.weight", "pooled", "pooled"),
)
_SD = (
    "|Img2Img|Inpaint|Depth2Img|Upscale|Adapter|InstructPix2Pix|ControlNet|ControlNetImg2Img|ControlNetInpaint|"
    "ControlNetXS|PAG|PAGImg2Img|PAGInpaint|ControlNetPAG|ControlNetPAGInpaint|AttendAndExcite|DiffEdit|GLIGEN|"
    "GLIGENTextImage|LDM3D|ModelEditing|Panorama|Paradigms|Pix2PixZero|SAG"
)
_SDXL = (
    "|Img2Img|Inpaint|Adapter|InstructPix2Pix|ControlNet|ControlNetImg2Img|ControlNetInpaint|ControlNetUnion|"
    "ControlNetUnionImg2Img|ControlNetUnionInpaint|ControlNetXS|PAG|PAGImg2Img|PAGInpaint|ControlNetPAG|"
    "ControlNetPAGImg2Img"
)
_SD3 = "|Img2Img|Inpaint|ControlNet|ControlNetInpainting|PAG|PAGImg2Img"
_FLUX = (
    "|Img2Img|Inpaint|Fill|Kontext|KontextInpaint|Control|ControlImg2Img|ControlInpaint|ControlNet|"
    "ControlNetImg2Img|ControlNetInpaint"
)
"""What each family's pipelines are called between its name and `Pipeline`. A name that is not here is no member: later
families and modular pipelines begin with the same words."""
_SD_CLIP = (Tower("text_encoder", "tokenizer", "clip", hidden=-1),)

FAMILIES: dict[str, Family] = {
    row.name: row
    for row in (
        Family(
            name="sd1",
            title="Stable Diffusion 1.x",
            classes=rf"StableDiffusion({_SD})Pipeline",
            pipeline="StableDiffusionPipeline",
            denoiser="unet",
            denoiser_class="UNet2DConditionModel",
            towers=_SD_CLIP,
            readers=_CROSS_ATTENTION,
        ),
        Family(
            name="sd2",
            title="Stable Diffusion 2.x",
            classes=rf"StableDiffusion({_SD})Pipeline",
            pipeline="StableDiffusionPipeline",
            denoiser="unet",
            denoiser_class="UNet2DConditionModel",
            towers=_SD_CLIP,
            readers=_CROSS_ATTENTION,
        ),
        Family(
            name="sdxl",
            title="Stable Diffusion XL",
            classes=rf"StableDiffusionXL({_SDXL})Pipeline",
            pipeline="StableDiffusionXLPipeline",
            denoiser="unet",
            denoiser_class="UNet2DConditionModel",
            towers=(
                Tower("text_encoder", "tokenizer", "clip", hidden=-2),
                Tower("text_encoder_2", "tokenizer_2", "clip_projection", hidden=-2, pooled="text_embeds"),
            ),
            readers=(
                *_CROSS_ATTENTION,
                Reader(r"add_embedding\.linear_1\.weight", "pooled", "pooled", leading=True),
            ),
        ),
        Family(
            name="sd3",
            title="Stable Diffusion 3",
            classes=rf"StableDiffusion3({_SD3})Pipeline",
            pipeline="StableDiffusion3Pipeline",
            denoiser="transformer",
            denoiser_class="SD3Transformer2DModel",
            towers=(
                Tower("text_encoder", "tokenizer", "clip_projection", hidden=-2, pooled="text_embeds"),
                Tower("text_encoder_2", "tokenizer_2", "clip_projection", hidden=-2, pooled="text_embeds"),
                Tower("text_encoder_3", "tokenizer_3", "t5", hidden=-1, length=256, optional=True),
            ),
            readers=_TRANSFORMER,
        ),
        Family(
            name="flux",
            title="FLUX.1",
            classes=rf"Flux({_FLUX})Pipeline",
            pipeline="FluxPipeline",
            denoiser="transformer",
            denoiser_class="FluxTransformer2DModel",
            towers=(
                Tower("text_encoder", "tokenizer", "clip", hidden=None, pooled="pooler_output"),
                Tower("text_encoder_2", "tokenizer_2", "t5", hidden=-1, length=512),
            ),
            readers=_TRANSFORMER,
            negative_prompt=False,
        ),
    )
}


def family_of(pipeline_class: str, denoiser_config: Mapping[str, Any]) -> Family:
    """The row of a diffusers pipeline class.

    SD 1.x and 2.x share their classes; 2.x alone projects its attention blocks with linear layers.
    """
    rows = [row for row in FAMILIES.values() if re.fullmatch(row.classes, pipeline_class)]
    if not rows:
        raise ValueError(
            f"{pipeline_class} is of no family this toolkit edits; expected one of: "
            + ", ".join(row.title for row in FAMILIES.values())
            + "; of a modular pipeline give its parts as the plain one" * ("Modular" in pipeline_class)
        )
    if len(rows) == 1:
        return rows[0]
    return FAMILIES["sd2" if denoiser_config.get("use_linear_projection") else "sd1"]


def readers_of(family: Family, names: Iterable[str]) -> dict[str, Reader]:
    """State-dict names of the denoiser that read text, sorted, each with its reader."""
    found = {}
    for name in sorted(names):
        for reader in family.readers:
            if re.fullmatch(reader.pattern, name):
                found[name] = reader
    return found
