"""Which programs load a LoRA of a family, and under which names: one row a family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WEB = ("A1111", "Forge", "ComfyUI", "InvokeAI", "SD.Next", "diffusers")

_BY_HAND = "diffusers (transformer.load_lora_adapter)"


@dataclass(frozen=True)
class Names:
    """How a transformer's LoRA is named. `transformer.<path in diffusers>` is read by all that are listed in `same`."""

    same: tuple[str, ...] = ("diffusers", "ComfyUI")
    native: Mapping[str, str] = field(default_factory=dict)
    """Beginning of a path in diffusers -> in the original code: the names of a second file, for ComfyUI."""


NAMES: dict[str, Names] = {
    "lumina2": Names(("diffusers",), {"time_caption_embed.caption_embedder.": "cap_embedder."}),
    "wan": Names(("diffusers",), {"condition_embedder.text_embedder.linear_1": "text_embedding.0"}),
    "ideogram4": Names(("diffusers",), {"llm_cond_proj": "llm_cond_proj"}),
    "pixart": Names(("ComfyUI",)),
    **dict.fromkeys(("sana", "cogview4", "kandinsky5", "kolors", "fibo", "qwen-image-2.1"), Names(("diffusers",))),
    **dict.fromkeys(("longcat", "ovis", "hunyuan-image", "bria"), Names((_BY_HAND,))),
}
"""Families that differ from `Names()`: some pipelines of diffusers have no loader, ComfyUI's table lacks others."""


def native_path(family: str, path: str) -> str | None:
    """What ComfyUI calls a layer where it does not take diffusers' name; None where it does."""
    for ours, theirs in NAMES.get(family, Names()).native.items():
        if path.startswith(ours):
            return theirs + path.removeprefix(ours)
    return None


def loads(family: str, naming: str, *, kohya: bool) -> tuple[str, ...]:
    """The programs that load a file of this family and naming."""
    if kohya:
        return ("diffusers",) if naming == "peft" else WEB
    names = NAMES.get(family, Names())
    return ("ComfyUI",) if names.native and naming == "comfy" else names.same
