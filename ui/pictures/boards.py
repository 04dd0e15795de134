"""Boards on disk: the cells of a card with their pictures, and the verdict that stood under them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ui.bench.cells import Cell
from ui.bench.verdict import Verdict
from ui.bench.work import Board
from ui.workshop.card import PICTURES
from ui.workshop.painting import Shot


def save(card: str, board: Board, folder: Path = PICTURES) -> Path:
    """Write a painted board."""
    assert board.verdict is not None
    cells = [
        {
            "prompt": cell.shot.prompt, "seed": cell.shot.seed, "role": cell.role, "veiled": cell.veiled,
            "saw_before": cell.saw_before, "saw_after": cell.saw_after, "before": _text(cell.before),
            "after": _text(cell.after),
        }
        for cell in board.cells
    ]  # fmt: skip
    verdict = {"state": board.verdict.state, "sentence": board.verdict.sentence, "by": board.verdict.by}
    path = folder / f"{card}.json"
    path.write_text(json.dumps({"cells": cells, "verdict": verdict}, ensure_ascii=False, indent=0) + "\n")
    return path


def load(card: str, folder: Path = PICTURES) -> Board:
    """The board that ships with a card; empty where none does."""
    path = folder / f"{card}.json"
    if not path.is_file():
        return Board()
    told = json.loads(path.read_text())
    return Board(tuple(map(_cell, told["cells"])), Verdict(**told["verdict"]))


def _cell(told: dict[str, Any]) -> Cell:
    return Cell(
        Shot(told["prompt"], told["seed"]), told["role"], told["veiled"], _picture(told["before"]),
        _picture(told["after"]), told["saw_before"], told["saw_after"],
    )  # fmt: skip


def _text(picture: Image.Image | None) -> str:
    assert picture is not None
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=92)
    return b64encode(buffer.getvalue()).decode()


def _picture(text: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(text))).convert("RGB")
