"""The model families, one row each. Nothing else in the package asks which family a model is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Tower:
    """One text encoder of a pipeline, and what the denoiser takes from it."""

    encoder: str
    """Component name in the pipeline, e.g. `text_encoder_2`."""
    tokenizer: str
    kind: Literal["clip", "clip_projection", "t5", "asked"]
    """`asked`: the pipeline's own `encode_prompt` is called, whatever the encoder; see `Route`."""
    hidden: int | None = None
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
    r"""A group of the pattern may stand in it, as `\1`."""
    role: str
    leading: bool = False
    """Whether the text fills the first columns only (SDXL: 1,280 pooled, then the time ids)."""


@dataclass(frozen=True)
class Route:
    """From a pipeline's `encode_prompt` to the readers, where no more than that is known of the encoder."""

    modules: tuple[str, ...]
    """Modules of the denoiser that the rows pass in turn; a reader inside the last one ends the way."""
    rows: int = 0
    """Which part of the answer of `encode_prompt` holds the rows."""
    mask: int | None = None
    """Which part tells the rows that the denoiser hears; None: it hears all."""
    fused: bool = False
    """Whether the first module takes that mask too."""
    alone: bool = False
    """Whether prompts are asked for one by one: the pipeline pads to the longest of a batch and hears the pads."""
    glm: bool = False
    """Whether the encoder is ChatGLM: its states stand tokens first, and pads before a prompt hear all of it."""
    pooled: int | Literal["mean"] | None = None
    """Which part is the pooled vector; `mean`: the denoiser takes the mean of the rows it hears."""
    tower: int = 0
    """Which tower of the family is asked."""
    layers: str = ""
    """Where the denoiser's configuration lists the layers of the encoder that each reach a reader of their own."""
    also: Route | None = None
    """The way of another encoder's rows, whose reader is the next one."""
    vae: bool = False
    """Whether the pipeline cannot be made without its autoencoder."""
    picture: int = 0
    """Side of the blank picture that stands beside every prompt, for pipelines whose template wants one."""
    beside: str = ""
    """Pattern of further layers that move with the prompt alone, before or after the readers, and are left alone."""


@dataclass(frozen=True)
class Family:
    """A row of the table: all that differs between one kind of model and another."""

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
    route: Route | None = None
    """How rows reach the readers in pipelines that are asked for them."""
    plainly: Mapping[str, Any] = field(default_factory=dict)
    """What keeps the pipeline from rewriting a prompt before it encodes it."""
    unedited: str = ""
    """A sentence about what else reads the prompt and is left as it is."""


_CROSS_ATTENTION = tuple(
    Reader(rf"(?:down_blocks|mid_block|up_blocks)\..*\.attn2\.to_{role}\.weight", "text", role) for role in "kv"
)
_TRANSFORMER = (
    Reader(r"context_embedder\.weight", "text", "context"),
    Reader(r"time_text_embed\.text_embedder\.linear_1\.weight", "pooled", "pooled"),
)
_BLOCKS = tuple(Reader(rf"transformer_blocks\.\d+\.attn2\.to_{role}\.weight", "text", role) for role in "kv")
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


