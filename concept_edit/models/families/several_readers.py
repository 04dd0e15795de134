"""Rows of families in which several layers read the prompt: every block, a pooled vector too, or a layer of the
encoder each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from concept_edit.models.families.asked import asked, reader, tower
from concept_edit.models.families.row import Route

_LAYERS = (reader(r"caption_projection\.(\d+)\.linear", r"text \1"), reader(r"caption_projection\.0\.linear"))
_BLOCKS = tuple(reader(rf"transformer_blocks\.\d+\.attn2\.to_{role}", role=role) for role in "kv")


def _of_every_block(config: Mapping[str, Any], states: int) -> list[int]:
    """Which of the encoder's states each block of FIBO reads: the last ones in turn, and where it has more blocks than
    there are states, the last one again."""
    blocks = config["num_layers"] + config["num_single_layers"]
    return [min(max(states - blocks, 0) + block, states - 1) for block in range(blocks)]


ROWS = (
    asked(
        "sana",
        "Sana",
        "Sana(|PAG|Sprint|SprintImg2Img|ControlNet)",
        "SanaTransformer2DModel",
        Route(("caption_projection", "caption_norm"), mask=1, beside=r"caption_projection\..+"),
        readers=_BLOCKS,
    ),
    asked(
        "pixart",
        "PixArt",
        "PixArt(Alpha|Sigma|SigmaPAG)",
        "PixArtTransformer2DModel",
        Route(("caption_projection",), mask=1, beside=r"caption_projection\..+"),
        pipeline="PixArtSigmaPipeline",
        readers=_BLOCKS,
    ),
    asked(
        "hunyuan-image",
        "HunyuanImage 2.1",
        "HunyuanImage",
        "HunyuanImageTransformer2DModel",
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
            reader(r"context_embedder\.proj_in"),
            reader(r"context_embedder\.time_text_embed\.text_embedder\.linear_1", "pooled", "pooled"),
        ),
    ),
    asked(
        "kandinsky5",
        "Kandinsky 5",
        "Kandinsky5T2I",
        "Kandinsky5Transformer3DModel",
        Route(("text_embeddings",), alone=True, pooled=1),
        pipeline="Kandinsky5T2IPipeline",
        towers=(tower(), tower("_2")),
        readers=(
            reader(r"text_embeddings\.in_layer"),
            reader(r"pooled_text_embeddings\.in_layer", "pooled", "pooled"),
        ),
    ),
    asked(
        "kolors",
        "Kolors",
        "Kolors(|Img2Img|Inpaint|PAG|ControlNet|ControlNetImg2Img|ControlNetInpaint)",
        "UNet2DConditionModel",
        Route(
            ("encoder_hid_proj",),
            pooled=2,
            glm=True,
            beside=r".*\.attn2\.to_[kv]\.weight|add_embedding\.linear_2\.weight",
        ),
        pipeline="KolorsPipeline",
        denoiser="unet",
        readers=(
            reader("encoder_hid_proj"),
            reader(r"add_embedding\.linear_1", "pooled", "pooled", leading=True),
        ),
    ),
    # 48 projections of layers of Llama and one, the last, of T5's rows.
    asked(
        "hidream",
        "HiDream-I1",
        "HiDreamImage",
        "HiDreamImageTransformer2DModel",
        Route(
            ("caption_projection.0",),
            rows=2,
            pooled=4,
            layers=lambda config, _: config["llama_layers"],
            also=Route(("caption_projection.0",), rows=0, tower=1),
            beside=r"p_embedder\.pooled_embedder\.linear_2\.weight",
        ),
        towers=tuple(tower(number) for number in ("_4", "_3", "", "_2")),
        readers=(
            *_LAYERS,
            reader(r"p_embedder\.pooled_embedder\.linear_1", "pooled", "pooled"),
        ),
    ),
    # A projection for every block, and one of the last two layers joined.
    asked(
        "fibo",
        "FIBO",
        "BriaFibo",
        "BriaFiboTransformer2DModel",
        Route(
            ("caption_projection.0",),
            rows=5,
            mask=3,
            alone=True,
            layers=_of_every_block,
            given={"guidance_scale": 1.0},
            also=Route(("context_embedder",), mask=3, stream="joined"),
        ),
        readers=(*_LAYERS, reader("context_embedder", "joined")),
    ),
)
