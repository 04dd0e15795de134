"""Rows of families whose encoders are CLIP and T5: told in full, so that each runs without its pipeline."""

from __future__ import annotations

from typing import Any, Literal

from concept_edit.models.families.row import Family, Reader, Tower

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

_CROSS_ATTENTION = tuple(
    Reader(rf"(?:down_blocks|mid_block|up_blocks)\..*\.attn2\.to_{role}\.weight", "text", role) for role in "kv"
)
_JOINT = (
    Reader(r"context_embedder\.weight", "text", "context"),
    Reader(r"time_text_embed\.text_embedder\.linear_1\.weight", "pooled", "pooled"),
)


def _clip(number: str = "", *, hidden: int | None = -1, pooled: str | None = None) -> Tower:
    """A CLIP; one whose pooled vector is projected where that is what is taken."""
    kind: Literal["clip", "clip_projection"] = "clip_projection" if pooled == "text_embeds" else "clip"
    return Tower(f"text_encoder{number}", f"tokenizer{number}", kind, hidden=hidden, pooled=pooled)


def _unet(name: str, title: str, stem: str, kinds: str, towers: tuple[Tower, ...], *more: Reader) -> Family:
    """A row of a UNet, read by the cross-attention of every block."""
    return Family(
        name,
        title,
        rf"{stem}({kinds})Pipeline",
        pipeline=f"{stem}Pipeline",
        denoiser="unet",
        denoiser_class="UNet2DConditionModel",
        towers=towers,
        readers=(*_CROSS_ATTENTION, *more),
    )


def _transformer(name: str, title: str, stem: str, kinds: str, denoiser: str, *towers: Tower, **more: Any) -> Family:
    """A row of a transformer that takes in the text at its door."""
    return Family(
        name,
        title,
        rf"{stem}({kinds})Pipeline",
        pipeline=f"{stem}Pipeline",
        denoiser="transformer",
        denoiser_class=denoiser,
        towers=towers,
        readers=_JOINT,
        **more,
    )


ROWS = (
    _unet("sd1", "Stable Diffusion 1.x", "StableDiffusion", _SD, (_clip(),)),
    _unet("sd2", "Stable Diffusion 2.x", "StableDiffusion", _SD, (_clip(),)),
    _unet(
        "sdxl",
        "Stable Diffusion XL",
        "StableDiffusionXL",
        _SDXL,
        (_clip(hidden=-2), _clip("_2", hidden=-2, pooled="text_embeds")),
        Reader(r"add_embedding\.linear_1\.weight", "pooled", "pooled", leading=True),
    ),
    _transformer(
        "sd3",
        "Stable Diffusion 3",
        "StableDiffusion3",
        _SD3,
        "SD3Transformer2DModel",
        _clip(hidden=-2, pooled="text_embeds"),
        _clip("_2", hidden=-2, pooled="text_embeds"),
        Tower("text_encoder_3", "tokenizer_3", "t5", hidden=-1, length=256, optional=True),
    ),
    _transformer(
        "flux",
        "FLUX.1",
        "Flux",
        _FLUX,
        "FluxTransformer2DModel",
        _clip(hidden=None, pooled="pooler_output"),
        Tower("text_encoder_2", "tokenizer_2", "t5", hidden=-1, length=512),
        negative_prompt=False,
    ),
)
