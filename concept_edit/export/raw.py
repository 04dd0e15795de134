"""safetensors files byte by byte: where each tensor lies, so that some are patched and all others stay as they are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from concept_edit.reading.plain import sentence

HEADER_LIMIT = 100_000_000
"""Bytes; the format's own limit."""
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte, counted from the beginning of the file."""
    end: int


def entries(path: Path) -> dict[str, Entry]:
    """The table of contents of a safetensors file.

    Raises:
        ValueError: a truncated or foreign file, a header over the size limit, tensors that reach past the end.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > HEADER_LIMIT:
            raise ValueError(f"{path} claims a header of {length:,} bytes, over the limit of {HEADER_LIMIT:,}: foreign")
        if size < 8 + length or size < 10:
            raise ValueError(f"{path} ends inside its header: it is truncated or no safetensors file; fetch it again")
        table = _parsed(path, file.read(length))
    found = {name: _entry(path, name, about, 8 + length) for name, about in table.items() if name != "__metadata__"}
    last = max((entry.end for entry in found.values()), default=8 + length)
    if last != size:
        raise ValueError(f"{path} has {size:,} bytes and its header says {last:,}: it is truncated; fetch it again")
    return found


def _parsed(path: Path, text: bytes) -> dict[str, object]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has no readable safetensors header ({sentence(error)}); fetch it again") from error
    if not isinstance(table, dict):
        raise ValueError(f"{path} has no safetensors header; is it a file of another format?")
    return table


def _entry(path: Path, name: str, about: object, data: int) -> Entry:
    try:
        start, end = about["data_offsets"]  # type: ignore[index]
        return Entry(about["dtype"], tuple(about["shape"]), data + start, data + end)  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} describes {name} in no way safetensors knows; fetch it again") from error


def patched_copy(source: Path, part: Path, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
    """Copy `source` to `part` and replace the named tensors by what their function makes of them.

    Header, order and precision stay; one tensor is in memory at a time. The functions get and give the file's dtype.
    """
    table = entries(source)
    shutil.copyfile(source, part)
    with part.open("r+b") as file:
        for name, change in changes.items():
            _patch(file, table[name], name, change)
        file.flush()


def _patch(file: BinaryIO, entry: Entry, name: str, change: Callable[[Tensor], Tensor]) -> None:
    if entry.dtype not in _DTYPES:
        raise ValueError(f"{name} is stored as {entry.dtype}, which cannot be edited; use an F32, F16 or BF16 file")
    file.seek(entry.start)
    before = torch.frombuffer(bytearray(file.read(entry.end - entry.start)), dtype=_DTYPES[entry.dtype])
    after = change(before.reshape(entry.shape).clone())
    if after.dtype != before.dtype or after.shape != entry.shape:
        raise ValueError(f"{name} would change its shape or precision")
    file.seek(entry.start)
    file.write(after.contiguous().view(torch.uint8).numpy().data)


def write_one_by_one(
    part: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    tensor: Callable[[str], Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a safetensors file of one precision to `part`; one tensor is in memory at a time."""
    letters = {value: name for name, value in _DTYPES.items()}[dtype]
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + dtype.itemsize * torch.Size(shape).numel()
        table[name] = {"dtype": letters, "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with part.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name, shape in shapes.items():
            value = tensor(name)
            if tuple(value.shape) != tuple(shape) or value.dtype != dtype:
                raise ValueError(f"{name} has the shape {tuple(value.shape)} and {tuple(shape)} was expected")
            file.write(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
