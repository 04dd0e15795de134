"""The embedded rooms: a procedural renderer, the generator trained on it, and the script that trained it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def weights_file() -> Path:
    """The path of the embedded generator, after checking its SHA-256 against `rooms.json`."""
    folder = Path(__file__).parent
    card, weights = folder / "rooms.json", folder / "rooms.safetensors"
    if not (card.is_file() and weights.is_file()):
        raise ValueError("the embedded rooms generator is missing from this installation; install the package anew.")
    expected = json.loads(card.read_text(encoding="utf-8"))["sha256"]
    if hashlib.sha256(weights.read_bytes()).hexdigest() != expected:
        raise ValueError(f"{weights.name} does not match its checksum; install the package anew.")
    return weights
