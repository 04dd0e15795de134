"""Files that are whole or not there: written beside the target and renamed. Tensors in safetensors, never pickles."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "concept_edit"
_PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")


def replace_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` beside `path` under a temporary name, then rename: a half-written file never replaces a good one.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full; the old file is intact.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
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
    replace_file(path, save(dict(tensors), metadata={_KEY: text}))


def read_tensors(path: str | os.PathLike[str], expected: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file of the format `expected`.

    Raises:
        ValueError: a pickle, a truncated or foreign file, or another format; the message names the file.
        OSError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    if Path(path).suffix.lower() in _PICKLES:
        raise ValueError(f"{path} is a pickle, which can run code and is not read; convert it to .safetensors")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); write or fetch it again") from error
    found = header.get("format") if isinstance(header, dict) else None
    if found != expected:
        raise ValueError(f"{path} is not a {expected!r} file but {found or 'a safetensors file of another program'}")
    return tensors, header
