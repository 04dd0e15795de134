"""Rewritten facts for other programs: a PEFT adapter, or the whole model with the facts in it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from concept_edit.export.target import free_folder
from concept_edit.files import replace_file
from concept_edit.language.edit import FactEdit
from concept_edit.language.encoder import TextEncoder
from concept_edit.language.model import LanguageModel
from concept_edit.unfinished import part_name


@dataclass(frozen=True)
class WrittenFacts:
    """What was written."""

    path: Path
    matrices: tuple[str, ...]
    rank: int
    """Largest rank among the matrices."""
    bytes: int


def export_adapter(
    edit: FactEdit, lm: LanguageModel, folder: str | os.PathLike[str], *, strength: float = 1.0
) -> WrittenFacts:
    """A folder that `peft.PeftModel.from_pretrained(model, folder)` loads: the same change of the same matrices.

    Factors are stored in float32 and scaled by 1 (lora_alpha is the rank), so nothing is lost.

    Raises:
        ValueError: another model, or an edit that changes nothing.
        OSError: the folder holds files already.
    """
    from safetensors.torch import save

    edit.check(lm)
    if not any(factors.rank for factors in edit.factors.values()):
        raise ValueError("the edit changes nothing; there is no adapter to write")
    target = free_folder(folder)
    tensors, ranks = {}, {}
    for name, (left, right) in edit.factors.items():
        module = name.removesuffix(".weight")
        ranks[module] = left.shape[1]
        tensors[f"base_model.model.{module}.lora_A.weight"] = right.contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = (strength * left).contiguous()
    target.mkdir(exist_ok=True)
    data = save(tensors, metadata={"format": "pt"})
    replace_file(target / "adapter_model.safetensors", data)
    replace_file(target / "adapter_config.json", json.dumps(_config(lm, ranks), indent=1).encode())
    return WrittenFacts(target, tuple(edit.factors), max(ranks.values()), len(data))


def export_language_model(
    edit: FactEdit, lm: LanguageModel, folder: str | os.PathLike[str], *, strength: float = 1.0
) -> WrittenFacts:
    """The edited model and its tokenizer as a folder that transformers reads; it is whole or not there.

    Raises:
        ValueError: another model.
        OSError: the folder holds files already, or the disk is full.
    """
    target, model = free_folder(folder), _saver(lm)
    part = part_name(target)
    try:
        with edit.applied(lm, strength):
            model.save_pretrained(part)
        lm.tokenizer.save_pretrained(part)
        if target.is_dir():
            target.rmdir()
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    size = sum(file.stat().st_size for file in target.iterdir())
    rank = max((factors.rank for factors in edit.factors.values()), default=0)
    return WrittenFacts(target, tuple(edit.factors), rank, size)


def _saver(lm: LanguageModel) -> Any:
    if not hasattr(lm.model, "save_pretrained"):
        raise ValueError(f"{type(lm.model).__name__} is no model of transformers and cannot be saved as a folder")
    return lm.model


def _config(lm: LanguageModel, ranks: dict[str, int]) -> dict[str, Any]:
    """PEFT's own keys. Each matrix is named in full; `rank_pattern` speaks where ranks differ."""
    rank = max(ranks.values())
    other = {module: own for module, own in ranks.items() if own != rank}
    transposed = any(not isinstance(lm.module(module), torch.nn.Linear) for module in ranks)
    return {
        "peft_type": "LORA",
        "task_type": None if isinstance(lm, TextEncoder) else "CAUSAL_LM",
        "base_model_name_or_path": lm.name,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": other,
        "alpha_pattern": other,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "target_modules": sorted(ranks),
    }
