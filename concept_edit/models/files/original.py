"""A pipeline's tensors by the names of the original single-file layout (LDM for SD 1.x and 2.x, SGM for SDXL)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from concept_edit.models.families import Family
from concept_edit.models.files.layouts import LAYOUTS, Stored
from concept_edit.models.files.names import UNET_PREFIX, unet_name, vae_name

_TO_OPENCLIP = (
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"^final_layer_norm\.", "ln_final."),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^embeddings\.token_embedding\.", "token_embedding."),
)


def original_state(pipeline: Any, family: Family) -> dict[str, Tensor]:
    """Every tensor of a UNet pipeline by its original name; nothing is copied but reshaped parts of the encoders.

    Raises ValueError for SD3 and FLUX.1, whose blocks the original code stores fused.
    """
    layout = next(row for row in LAYOUTS if row.family == family.name)
    if layout.naming != "unet":
        raise ValueError(f"{family.title} is written as a diffusers folder; give a folder name instead of a file.")
    state = dict(_unet(pipeline.unet)) | dict(_vae(pipeline.vae))
    for spec in family.towers:
        state |= encoder_state(getattr(pipeline, spec.encoder), layout.towers[spec.encoder])
    return {name: value.detach().contiguous() for name, value in state.items()}


def _unet(unet: Any) -> Iterator[tuple[str, Tensor]]:
    state, layers = unet.state_dict(), unet.config.layers_per_block
    if not isinstance(layers, int):
        raise ValueError("This UNet has levels of different depth, which the original layout cannot name.")
    with_attention = {int(m[1]) for name in state if (m := re.match(r"up_blocks\.(\d+)\.attentions\.", name))}
    for name, value in state.items():
        yield UNET_PREFIX + unet_name(name, layers, with_attention), value


def _vae(vae: Any) -> Iterator[tuple[str, Tensor]]:
    levels = len(vae.config.up_block_types)
    for name, value in vae.state_dict().items():
        ours = vae_name(name, levels)
        is_matrix = ".attn_1." in ours and value.ndim == 2
        yield f"first_stage_model.{ours}", value[:, :, None, None] if is_matrix else value


def encoder_state(encoder: Any, stored: Stored) -> dict[str, Tensor]:
    """A text encoder's tensors by their original names."""
    state = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
    prefix = stored.prefixes[0]
    if stored.form == "hf":
        return {f"{prefix}text_model.{name}": value for name, value in state.items()}
    return {prefix + name: value for name, value in _openclip(state).items()}


def _openclip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        part = re.fullmatch(r"(encoder\.layers\.\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name)
        if name == "text_projection.weight":
            found["text_projection"] = value.T
        elif part is None:
            found[_renamed(name)] = value
        elif part[2] == "q":
            pieces = [state[f"{part[1]}.self_attn.{letter}_proj.{part[3]}"] for letter in "qkv"]
            found[f"{_renamed(part[1] + '.')}attn.in_proj_{part[3]}"] = torch.cat(pieces)
    return found


def _renamed(name: str) -> str:
    for pattern, theirs in _TO_OPENCLIP:
        name = re.sub(pattern, theirs, name)
    return name
