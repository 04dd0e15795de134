"""The table of contents of a safetensors file, and whether its tensors fit: before one of them is read.

What a file should hold is said with named axes, `Want("F32", ("text width", "text rank"))`: the first tensor that has
an axis says how long it is, and all others must agree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from concept_edit.reading.plain import MOST_BYTES, parse_json, sentence, short

WIDEST = 1 << 16
"""Longest axis called a width; the widest text stream that is known has 15,360 numbers."""
LONGEST = 1 << 24
"""Longest axis of any other name."""


class Stored(NamedTuple):
    """One tensor of a file, by its header."""

    dtype: str
    """As safetensors calls it: F32, F16, I64 and so on."""
    shape: tuple[int, ...]


class Want(NamedTuple):
    """What a tensor should be."""

    dtype: str
    axes: tuple[str | int, ...]
    """Names of axes, or their lengths. The first word of a name says whose axis it is."""


@contextmanager
def opened(path: str | os.PathLike[str], framework: str = "pt") -> Iterator[Any]:
    """`safe_open` of a file whose header is not too large, with its complaints as ValueError.

    `framework`: `pt` for torch's tensors, `np` for numpy's arrays, which need no torch.

    Raises:
        ValueError: a header over 16 MB, a truncated or foreign file.
        OSError: there is no such file.
    """
    from safetensors import SafetensorError, safe_open

    _refuse_large_header(path)
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except SafetensorError as error:
        told = sentence(error)
        raise ValueError(f"{path} is not a whole safetensors file ({told}); write or fetch it again") from None


def contents(file: Any) -> dict[str, Stored]:
    """Name -> dtype and shape of every tensor of an opened file; no tensor is read."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    return {name: Stored(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def header_of(file: Any, key: str, name: str) -> Any:
    """The JSON text that the metadata of an opened file holds under `key`; None where there is none."""
    text = (file.metadata() or {}).get(key)
    return None if text is None else parse_json(text, f"the header of {name}")


def check(found: Mapping[str, Stored], wanted: Mapping[str, Want]) -> dict[str, int]:
    """Axis -> length, where the tensors are those wanted and fit each other.

    Raises:
        ValueError: a tensor that is missing, that nobody asked for, of another dtype or of a shape that does not fit.
    """
    unknown, missing = sorted(found.keys() - wanted.keys()), sorted(wanted.keys() - found.keys())
    if missing:
        raise ValueError(f"it lacks the tensor {short(missing[0])}")
    if unknown:
        raise ValueError(f"it holds a tensor {short(unknown[0])} that belongs to no part its header names")
    lengths: dict[str, int] = {}
    for name, want in wanted.items():
        _fit(name, found[name], want, lengths)
    return lengths


def _fit(name: str, stored: Stored, want: Want, lengths: dict[str, int]) -> None:
    if stored.dtype != want.dtype:
        raise ValueError(f"the tensor {short(name)} is stored as {stored.dtype}, expected {want.dtype}")
    if len(stored.shape) != len(want.axes):
        named = " x ".join(map(str, want.axes))
        raise ValueError(f"the tensor {short(name)} has {len(stored.shape)} axes, expected {named}")
    for axis, length in zip(want.axes, stored.shape, strict=True):
        expected = axis if isinstance(axis, int) else lengths.setdefault(axis, length)
        if length != expected:
            raise ValueError(f"the tensor {short(name)} has {length} where {expected} ({axis}) would fit")
        if length > (WIDEST if str(axis).endswith("width") else LONGEST):
            raise ValueError(f"the tensor {short(name)} has {length:,} as its {axis}, more than any model needs")


def _refuse_large_header(path: str | os.PathLike[str]) -> None:
    """The first eight bytes say how long a header is."""
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    size = Path(path).stat().st_size
    if MOST_BYTES < length <= size:
        raise ValueError(f"{path} has a header of {length >> 20} MB, over the limit of {MOST_BYTES >> 20} MB; refused")
