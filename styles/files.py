"""Files that are whole or not there: written beside the target and renamed; what dead writers left is swept away.

    with whole(path) as part:
        picture.save(part)

A name says who writes: `.sheet.png.1f0c9a2e-4711.part.png` is process 4711 of the machine, start of it and process
space that hash to 1f0c9a2e. Only there does a process number mean anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_OURS = re.compile(r"\..+\.([0-9a-f]{8})-(\d{1,10})\.part(\.\w{1,16})?")
_FORGOTTEN = 24 * 3600.0
"""Seconds after which what a writer elsewhere left untouched counts as dead."""


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name beside `path`, of the same ending, that is renamed to it when the block ends well and removed otherwise.

    Raises:
        OSError: the folder is missing or cannot be written, or the disk is full; an old file is intact.
    """
    target = Path(path)
    sweep(target.parent)
    part = target.with_name(f".{target.name}.{_here()}-{os.getpid()}.part{target.suffix}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what dead processes left half written in `folder`; what another machine may still write stays a day."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        match = _OURS.fullmatch(name) if ".part" in name else None
        if match is not None and _dead(folder / name, match[1], int(match[2])):
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)


def _dead(part: Path, where: str, process: int) -> bool:
    if where == _here() and os.name == "posix":
        return process != os.getpid() and not _alive(process)
    try:
        return time.time() - part.lstat().st_mtime > _FORGOTTEN
    except OSError:
        return False


def _alive(process: int) -> bool:
    """Whether a process of this number runs, whoever owns it. Signal 0 asks and does nothing."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@cache
def _here() -> str:
    """Hash of machine, its last start and the space in which process numbers are counted (a container has its own)."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    with contextlib.suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]
