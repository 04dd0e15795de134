"""The run folder: pictures named by their rows, skipped when they are there and whole, and append-only results.

    run/before/<row>.png   run/after/<row>.png   run/run.json   run/results.<share>.jsonl

A killed run is started again with the same command. It loses the batch in work, by default a single picture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.evaluation.rows import Row
from concept_edit.files import replace_file
from concept_edit.identity import digest
from concept_edit.reading.plain import read_object

if TYPE_CHECKING:
    from PIL.Image import Image

_KEY = "concept_edit"
_MOST = 64 << 20
"""Bytes of the settings of a run."""
Painter = Callable[[list[str], list[int]], "list[Image]"]
"""Prompts and seeds into pictures."""


class RunFolder:
    """Pictures and results of one run. `settings` are what its pictures depend on besides prompt and seed.

    Raises:
        ValueError: the folder holds a run with other settings; the first that differs is named.
        OSError: the folder cannot be made or written.
    """

    def __init__(self, root: str | os.PathLike[str], settings: Mapping[str, Any], *, share: str = "1-of-1") -> None:
        self.root = Path(root)
        self.settings = json.loads(json.dumps(dict(settings)))
        self.results = self.root / f"results.{share}.jsonl"
        self._run: dict[str, str] = {}
        self.root.mkdir(parents=True, exist_ok=True)
        self._claim()

    def picture(self, side: str, row: Row) -> Path:
        """Where the picture of `row` lies."""
        return self.root / side / row.file

    def load(self, side: str, row: Row) -> Image | None:
        """The picture of `row`; None where it is missing, cut short, or of another prompt or run."""
        from PIL import Image

        try:
            with Image.open(self.picture(side, row)) as image:
                image.load()
                about = json.loads(getattr(image, "text", {}).get(_KEY, "null"))
                return image.convert("RGB") if about == self._about(side, row) else None
        except Exception:  # Pillow's decoders raise whatever comes; a picture that cannot be read is painted again
            return None

    def save(self, side: str, row: Row, image: Image) -> None:
        """Write the picture of `row` with prompt, seed and settings inside, whole or not at all; note it."""
        from PIL.PngImagePlugin import PngInfo

        path, text, buffer = self.picture(side, row), PngInfo(), BytesIO()
        text.add_itxt(_KEY, json.dumps(self._about(side, row), ensure_ascii=False))
        image.save(buffer, "PNG", pnginfo=text)
        path.parent.mkdir(exist_ok=True)
        replace_file(path, buffer.getvalue())
        self.append({"picture": f"{side}/{row.file}", "sha256": _sha256(buffer.getvalue()), **self._about(side, row)})

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line to this share's results; a line cut by a kill is closed first."""
        cut = self.results.is_file() and not _ends_with_newline(self.results)
        with self.results.open("ab") as file:
            file.write(b"\n" * cut + json.dumps(record, ensure_ascii=False).encode() + b"\n")

    def records(self) -> Iterator[dict[str, Any]]:
        """Every whole line of every share's results."""
        for path in sorted(self.root.glob("results.*.jsonl")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(record, dict):
                    yield record

    def _about(self, side: str, row: Row) -> dict[str, Any]:
        if side not in self._run:
            self._run[side] = digest([self.settings["all"], side, self.settings.get(side)])[:16]
        return {"prompt": row.prompt, "seed": row.seed, "run": self._run[side]}

    def _claim(self) -> None:
        path = self.root / "run.json"
        if not path.is_file():
            return replace_file(path, json.dumps(self.settings, indent=1, ensure_ascii=False).encode())
        found = read_object(path, most=_MOST)
        for part in sorted({*found, *self.settings}):
            mine, theirs = self.settings.get(part), found.get(part)
            if mine != theirs:
                raise ValueError(
                    f"{self.root} holds a run with other settings ({_difference(theirs, mine)}); name another folder"
                )
        return None


def paint_missing(
    folder: RunFolder, side: str, blocks: Sequence[Sequence[Row]], paint: Painter, tick: Callable[[int], None]
) -> None:
    """Paint what `folder` does not have yet, a block at a time, so that no picture depends on how far a run came.

    A block that lacks one picture is painted whole and only what lacks is written. `tick(n)` after each block.
    """
    for block in blocks:
        missing = [row for row in block if folder.load(side, row) is None]
        if missing:
            images = paint([row.prompt for row in block], [row.seed for row in block])
            for row, image in zip(block, images, strict=True):
                if row in missing:
                    folder.save(side, row, image)
        tick(len(block))


def _difference(theirs: Any, mine: Any) -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for key in sorted({*theirs, *mine}):
            if theirs.get(key) != mine.get(key):
                return f"{key}: there {theirs.get(key)}, here {mine.get(key)}"
    return f"there {theirs}, here {mine}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