def _asked(name: str, title: str, classes: str, denoiser_class: str, reader: str, route: Route, **more: Any) -> Family:
    """A row of a transformer with one reader, whose pipeline is asked for the rows."""
    row: dict[str, Any] = {
        "pipeline": denoiser_class.removesuffix("Transformer2DModel") + "Pipeline",
        "denoiser": "transformer",
        "towers": (Tower("text_encoder", "tokenizer", "asked"),),
        "readers": (Reader(reader + r"\.weight", "text", "context"),),
    }
    return Family(name, title, classes, denoiser_class=denoiser_class, route=route, **(row | more))


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
        _asked(
            "zimage",
            "Z-Image",
            r"ZImage(|Img2Img|Inpaint|ControlNet|ControlNetInpaint)Pipeline",
            "ZImageTransformer2DModel",
            r"cap_embedder\.1",
            Route(("cap_embedder",), beside=r"context_refiner\..+"),
        ),
        _asked(
            "flux2",
            "FLUX.2",
            r"Flux2Pipeline",
            "Flux2Transformer2DModel",
            "context_embedder",
            Route(("context_embedder",)),
            negative_prompt=False,
        ),
        _asked(
            "flux2-klein",
            "FLUX.2 klein",
            r"Flux2Klein(|Inpaint|KV)Pipeline",
            "Flux2Transformer2DModel",
            "context_embedder",
            Route(("context_embedder",)),
            pipeline="Flux2KleinPipeline",
            negative_prompt=False,
        ),
        _asked(
            "qwen-image",
            "Qwen-Image",
            r"QwenImage(|Img2Img|Inpaint|ControlNet|ControlNetInpaint)Pipeline",
            "QwenImageTransformer2DModel",
            "txt_in",
            Route(("txt_norm", "txt_in"), mask=1),
        ),
        _asked(
            "qwen-image-edit",
            "Qwen-Image-Edit",
            r"QwenImageEdit(|Inpaint)Pipeline",
            "QwenImageTransformer2DModel",
            "txt_in",
            Route(("txt_norm", "txt_in"), mask=1, alone=True, picture=1024),
            pipeline="QwenImageEditPipeline",
        ),
        _asked(
            "qwen-image-edit-plus",
            "Qwen-Image-Edit 2509 and 2511",
            r"QwenImageEditPlusPipeline",
            "QwenImageTransformer2DModel",
            "txt_in",
            Route(("txt_norm", "txt_in"), mask=1, alone=True, picture=384),
            pipeline="QwenImageEditPlusPipeline",
        ),
        # Its fusion lets every row hear all others, so that rows before a concept move with it too.
        _asked(
            "krea2",
            "Krea 2",
            r"Krea2Pipeline",
            "Krea2Transformer2DModel",
            r"txt_in\.linear_1",
            Route(("text_fusion", "txt_in"), mask=1, fused=True, beside=r"text_fusion\..+|txt_in\.linear_2\..+"),
        ),
        _asked(
            "chroma",
            "Chroma",
            r"Chroma(|Img2Img|Inpaint)Pipeline",
            "ChromaTransformer2DModel",
            "context_embedder",
            Route(("context_embedder",), mask=2),
        ),
        _asked(
            "lumina2",
            "Lumina 2",
            r"Lumina2(|Text2Img)Pipeline",
            "Lumina2Transformer2DModel",
            r"time_caption_embed\.caption_embedder\.1",
            Route(("time_caption_embed.caption_embedder",), mask=1, beside=r"context_refiner\..+"),
        ),
        _asked(
            "auraflow",
            "AuraFlow",
            r"AuraFlowPipeline",
            "AuraFlowTransformer2DModel",
            "context_embedder",
            Route(("context_embedder",)),
        ),
        _asked(
            "sana",
            "Sana",
            r"Sana(|PAG|Sprint|SprintImg2Img|ControlNet)Pipeline",
            "SanaTransformer2DModel",
            "",
            Route(("caption_projection", "caption_norm"), mask=1, beside=r"caption_projection\..+"),
            readers=_BLOCKS,
        ),
        _asked(
            "pixart",
            "PixArt",
            r"PixArt(Alpha|Sigma|SigmaPAG)Pipeline",
            "PixArtTransformer2DModel",
            "",
            Route(("caption_projection",), mask=1, beside=r"caption_projection\..+"),
            pipeline="PixArtSigmaPipeline",
            readers=_BLOCKS,
        ),
        _asked(
            "longcat",
            "LongCat-Image",
            r"LongCatImagePipeline",
            "LongCatImageTransformer2DModel",
            "context_embedder",
            Route(("context_embedder",)),
            plainly={"enable_prompt_rewrite": False},
        ),
        _asked(
            "ovis",
            "Ovis-Image",
            r"OvisImagePipeline",
            "OvisImageTransformer2DModel",
            "context_embedder",
            Route(("context_embedder_norm", "context_embedder")),
        ),
        _asked(
            "cogview4",
            "CogView4",
            r"CogView4(|Control)Pipeline",
            "CogView4Transformer2DModel",
            r"patch_embed\.text_proj",
            Route(("patch_embed.text_proj",), alone=True),
        ),
        _asked(
            "ernie",
            "ERNIE-Image",
            r"ErnieImagePipeline",
            "ErnieImageTransformer2DModel",
            "text_proj",
            Route(("text_proj",)),
            plainly={"use_pe": False},
        ),
        _asked(
            "hunyuan-image",
            "HunyuanImage 2.1",
            r"HunyuanImagePipeline",
            "HunyuanImageTransformer2DModel",
            "",
            Route(
                ("context_embedder.proj_in",),
                mask=1,
                alone=True,
                pooled="mean",
                beside=r"context_embedder\.(time_text_embed\.text_embedder\.linear_2"
                r"|token_refiner\.refiner_blocks\.0\.attn\.to_(q|k|v|out\.0))\.weight|context_embedder_2\..+",
            ),
            unedited="words in quotation marks are also read by ByT5, to be spelt: that way is not edited",
            readers=(
                Reader(r"context_embedder\.proj_in\.weight", "text", "context"),
                Reader(r"context_embedder\.time_text_embed\.text_embedder\.linear_1\.weight", "pooled", "pooled"),
            ),
        ),
        _asked(
            "kandinsky5",
            "Kandinsky 5",
            r"Kandinsky5T2IPipeline",
            "Kandinsky5Transformer3DModel",
            "",
            Route(("text_embeddings",), alone=True, pooled=1),
            pipeline="Kandinsky5T2IPipeline",
            towers=(Tower("text_encoder", "tokenizer", "asked"), Tower("text_encoder_2", "tokenizer_2", "asked")),
            readers=(
                Reader(r"text_embeddings\.in_layer\.weight", "text", "context"),
                Reader(r"pooled_text_embeddings\.in_layer\.weight", "pooled", "pooled"),
            ),
        ),
        _asked(
            "kolors",
            "Kolors",
            r"Kolors(|Img2Img|Inpaint|PAG|ControlNet|ControlNetImg2Img|ControlNetInpaint)Pipeline",
            "UNet2DConditionModel",
            "",
            Route(
                ("encoder_hid_proj",),
                pooled=2,
                glm=True,
                beside=r".*\.attn2\.to_[kv]\.weight|add_embedding\.linear_2\.weight",
            ),
            pipeline="KolorsPipeline",
            denoiser="unet",
            readers=(
                Reader(r"encoder_hid_proj\.weight", "text", "context"),
                Reader(r"add_embedding\.linear_1\.weight", "pooled", "pooled", leading=True),
            ),
        ),
        _asked(
            "bria",
            "Bria 3",
            r"BriaPipeline",
            "BriaTransformer2DModel",
            "context_embedder",
            Route(("context_embedder",), vae=True),
        ),
        # 48 projections of layers of Llama and one, the last, of T5's rows.
        _asked(
            "hidream",
            "HiDream-I1",
            r"HiDreamImagePipeline",
            "HiDreamImageTransformer2DModel",
            "",
            Route(
                ("caption_projection.0",),
                rows=2,
                pooled=4,
                layers="llama_layers",
                also=Route(("caption_projection.0",), rows=0, tower=1),
                beside=r"p_embedder\.pooled_embedder\.linear_2\.weight",
            ),
            towers=tuple(Tower(f"text_encoder{n}", f"tokenizer{n}", "asked") for n in ("_4", "_3", "", "_2")),
            readers=(
                Reader(r"caption_projection\.(\d+)\.linear\.weight", r"text \1", "context"),
                Reader(r"caption_projection\.0\.linear\.weight", "text", "context"),
                Reader(r"p_embedder\.pooled_embedder\.linear_1\.weight", "pooled", "pooled"),
            ),
        ),
        # Behind this layer each denoiser of Wan 2.2 has keys and values of its own; before it both hear the same rows.
        _asked(
            "wan",
            "Wan",
            r"WanPipeline",
            "WanTransformer3DModel",
            r"condition_embedder\.text_embedder\.linear_1",
            Route(
                ("condition_embedder.text_embedder",),
                beside=r"condition_embedder\.text_embedder\.linear_2\.weight|blocks\.\d+\.attn2\.to_[kv]\.weight",
            ),
            pipeline="WanPipeline",
            plainly={"num_frames": 1, "output_type": "pil"},
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
            match = re.fullmatch(reader.pattern, name)
            if match:
                found[name] = replace(reader, stream=match.expand(reader.stream))
    return found
