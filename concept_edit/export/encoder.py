"""A text encoder's new meanings for other programs: a LoRA of the encoder, that A1111, ComfyUI and diffusers load.

    export_encoder_lora(edit, encoder, "a.safetensors")                 # kohya: lora_te_text_model_encoder_layers_...
    export_encoder_lora(edit, encoder, "b.safetensors", "diffusers")    # text_encoder.text_model....lora_linear_layer

diffusers 0.42 reads PEFT's own names (lora_A) of a text encoder for attention alone, so its own names are written.
The edited encoder as a folder is `export_language_model`, its PEFT adapter `export_adapter`. Either serves every
denoiser that reads the encoder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import torch

from concept_edit.export.adapter import WrittenFacts
from concept_edit.export.target import free_file, precision
from concept_edit.files import replace_file
from concept_edit.language.edit import FactEdit
from concept_edit.language.encoder import TextEncoder
from concept_edit.version import __version__


def export_encoder_lora(
    edit: FactEdit,
    encoder: TextEncoder,
    path: str | os.PathLike[str],
    naming: Literal["kohya", "diffusers"] = "kohya",
    dtype: str = "fp32",
    *,
    strength: float = 1.0,
    force: bool = False,
) -> WrittenFacts:
    """Write the edit's factors as a LoRA file; all matrices are padded to one rank, and alpha is that rank.

    Raises:
        ValueError: another model, an edit that changes nothing, an unknown naming, or numbers too large for `dtype`.
        OSError: the file exists and `force` was not given, or it cannot be written.
    """
    from safetensors.torch import save

    if naming not in ("kohya", "diffusers"):
        raise ValueError(f"{naming!r} is no naming of a text encoder's LoRA; expected kohya or diffusers")
    edit.check(encoder)
    rank, kind = max((factors.rank for factors in edit.factors.values()), default=0), precision(dtype)
    if not rank:
        raise ValueError("the edit changes nothing; there is no LoRA to write")
    target, tensors = free_file(path, force=force), dict[str, torch.Tensor]()
    for name, (left, right) in edit.factors.items():
        up = torch.zeros(left.shape[0], rank).index_copy(1, torch.arange(left.shape[1]), strength * left).to(kind)
        down = torch.zeros(rank, right.shape[1]).index_copy(0, torch.arange(right.shape[0]), right).to(kind)
        if not bool(up.isfinite().all() & down.isfinite().all()):
            raise ValueError(f"the change of {name} is too large for {dtype}; write fp32 or bf16")
        key = lora_key(encoder, name, naming)
        both = ("lora_up", "lora_down") if naming == "kohya" else ("lora_linear_layer.up", "lora_linear_layer.down")
        tensors |= {f"{key}.{both[0]}.weight": up, f"{key}.{both[1]}.weight": down}
        tensors |= {f"{key}.alpha": torch.tensor(float(rank))} if naming == "kohya" else {}
    about = {"ss_network_module": "networks.lora", "ss_network_dim": str(rank), "ss_network_alpha": str(rank)}
    ours = {"toolkit": __version__, "facts": list(edit.concepts), "method": edit.method, "layers": list(edit.layers)}
    data = save(tensors, metadata=about | {"concept_edit": json.dumps(ours, ensure_ascii=False)})
    replace_file(target, data)
    return WrittenFacts(Path(target), tuple(edit.factors), rank, len(data))


def lora_key(encoder: TextEncoder, name: str, naming: str) -> str:
    """What a LoRA file calls the encoder's matrix `name`: with `text_model.`, which transformers 5 leaves out."""
    path = "text_model." + name.removesuffix(".weight").removeprefix("text_model.")
    if naming == "diffusers":
        return f"text_encoder{f'_{encoder.tower + 1}' if encoder.tower else ''}.{path}"
    number = encoder.tower + 1 if encoder.towers > 1 else ""
    return f"lora_te{number}_{path.replace('.', '_')}"
