"""The embedded rooms: a procedural renderer, the generator trained on it, and the script that trained it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FOLDER = Path(__file__).parent


def weights_file() -> Path:
    """The path of the embedded generator, after checking its SHA-256 against `rooms.json`."""
    return _checked("rooms", "the embedded rooms generator")


def relighter_file() -> Path:
    """The path of the embedded relighter, after checking its SHA-256 against `relighter.json`."""
    return _checked("relighter", "the embedded relighter")


def segmenter_file() -> Path:
    """The path of the embedded segmenter, after checking its SHA-256 against `segmenter.json`."""
    return _checked("segmenter", "the embedded segmenter")


def _checked(name: str, what: str) -> Path:
    card, weights = FOLDER / f"{name}.json", FOLDER / f"{name}.safetensors"
    if not (card.is_file() and weights.is_file()):
        raise ValueError(f"{what} is missing from this installation; install the package anew.")
    expected = json.loads(card.read_text(encoding="utf-8"))["sha256"]
    if hashlib.sha256(weights.read_bytes()).hexdigest() != expected:
        raise ValueError(f"{weights.name} does not match its checksum; install the package anew.")
    return weights
