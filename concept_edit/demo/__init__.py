"""The embedded text-to-image model, its CLIP towers and its judges: small, real, and shipped with the package.

`folder()` is a diffusers folder (`open_model("demo")` opens it); `load_judge` and `load_clip` give the instruments that
measure it. How they were made: `concept_edit/demo/training/`; what they reach: `concept_edit/demo/weights/README.md`.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concept_edit.demo.clip import ClipScore
    from concept_edit.demo.judge import Judge, Kind

EMBEDDED = ("demo", "demo-flow")
"""Names of the models that paint what `concepts` lists, and that the judges know."""
WEIGHTS = Path(__file__).parent / "weights"
CHECKSUMS = "checksums.json"


def folder(*, verify: bool = True) -> Path:
    """The embedded model as a diffusers folder.

    Every file is checked against its SHA-256 (once per process) unless `verify` is off; ValueError names the file
    that is missing or damaged.
    """
    if verify:
        _verify(WEIGHTS)
    return WEIGHTS / "model"


def load_judge(kind: Kind = "cnn") -> Judge:
    """The judge ("cnn") or the second opinion ("vit"); neither was ever used to train the model."""
    from safetensors.torch import load_file

    from concept_edit.demo.judge import KINDS, Judge

    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no judge; expected one of {', '.join(KINDS)}.")
    _verify(WEIGHTS)
    network = KINDS[kind]()
    state = load_file(WEIGHTS / f"judge_{kind}.safetensors")
    network.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    return Judge(network)


def load_clip() -> ClipScore:
    """Both CLIP towers: how well a picture fits a prompt."""
    from concept_edit.demo.clip import ClipScore

    return ClipScore(folder(), WEIGHTS / "clip")


@cache
def _verify(root: Path) -> None:
    verify_checksums(root)


def verify_checksums(root: Path) -> None:
    """Compare every file under `root` with `checksums.json`; ValueError names the first that differs."""
    listing = root / CHECKSUMS
    if not listing.is_file():
        raise ValueError(f"{listing} is missing: the embedded model is not installed; install the package again.")
    for name, wanted in json.loads(listing.read_text()).items():
        path = root / name
        if not path.is_file():
            raise ValueError(f"{path} is missing; install the package again.")
        found = sha256(path)
        if found != wanted:
            raise ValueError(f"{path} is damaged: SHA-256 {found[:12]}…, expected {wanted[:12]}…; install it again.")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
