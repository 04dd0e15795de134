"""Files that are whole or not there: written beside the target and renamed. Tensors in safetensors, never pickles."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.reading.tensor_file import KEY, read_tensors
from concept_edit.unfinished import part_name, sweep

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_writable", "read_tensors", "replace_file", "write_tensors"]


def replace_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` beside `path` under a temporary name, then rename: a half-written file never replaces a good one.

    What killed writers left in the folder is swept away.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full; the old file is intact.
    """
    target = Path(path)
    part = part_name(target)
    sweep(target.parent)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse now what writing `path` would refuse after the work.

    Raises:
        OSError: a folder by that name, or a parent folder that is missing or cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder; give a file name")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: there is no folder {target.parent}; make it first")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"cannot write {target}: the folder {target.parent} is not yours to write in")


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a safetensors file with `header` as one JSON text in its metadata; same content, same bytes."""
    from safetensors.torch import save

    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
    replace_file(path, save(dict(tensors), metadata={KEY: text}))
