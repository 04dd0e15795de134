"""A tensor file of this toolkit, read in the order that costs a stranger's file nothing: size of the header, header,
format, schema, names and shapes of the tensors; only then the tensors, and whether their numbers are finite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from concept_edit.reading.kinds import KINDS, Kind
from concept_edit.reading.plain import sentence, short
from concept_edit.reading.schemas import told
from concept_edit.reading.tables import check, contents, header_of, opened

if TYPE_CHECKING:
    from torch import Tensor

KEY = "concept_edit"
"""Where the header lies in the metadata."""
_PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")


def read_tensors(path: str | os.PathLike[str], expected: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file of the format `expected`.

    Raises:
        ValueError: a pickle, a truncated or foreign file, another format, a header that its schema refuses, tensors
            that are missing, too many, of another dtype or shape, NaN; the message names the file.
        OSError: the file cannot be read.
    """
    return _read(path, expected, "pt")


def read_arrays(path: str | os.PathLike[str], expected: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`read_tensors` as numpy's arrays: the same checks, for programs that only look and need not wait for torch."""
    return _read(path, expected, "np")


def _read(path: str | os.PathLike[str], expected: str, framework: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if Path(path).suffix.lower() in _PICKLES:
        raise ValueError(f"{path} is a pickle, which can run code and is not read; convert it to .safetensors")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with opened(path, framework) as file:
        header = header_of(file, KEY, str(path))
        found = header.get("format") if isinstance(header, dict) else None
        if found != expected:
            what = sentence(found or "a safetensors file of another program")
            raise ValueError(f"{path} is not a {expected!r} file but {what}")
        try:
            return _checked(file, header, KINDS.get(expected)), header
        except ValidationError as error:
            reason = told(error)
        except ValueError as error:
            reason = str(error)
    raise ValueError(f"{path} is not a whole {KINDS[expected].title} ({reason}); make or fetch it again")


def format_of(path: str | os.PathLike[str]) -> str:
    """The format a safetensors file says it has; '' for files of other programs, pickles and what is not there."""
    if Path(path).suffix.lower() in _PICKLES or not Path(path).is_file():
        return ""
    with opened(path, "np") as file:
        header = header_of(file, KEY, str(path))
    return str(header.get("format", "")) if isinstance(header, dict) else ""


def _checked(file: Any, header: dict[str, Any], kind: Kind | None) -> dict[str, Tensor]:
    """Every tensor, after the header and the table of contents were found right."""
    if kind is None:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    asked = kind.header.model_validate(header)
    table = contents(file)
    lengths = check(table, kind.wanted(asked, table.keys()))
    tensors = {name: file.get_tensor(name) for name in table}
    for name, tensor in tensors.items():
        if not _finite(tensor):
            raise ValueError(f"the tensor {short(name)} holds NaN or infinite numbers")
    kind.agree(asked, tensors, lengths)
    return tensors


def _finite(tensor: Any) -> bool:
    """Whether a tensor of torch or an array of numpy holds finite numbers alone."""
    if hasattr(tensor, "isfinite"):
        return not tensor.is_floating_point() or bool(tensor.isfinite().all())
    import numpy

    return tensor.dtype.kind != "f" or bool(numpy.isfinite(tensor).all())
