"""What the text-side matrices are called in the original checkpoint layouts (LDM, SGM, SD3, Flux), both ways.

A UNet level of the original code counts `layers` residual blocks and one sampler; diffusers counts blocks by level:
`down_blocks.i.attentions.j` is `input_blocks.(1 + (layers + 1) i + j).1`, `mid_block.attentions.0` is `middle_block.1`
and `up_blocks.i.attentions.j` is `output_blocks.((layers + 1) i + j).1`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

UNET_PREFIX = "model.diffusion_model."

_PLAIN = {
    "unet": {"add_embedding.linear_1.": "label_emb.0.0."},
    "sd3": {"context_embedder.": "context_embedder.", "time_text_embed.text_embedder.linear_1.": "y_embedder.mlp.0."},
    "flux": {"context_embedder.": "txt_in.", "time_text_embed.text_embedder.linear_1.": "vector_in.in_layer."},
}


def original_name(name: str, naming: str, layers: int = 2) -> str:
    """The original name, without prefix, of a text-side matrix of the denoiser. `naming`: `unet`, `sd3` or `flux`.

    >>> original_name("down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k.weight", "unet")
    'input_blocks.8.1.transformer_blocks.0.attn2.to_k.weight'
    """
    for ours, theirs in _PLAIN[naming].items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    if naming != "unet":
        raise ValueError(f"{name} has no name in the {naming} layout.")
    return _attention_to_original(name, layers + 1)


def _attention_to_original(name: str, span: int) -> str:
    if name.startswith("mid_block.attentions.0."):
        return "middle_block.1." + name.removeprefix("mid_block.attentions.0.")
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.(.+)", name)
    if match is None:
        raise ValueError(f"{name} is no attention block of a UNet.")
    side, level, index, rest = match[1], int(match[2]), int(match[3]), match[4]
    if side == "down":
        return f"input_blocks.{1 + span * level + index}.1.{rest}"
    return f"output_blocks.{span * level + index}.1.{rest}"


def diffusers_name(name: str, naming: str, layers: int = 2) -> str | None:
    """The diffusers name of a tensor of the original layout (given without prefix); None when it reads no text."""
    for ours, theirs in _PLAIN[naming].items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return _attention_to_diffusers(name, layers + 1) if naming == "unet" and ".attn2." in name else None


def _attention_to_diffusers(name: str, span: int) -> str | None:
    if name.startswith("middle_block.1."):
        return "mid_block.attentions.0." + name.removeprefix("middle_block.1.")
    match = re.fullmatch(r"(input|output)_blocks\.(\d+)\.1\.(.+)", name)
    if match is None:
        return None
    number = int(match[2]) - (match[1] == "input")
    side = "down" if match[1] == "input" else "up"
    return f"{side}_blocks.{number // span}.attentions.{number % span}.{match[3]}"


def layers_per_level(names: Iterable[str]) -> int:
    """Residual blocks a level of an original-layout UNet has: its first downsampler closes the first level."""
    numbers = [int(match[1]) for name in names if (match := re.search(r"input_blocks\.(\d+)\.0\.op\.", name))]
    return min(numbers) - 1 if numbers else 2


_UNET_TOP = (
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
    (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
)
_RESNET = (
    (r"\.norm1\.", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.norm2\.", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.conv_shortcut\.", ".skip_connection."),
)
_VAE = (
    (r"\.resnets\.", ".block."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.downsamplers\.0\.", ".downsample."),
    (r"\.upsamplers\.0\.", ".upsample."),
    (r"\.down_blocks\.", ".down."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".proj_out."),
    (r"\.conv_norm_out\.", ".norm_out."),
)


def unet_name(name: str, layers: int, with_attention: Collection[int]) -> str:
    """The LDM / SGM name, without prefix, of any UNet tensor. `with_attention`: up levels that have attention."""
    for pattern, theirs in _UNET_TOP:
        name = re.sub(pattern, theirs, name)
    if ".attentions." in name:
        return original_name(name, "unet", layers)
    blocks, kinds = r"down_blocks\.\d+|mid_block|up_blocks\.\d+", "resnets|downsamplers|upsamplers"
    match = re.fullmatch(rf"({blocks})\.({kinds})\.(\d+)\.(.+)", name)
    if match is None:
        return name
    block, kind, index, rest = match[1], match[2], int(match[3]), match[4]
    place = _unet_place(block, kind, index, layers + 1, with_attention)
    if kind == "downsamplers":
        return f"{place}.{rest.replace('conv.', 'op.')}"
    for pattern, theirs in _RESNET:
        rest = re.sub(pattern, theirs, f".{rest}")[1:]
    return f"{place}.{rest}"


def _unet_place(block: str, kind: str, index: int, span: int, with_attention: Collection[int]) -> str:
    if block == "mid_block":
        return f"middle_block.{2 * index}"
    side, level = block.split(".")[0], int(block.split(".")[1])
    if kind == "downsamplers":
        return f"input_blocks.{span * (level + 1)}.0"
    if kind == "upsamplers":
        return f"output_blocks.{span * level + span - 1}.{2 if level in with_attention else 1}"
    if side == "down_blocks":
        return f"input_blocks.{1 + span * level + index}.0"
    return f"output_blocks.{span * level + index}.0"


def vae_name(name: str, levels: int) -> str:
    """The LDM name, without prefix, of any autoencoder tensor; `levels` is its number of up levels."""
    for pattern, theirs in _VAE:
        name = re.sub(pattern, theirs, name)
    name = re.sub(r"\.mid_block\.block\.(\d+)", lambda m: f".mid.block_{int(m[1]) + 1}", name)
    return re.sub(r"\.up_blocks\.(\d+)", lambda m: f".up.{levels - 1 - int(m[1])}", name)
