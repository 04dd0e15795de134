"""What every written file has in common: a free name, a precision, enough room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from concept_edit.files import check_writable

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def precision(name: str) -> torch.dtype:
    """The dtype called `name`: fp32, fp16 or bf16."""
    if name not in DTYPES:
        raise ValueError(f"{name!r} is no precision of a file; expected {', '.join(DTYPES)}")
    return DTYPES[name]


def free_file(path: str | os.PathLike[str], *, force: bool) -> Path:
    """`path`, if a file may be written there.

    Raises:
        OSError: it is a folder, its parent is missing, or it exists and `force` was not given.
    """
    target = Path(path)
    check_writable(target)
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists; give another name, or force (--force) to replace it")
    return target


def free_folder(path: str | os.PathLike[str]) -> Path:
    """`path`, if a folder may be made there. A folder that holds files is never replaced.

    Raises:
        OSError: it is a file, holds files, or its parent is missing.
    """
    target = Path(path)
    if target.is_dir() and any(target.iterdir()):
        raise FileExistsError(f"{target} is a folder with files in it; give a new folder name")
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file; give a folder name")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: there is no folder {target.parent}; make it first")
    return target


def check_room(target: Path, size: int) -> None:
    """Refuse now what a full disk would refuse later. `size` in bytes.

    Raises:
        OSError: too little room.
    """
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise OSError(f"{target} needs {size / 1e6:,.0f} MB and the disk has {free / 1e6:,.0f} MB free; make room")
