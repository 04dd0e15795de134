"""How large the files of an edit will be, told before they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from concept_edit.edit import Edit
from concept_edit.models.contract import Model


@dataclass(frozen=True)
class Sizes:
    """Bytes of each file, without the few kB of its header."""

    lora: int
    """In half precision, at the edit's own rank; a file of smaller exact rank is smaller."""
    kv: int
    """All text-side matrices in float32."""
    checkpoint: int
    """The whole model as one file."""
    edit: int


def expected_sizes(edit: Edit, model: Model) -> Sizes:
    """What each export of `edit` for `model` will take, from shapes alone; nothing is written.

    Raises:
        ValueError: a model with another text encoder.
    """
    edit.check(model)
    shapes = [(model.shapes[site.name], edit.rank(site.stream)) for site in edit.sites(model)]
    return Sizes(
        lora=sum(2 * min(rank, *shape) * (shape[0] + shape[1]) for shape, rank in shapes),
        kv=sum(4 * rows * columns for rows, columns in model.shapes.values()),
        checkpoint=_checkpoint(model),
        edit=sum(4 * (f.left.numel() + f.right.numel()) for f in edit.factors.values()),
    )


def _checkpoint(model: Any) -> int:
    """The file a model was opened from is patched at its own size; else every weight counts as it lies in memory."""
    origin = getattr(model, "origin", None)
    if origin is not None and origin.path.is_file():
        return int(origin.path.stat().st_size)
    parts = [part for part in model.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return sum(p.numel() * p.element_size() for part in parts for p in part.state_dict().values())
