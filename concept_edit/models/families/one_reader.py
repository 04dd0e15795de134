"""Rows of families in which one linear layer reads the prompt."""

from __future__ import annotations

from typing import Any

from concept_edit.models.families.asked import asked, reader
from concept_edit.models.families.row import Family, Route, Tower


def _context(name: str, title: str, classes: str, denoiser_class: str, *norms: str, **more: Any) -> Family:
    """A row whose rows pass `context_embedder`, and `norms` before it."""
    told = {key: more.pop(key) for key in ("mask", "vae") if key in more}
    route = Route((*norms, "context_embedder"), **told)
    return asked(name, title, classes, denoiser_class, route, readers=(reader("context_embedder"),), **more)


def _qwen(name: str, title: str, stem: str, kinds: str = "", **beside: Any) -> Family:
    """A row of the Qwen-Image denoiser. `beside`: how prompts are asked for where a picture stands beside them."""
    return asked(
        name,
        title,
        f"{stem}{kinds}",
        "QwenImageTransformer2DModel",
        Route(("txt_norm", "txt_in"), mask=1, **beside),
        pipeline=f"{stem}Pipeline",
        readers=(reader("txt_in"),),
    )


ROWS = (
    asked(
        "zimage",
        "Z-Image",
        "ZImage(|Img2Img|Inpaint|ControlNet|ControlNetInpaint)",
        "ZImageTransformer2DModel",
        Route(("cap_embedder",), beside=r"context_refiner\..+"),
        readers=(reader(r"cap_embedder\.1"),),
    ),
    _context("flux2", "FLUX.2", "Flux2", "Flux2Transformer2DModel", negative_prompt=False),
    _context(
        "flux2-klein",
        "FLUX.2 klein",
        "Flux2Klein(|Inpaint|KV)",
        "Flux2Transformer2DModel",
        pipeline="Flux2KleinPipeline",
        negative_prompt=False,
    ),
    _qwen("qwen-image", "Qwen-Image", "QwenImage", "(|Img2Img|Inpaint|ControlNet|ControlNetInpaint)"),
    _qwen("qwen-image-edit", "Qwen-Image-Edit", "QwenImageEdit", "(|Inpaint)", alone=True, picture=1024),
    _qwen("qwen-image-edit-plus", "Qwen-Image-Edit 2509 and 2511", "QwenImageEditPlus", alone=True, picture=384),
    asked(
        "qwen-image-2.1",
        "Qwen-Image 2.1",
        "QwenImage21",
        "QwenImage21Transformer2DModel",
        Route(("txt_in",), mask=1, beside=r"txt_in\.out_layer\.weight"),
        towers=(Tower("text_encoder", "processor", "asked"),),
        readers=(reader(r"txt_in\.in_layer"),),
    ),
    # Its fusion lets every row hear all others, so that rows before a concept move with it too.
    asked(
        "krea2",
        "Krea 2",
        "Krea2",
        "Krea2Transformer2DModel",
        Route(("text_fusion", "txt_in"), mask=1, fused=True, beside=r"text_fusion\..+|txt_in\.linear_2\..+"),
        readers=(reader(r"txt_in\.linear_1"),),
    ),
    _context("chroma", "Chroma", "Chroma(|Img2Img|Inpaint)", "ChromaTransformer2DModel", mask=2),
    asked(
        "lumina2",
        "Lumina 2",
        "Lumina2(|Text2Img)",
        "Lumina2Transformer2DModel",
        Route(("time_caption_embed.caption_embedder",), mask=1, beside=r"context_refiner\..+"),
        readers=(reader(r"time_caption_embed\.caption_embedder\.1"),),
    ),
    _context("auraflow", "AuraFlow", "AuraFlow", "AuraFlowTransformer2DModel"),
    _context(
        "longcat",
        "LongCat-Image",
        "LongCatImage",
        "LongCatImageTransformer2DModel",
        plainly={"enable_prompt_rewrite": False},
    ),
    _context("ovis", "Ovis-Image", "OvisImage", "OvisImageTransformer2DModel", "context_embedder_norm"),
    asked(
        "cogview4",
        "CogView4",
        "CogView4(|Control)",
        "CogView4Transformer2DModel",
        Route(("patch_embed.text_proj",), alone=True),
        readers=(reader(r"patch_embed\.text_proj"),),
    ),
    asked(
        "ernie",
        "ERNIE-Image",
        "ErnieImage",
        "ErnieImageTransformer2DModel",
        Route(("text_proj",)),
        plainly={"use_pe": False},
        readers=(reader("text_proj"),),
    ),
    # The rows of 13 layers, interleaved. The transformer beside it, for guidance, is given no words.
    asked(
        "ideogram4",
        "Ideogram 4",
        "Ideogram4",
        "Ideogram4Transformer2DModel",
        Route(
            ("llm_cond_norm", "llm_cond_proj"),
            mask=3,
            alone=True,
            walked=True,
            given={"grid_h": 0, "grid_w": 0, "max_sequence_length": 512},
        ),
        negative_prompt=False,
        plainly={"guidance_schedule": None, "guidance_scale": 7.0},
        readers=(reader("llm_cond_proj"),),
    ),
    _context("bria", "Bria 3", "Bria", "BriaTransformer2DModel", vae=True),
    # Behind this layer each denoiser of Wan 2.2 has keys and values of its own; before it both hear the same rows.
    asked(
        "wan",
        "Wan",
        "Wan",
        "WanTransformer3DModel",
        Route(
            ("condition_embedder.text_embedder",),
            beside=r"condition_embedder\.text_embedder\.linear_2\.weight|blocks\.\d+\.attn2\.to_[kv]\.weight",
        ),
        pipeline="WanPipeline",
        plainly={"num_frames": 1, "output_type": "pil"},
        readers=(reader(r"condition_embedder\.text_embedder\.linear_1"),),
    ),
)
