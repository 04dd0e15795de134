"""Names of files and folders that are being written, and the sweep of those whose writer died.

A name says who writes: `.edit.safetensors.1f0c9a2e-4711.part` is process 4711 of the machine, start of it and process
space that hash to 1f0c9a2e. Only there does a process number mean anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import time
from functools import cache
from pathlib import Path

_OURS = re.compile(r"\..+\.(?:([0-9a-f]{8})-)?(\d{1,10})\.part")
_FORGOTTEN = 24 * 3600.0
"""Seconds after which what a writer elsewhere left untouched counts as dead."""


def part_name(target: Path) -> Path:
    """The name a file or folder is written under, in the same folder, before it is renamed to `target`."""
    return target.with_name(f".{target.name}.{_here()}-{os.getpid()}.part")


def sweep(folder: Path) -> None:
    """Remove what dead processes left half written in `folder`; what another machine may still write stays a day."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        match = _OURS.fullmatch(name) if name.endswith(".part") else None
        if match is not None and _dead(folder / name, match[1], int(match[2])):
            _remove(folder / name)


def _dead(part: Path, where: str | None, process: int) -> bool:
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


def _remove(part: Path) -> None:
    """Another process may sweep at the same time, and what cannot be removed is no reason not to write."""
    with contextlib.suppress(OSError):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


@cache
def _here() -> str:
    """Hash of machine, its last start and the space in which process numbers are counted (a container has its own)."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    with contextlib.suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]
