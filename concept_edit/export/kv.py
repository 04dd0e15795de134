"""The partial files UCE and ESD publish: the edited text-side matrices whole, by their diffusers names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from concept_edit.edit import Edit
from concept_edit.export.changes import changes_of
from concept_edit.export.target import check_room, free_file, precision
from concept_edit.files import replace_file
from concept_edit.models.contract import Model
from concept_edit.version import __version__


@dataclass(frozen=True)
class WrittenDump:
    """What was written."""

    path: Path
    matrices: int
    bytes: int


def export_kv(
    edit: Edit,
    model: Model,
    path: str | os.PathLike[str],
    dtype: str = "fp32",
    *,
    strength: float = 1.0,
    force: bool = False,
) -> WrittenDump:
    """Write every text-side matrix of `model`, edited, as `<module path>.weight`: what `load_state_dict` of UCE takes.

    Raises:
        ValueError: a model with another text encoder, or numbers too large for `dtype`.
        OSError: the file exists and `force` was not given, is a folder, or cannot be written.
    """
    from safetensors.torch import save

    edit.refuse_gate("written as matrices")
    kind, target = precision(dtype), free_file(path, force=force)
    edit.check(model)
    changes, tensors = changes_of(edit, model, strength), dict[str, Tensor]()
    for site in model.sites:
        weight = model.matrix(site.name).detach().cpu()
        edited = changes[site.name](weight) if site.name in changes else weight
        tensors[site.name] = edited.to(kind, copy=True)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} is too large for {dtype}; write fp32 or bf16")
    about = {"toolkit": __version__, "recipe": json.loads(edit.recipe.compact()), "model": model.name}
    data = save(tensors, metadata={"format": "pt", "concept_edit": json.dumps(about, ensure_ascii=False)})
    check_room(target, len(data))
    replace_file(target, data)
    return WrittenDump(target, len(tensors), len(data))
