"""Corpora kept between runs: reading plain captions through SDXL's encoders takes minutes, and says the same each time.

A file a corpus in the user's cache folder, `CONCEPT_EDIT_CACHE` where that is set (empty: nothing is kept). Its name is
a hash of what the corpus depends on: text encoder, captions, and the arithmetic that read them. It carries a hash of
that and of its own numbers; a file that does not bear it out is as good as none. Two programs may keep the same corpus
at once: files are renamed into place, whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.cache import cache_folder
from concept_edit.files import read_tensors, write_tensors
from concept_edit.identity import digest, tensor_digest

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 512 * 2**20
"""Bytes the folder may hold; an SDXL's corpus takes 52 MB. What was not used for longest goes first."""


def recall(about: Mapping[str, Any], form: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and header of what was kept about this; None where there is nothing whole."""
    path = _path(about)
    if path is None:
        return None
    try:
        tensors, header = read_tensors(path, form)
        if header.pop("sha256", "") != _sum(about, tensors, header):
            return None
        os.utime(path)
    except (OSError, ValueError, RecursionError):
        return None
    return tensors, header


def keep(about: Mapping[str, Any], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Keep tensors and header for the next run. A folder that cannot be written costs time and nothing else."""
    path = _path(about)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, {**header, "sha256": _sum(about, tensors, header)})
        _bound(path)
    except OSError:
        return


def _path(about: Mapping[str, Any]) -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / f"corpus-{digest(dict(about))[:32]}.safetensors"


def _sum(about: Mapping[str, Any], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """What a file must bear out: its numbers, its header, and that they are about this."""
    numbers = {name: tensor_digest(value) for name, value in tensors.items()}
    return digest({"about": dict(about), "header": dict(header), "tensors": numbers})


def _bound(newest: Path) -> None:
    """Remove what was not used for longest until the folder is within its limit; the newest file stays."""
    ages = []
    for path in newest.parent.glob("corpus-*.safetensors"):
        try:
            about = path.stat()
        except OSError:  # another process removed it
            continue
        ages.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in ages)
    for _, size, path in sorted(ages):
        if total <= LIMIT or path == newest:
            continue
        path.unlink(missing_ok=True)
        total -= size
