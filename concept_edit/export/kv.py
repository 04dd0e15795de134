"""The partial files UCE and ESD publish: the edited text-side matrices whole, by their diffusers names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from concept_edit.edit import Edit
from concept_edit.export.changes import changes_of
from concept_edit.export.raw import write_one_by_one
from concept_edit.export.target import check_room, free_file, precision
from concept_edit.models.contract import Model
from concept_edit.unfinished import part_name, sweep
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
    edit.refuse_gate("written as matrices")
    kind, target = precision(dtype), free_file(path, force=force)
    edit.check(model)
    changes = changes_of(edit, model, strength)

    def edited(name: str) -> Tensor:
        weight = model.matrix(name).detach().cpu()
        new = (changes[name](weight) if name in changes else weight).to(kind)
        if not bool(new.isfinite().all()):
            raise ValueError(f"{name} is too large for {dtype}; write fp32 or bf16")
        return new

    about = {"toolkit": __version__, "recipe": json.loads(edit.recipe.compact()), "model": model.name}
    metadata = {"format": "pt", "concept_edit": json.dumps(about, ensure_ascii=False)}
    shapes = {name: model.shapes[name] for name in sorted(site.name for site in model.sites)}
    check_room(target, sum(kind.itemsize * rows * columns for rows, columns in shapes.values()))
    part = part_name(target)
    sweep(target.parent)
    try:
        write_one_by_one(part, shapes, kind, edited, metadata)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return WrittenDump(target, len(shapes), target.stat().st_size)
