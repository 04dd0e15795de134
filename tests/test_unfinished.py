"""What killed writers leave behind is swept by the next write; what somebody may still be writing is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from concept_edit.files import replace_file
from concept_edit.unfinished import part_name, sweep

ROOT = Path(__file__).parent.parent
KILLED = """
import os, signal
from concept_edit import unfinished
from concept_edit.files import replace_file
from pathlib import Path
fsync = os.fsync
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
replace_file({path!r}, b"half")
"""


def test_the_next_write_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED.format(path=str(path))], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    (left,) = (other for other in tmp_path.iterdir() if other != path)
    assert left.name.startswith(".a.txt.")
    assert left.name.endswith(".part")
    assert path.read_bytes() == b"old"
    replace_file(tmp_path / "b.txt", b"new")
    assert sorted(other.name for other in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def dead_process() -> int:
    """The number of a process that has just ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_the_dead_are_swept(tmp_path: Path) -> None:
    mine = part_name(tmp_path / "mine")
    here = mine.name.split(".")[-2].split("-")[0]
    dead, parent = dead_process(), os.getppid()
    names = {
        f".folder.{here}-{dead}.part": False,
        f".file.{here}-{dead}.part": False,
        mine.name: True,
        f".running.{here}-{parent}.part": True,
        f".elsewhere.0123abcd-{dead}.part": True,
        f".forgotten.0123abcd-{dead}.part": False,
        f".older.{dead}.part": True,
        ".hand made.part": True,
        f"file.{here}-{dead}.part": True,
    }
    for name in names:
        (tmp_path / name).mkdir() if "folder" in name else (tmp_path / name).write_bytes(b"x")
    (tmp_path / f".folder.{here}-{dead}.part" / "inside").write_bytes(b"x")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / f".forgotten.0123abcd-{dead}.part", (long_ago, long_ago))
    sweep(tmp_path)
    assert {name for name in names if (tmp_path / name).exists()} == {name for name, stays in names.items() if stays}
    sweep(tmp_path / "no such folder")
