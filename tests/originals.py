"""SD3 and FLUX.1 pipelines by the names of their original files, written independently of the package.

The package reads these layouts and never writes them; diffusers' own converter is the judge of what is written here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from concept_edit.models.files.names import vae_name

_BOTH = ("weight", "bias")


def sd3_file(pipeline: Any) -> dict[str, Tensor]:
    """All parts of a Stable Diffusion 3 pipeline as `sd3_medium_incl_clips_t5xxl` names them."""
    state = {f"model.diffusion_model.{name}": value for name, value in _sd3(pipeline.transformer).items()}
    return {name: value.contiguous().clone() for name, value in (state | _texts(pipeline) | _vae(pipeline.vae)).items()}


def flux_file(pipeline: Any) -> dict[str, Tensor]:
    """The parts of a FLUX.1 pipeline that reading the text needs, and the names that mark the layout."""
    own = pipeline.transformer.state_dict()
    state = {f"txt_in.{kind}": own[f"context_embedder.{kind}"] for kind in _BOTH}
    state |= {f"vector_in.in_layer.{kind}": own[f"time_text_embed.text_embedder.linear_1.{kind}"] for kind in _BOTH}
    state |= {
        f"guidance_in.in_layer.{kind}": own[f"time_text_embed.guidance_embedder.linear_1.{kind}"] for kind in _BOTH
    }
    state["double_blocks.0.img_attn.norm.key_norm.scale"] = own["transformer_blocks.0.attn.norm_k.weight"]
    texts = {"clip_l": pipeline.text_encoder, "t5xxl": pipeline.text_encoder_2}
    for name, encoder in texts.items():
        state |= _text(name, encoder)
    return {name: value.contiguous().clone() for name, value in state.items()}


def _texts(pipeline: Any) -> dict[str, Tensor]:
    names = ("clip_l", "clip_g", "t5xxl")
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
    return {k: v for name, encoder in zip(names, encoders, strict=True) for k, v in _text(name, encoder).items()}


def _text(name: str, encoder: Any) -> dict[str, Tensor]:
    wrap = "" if name == "t5xxl" or hasattr(encoder, "text_model") else "text_model."
    own = {key: value for key, value in encoder.state_dict().items() if key != "encoder.embed_tokens.weight"}
    return {f"text_encoders.{name}.transformer.{wrap}{key}": value for key, value in own.items()}


def _vae(vae: Any) -> dict[str, Tensor]:
    levels, found = len(vae.config.up_block_types), {}
    for name, value in vae.state_dict().items():
        ours = vae_name(name, levels)
        found[f"first_stage_model.{ours}"] = (
            value[:, :, None, None] if ".attn_1." in ours and value.ndim == 2 else value
        )
    return found


_SD3_TOP = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
}
_SD3_BLOCK = {
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}


def _sd3(transformer: Any) -> dict[str, Tensor]:
    own, last = transformer.state_dict(), transformer.config.num_layers - 1
    state = {"pos_embed": own["pos_embed.pos_embed"]}
    for kind in _BOTH:
        state |= {f"{theirs}.{kind}": own[f"{ours}.{kind}"] for ours, theirs in _SD3_TOP.items()}
        state[f"final_layer.adaLN_modulation.1.{kind}"] = _swapped(own[f"norm_out.linear.{kind}"])
        for i in range(last + 1):
            state |= _sd3_block(own, i, kind, is_last=i == last)
    return state


def _sd3_block(own: dict[str, Tensor], i: int, kind: str, *, is_last: bool) -> dict[str, Tensor]:
    block, found = f"transformer_blocks.{i}", {}
    for ours, theirs in _SD3_BLOCK.items():
        value = own.get(f"{block}.{ours}.{kind}")
        if value is not None:
            swap = is_last and ours == "norm1_context.linear"
            found[f"joint_blocks.{i}.{theirs}.{kind}"] = _swapped(value) if swap else value
    sides = {"x_block": ("to_q", "to_k", "to_v"), "context_block": ("add_q_proj", "add_k_proj", "add_v_proj")}
    for side, names in sides.items():
        joint = torch.cat([own[f"{block}.attn.{name}.{kind}"] for name in names])
        found[f"joint_blocks.{i}.{side}.attn.qkv.{kind}"] = joint
    return found


def _swapped(value: Tensor) -> Tensor:
    first, second = value.chunk(2)
    return torch.cat([second, first])
