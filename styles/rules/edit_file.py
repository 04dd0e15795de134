"""The file of a rewritten rule: what it may hold, and reading it whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from torch import Tensor

from styles.checkpoints.checkpoint import is_safetensors
from styles.reading import checked, parse_json, sentence

FORMAT = "styles.rule-edit/1"
MOST_BYTES = 256 << 20
"""Largest file that is read: rank 4,096 of a 512-channel convolution takes 84 MB."""
MOST_RANK = 4096
_PARTS = {"left", "right"}


class RuleFile(BaseModel):
    """What the header tells beside the tensors."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    layer: Annotated[str, Field(max_length=100)]
    generator: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    note: Annotated[str, Field(max_length=10_000)] = ""
    measured: Annotated[dict[str, float], Field(max_length=1000)] = {}


def read_rule(path: str | os.PathLike[str]) -> tuple[RuleFile, Tensor, Tensor]:
    """The header of a rule's file and its factors, looked at before they are read.

    Raises:
        ValueError: too large, another file, tensors of other names, types or shapes, numbers that are none.
        OSError: there is no such file.
    """
    source = Path(path)
    name = source.name
    if source.stat().st_size > MOST_BYTES:
        raise ValueError(f"{name} is larger than {MOST_BYTES >> 20} MB, which no rule is; it was not read.")
    if not is_safetensors(source):
        raise ValueError(f"{name} is no rule: expected a .safetensors file of format {FORMAT!r}.")
    try:
        with safe_open(source, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"{name} is no rule: expected a file of format {FORMAT!r}.")
            told = checked(RuleFile, parse_json(metadata.get("rule", ""), f"{name}'s header"), f"{name} is no rule")
            if set(file.keys()) != _PARTS:
                raise ValueError(f"{name} is no whole rule: it must hold the tensors left and right alone.")
            slices = {part: file.get_slice(part) for part in _PARTS}
            shapes = {part: tuple(found.get_shape()) for part, found in slices.items()}
            plain = all(found.get_dtype() == "F32" for found in slices.values())
            if not plain or not _fit(shapes["left"], shapes["right"]):
                raise ValueError(f"{name} is no whole rule: its factors do not fit together.")
            left, right = file.get_tensor("left"), file.get_tensor("right")
    except SafetensorError as error:
        raise ValueError(f"{name} is damaged or cut off ({sentence(error)}).") from None
    if not bool(left.isfinite().all() and right.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite values; refused.")
    return told, left, right


def _fit(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    """Whether the shapes are those of two factors, outputs x rank and rank x keys."""
    whole = len(left) == len(right) == 2 and left[1] == right[0]
    return whole and 0 < left[1] <= MOST_RANK and left[0] > 0 and right[1] > 0 and right[1] % 9 == 0
