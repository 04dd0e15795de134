"""What the verbs share: options, and reading what they name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from styles.seeds import seeds_of

if TYPE_CHECKING:
    from torch import Tensor

    from styles.generator import Generator
    from styles.units.modulate import UnitEdit

ModelOption = Annotated[str, typer.Option("--model", "-m", help="'demo', or a .pkl, .pt or .safetensors file.")]
SeedsOption = Annotated[str, typer.Option("--seeds", "-s", help="Seeds such as 0,3,8-15.")]
TruncationOption = Annotated[float, typer.Option("--truncation", help="1 is the full variety, 0 the mean image.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto (a GPU where there is one), cpu, cuda, cuda:1 or mps.")
]
ClassOption = Annotated[int | None, typer.Option("--class", help="Class of a conditional model.")]
UnitsOption = Annotated[
    list[str] | None, typer.Option("--unit", "-u", help="layer:channel=value, such as b32.conv1:12=-10; repeatable.")
]
EditOption = Annotated[Path | None, typer.Option("--edit", help="A unit edit (.json) written by turn --save.")]
MaskOption = Annotated[Path | None, typer.Option("--mask", help="Picture whose white pixels mark the region.")]
HowOption = Annotated[str, typer.Option("--how", help="set, shift, scale or sigma.")]


def unit_of(text: str) -> tuple[str, int, float]:
    """ "b32.conv1:12=-10" as ("b32.conv1", 12, -10.0)."""
    name, _, value = text.partition("=")
    layer, _, channel = name.partition(":")
    try:
        return layer, int(channel), float(value or 0.0)
    except ValueError:
        raise ValueError(f"a unit looks like b32.conv1:12=-10, got {text!r}.") from None


def opened(model: str, seeds: str, truncation: float, label: int | None, device: str) -> tuple[Generator, Tensor]:
    """A generator and the w of some seeds."""
    from styles.checkpoints.checkpoint import load_generator

    loaded = load_generator(model, device=device)
    return loaded, mapped(loaded, seeds_of(seeds), truncation, label)


def mapped(model: Generator, seeds: Sequence[int], truncation: float, label: int | None) -> Tensor:
    """The w of some seeds."""
    z = model.sample_z(seeds)
    return model.map(z, truncation=truncation, class_labels=None if label is None else [label] * len(z))


def edit_of(units: list[str] | None, edit: Path | None, how: str) -> UnitEdit:
    """The edit that options name."""
    from styles.units.modulate import HOWS, UnitEdit

    if (edit is None) == (not units):
        raise ValueError("give either --unit (one or more) or --edit, to say what is turned.")
    if edit is not None:
        return UnitEdit.load(edit)
    if how not in HOWS:
        raise ValueError(f"--how is one of {', '.join(HOWS)}, got {how!r}.")
    return UnitEdit(tuple(unit_of(text) for text in units or []), how)  # type: ignore[arg-type]


def numbers_of(text: str) -> list[float]:
    """ "0.9,0.6,0.3" as numbers."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"a colour looks like 0.9,0.6,0.3 (red, green, blue from 0 to 1), got {text!r}.") from None


def progress_bar(what: str = "units") -> Any:
    """A bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    bar = tqdm(desc=what, unit="", disable=not sys.stderr.isatty(), leave=False)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return update
