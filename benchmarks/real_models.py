"""Stable Diffusion 1.5 and SDXL in their true shapes with random weights, as files and folders on disk.

Text encoders and text-side matrices hold random numbers of the size that trained ones have. Everything else, which no
edit reads, is a hole in the file: it takes no room on the disk and reads as zeros.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concept_edit.models.families import FAMILIES, readers_of
from concept_edit.models.files.layouts import LAYOUTS
from concept_edit.models.files.names import UNET_PREFIX, original_name, unet_name
from concept_edit.models.files.original import encoder_state
from concept_edit.models.files.tokenizers import clip_tokenizer

_NAMES = {torch.float16: "F16", torch.float32: "F32"}


@dataclass(frozen=True)
class Clip:
    """A published CLIP text encoder's sizes."""

    width: int
    layers: int
    heads: int
    act: str = "quick_gelu"
    pad: str = "<|endoftext|>"
    projection: bool = False


CLIP_L = Clip(768, 12, 12)
CLIP_G = Clip(1280, 32, 20, "gelu", "!", projection=True)
CLIPS = {"sd1": {"text_encoder": CLIP_L}, "sdxl": {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G}}


def clip(size: Clip, dtype: torch.dtype) -> Any:
    """A CLIP text encoder of this size, drawn from one seed."""
    import transformers

    tokenizer = clip_tokenizer(pad_token=size.pad)
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=size.width, intermediate_size=4 * size.width,
        projection_dim=size.width, num_hidden_layers=size.layers, num_attention_heads=size.heads,
        hidden_act=size.act, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(size.width)
    kind = transformers.CLIPTextModelWithProjection if size.projection else transformers.CLIPTextModel
    return kind(config).to(dtype).eval()


def denoiser_shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the family's UNet."""
    import diffusers
    from accelerate import init_empty_weights

    config = json.loads((files("concept_edit") / "families" / family / "unet" / "config.json").read_text("utf-8"))
    with init_empty_weights():
        unet = diffusers.UNet2DConditionModel.from_config(config)
    return {name: tuple(value.shape) for name, value in unet.state_dict().items()}


def write_sparse(
    path: Path, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Tensor], kind: torch.dtype
) -> None:
    """A safetensors file with the tensors of `given`; the others of `shapes` are holes."""
    table, offset = {}, 0
    for name, shape in shapes.items():
        size = kind.itemsize * torch.Size(shape).numel()
        table[name] = {"dtype": _NAMES[kind], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    head = json.dumps(table, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name, value in given.items():
            file.seek(8 + len(head) + table[name]["data_offsets"][0])
            file.write(value.to(kind).contiguous().reshape(-1).view(torch.uint8).numpy().data)
        file.truncate(8 + len(head) + offset)


def matrices(family: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The matrices that read text, as long as trained ones."""
    draw = torch.Generator().manual_seed(0)
    names = readers_of(FAMILIES[family], shapes)
    return {name: torch.randn(shapes[name], generator=draw) / shapes[name][1] ** 0.5 for name in names}


def write_folder(family: str, folder: Path, kind: torch.dtype = torch.float16) -> Path:
    """A diffusers folder."""
    row, shipped = FAMILIES[family], files("concept_edit") / "families" / family
    shapes = denoiser_shapes(family)
    for part in ("unet", "vae", "scheduler"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for given in (shipped / part).iterdir():
            (folder / part / given.name).write_bytes(given.read_bytes())
    (folder / "model_index.json").write_bytes((shipped / "model_index.json").read_bytes())
    write_sparse(folder / "unet" / "diffusion_pytorch_model.safetensors", shapes, matrices(family, shapes), kind)
    for spec in row.towers:
        size = CLIPS[family][spec.encoder]
        clip(size, kind).save_pretrained(folder / spec.encoder)
        clip_tokenizer(pad_token=size.pad).save_pretrained(folder / spec.tokenizer)
    return folder


def write_file(family: str, path: Path, kind: torch.dtype = torch.float16) -> Path:
    """A single file in the original layout, without the autoencoder."""
    layout = next(row for row in LAYOUTS if row.family == family)
    shapes = denoiser_shapes(family)
    with_attention = {
        int(name.split(".")[1]) for name in shapes if name.startswith("up_blocks") and ".attentions." in name
    }
    named = {UNET_PREFIX + unet_name(name, 2, with_attention): shape for name, shape in shapes.items()}
    given = {UNET_PREFIX + original_name(n, "unet", 2): value for n, value in matrices(family, shapes).items()}
    for spec in FAMILIES[family].towers:
        given |= encoder_state(clip(CLIPS[family][spec.encoder], kind), layout.towers[spec.encoder])
    named |= {name: tuple(value.shape) for name, value in given.items()}
    write_sparse(path, named, given, kind)
    return path
