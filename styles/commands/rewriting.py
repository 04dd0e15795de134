"""The verb that writes a rule anew: rewrite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styles.commands.options import (
    ClassOption,
    DeviceOption,
    ModelOption,
    SeedsOption,
    TruncationOption,
    mapped,
    numbers_of,
    opened,
)
from styles.reading import mask_of
from styles.seeds import seeds_of

if TYPE_CHECKING:
    from torch import Tensor

    from styles.generator import Generator
    from styles.rules.edit import RuleEdit
    from styles.rules.wanted import Region


def rewrite(
    layer: Annotated[str, typer.Option("--layer", help="The convolution that holds the rule, such as b32.conv0.")],
    mask: Annotated[
        list[Path],
        typer.Option("--mask", help="Picture whose white pixels mark the region; once for all seeds, or once each."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The rule (.safetensors) to write.")],
    colour: Annotated[str | None, typer.Option(help="The region becomes this, such as 0.25,0.4,0.95.")] = None,
    paste: Annotated[Path | None, typer.Option(help="Mask of what it shall look like, on --paste-seed.")] = None,
    paste_seed: Annotated[int, typer.Option("--paste-seed", help="The seed whose region is pasted.")] = 0,
    rank: Annotated[int, typer.Option(help="Directions of keys that the rule may change.")] = 1,
    shrinkage: Annotated[
        float | None, typer.Option(help="0 protects what the layer does ordinarily most, 1 not at all. [0.5]")
    ] = None,
    strength: Annotated[float, typer.Option(help="How strongly the sheet and --merged show the rule.")] = 1.0,
    model: ModelOption = "demo",
    seeds: SeedsOption = "0",
    truncation: TruncationOption = 1.0,
    label: ClassOption = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a sheet (.png): --show before in the upper, after in the lower row.")
    ] = None,
    show: Annotated[str, typer.Option(help="Seeds of the sheet; name some that are not marked.")] = "100-107",
    merged: Annotated[Path | None, typer.Option(help="Also write the generator with the rule (.safetensors).")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Rewrite a rule: what is marked on a few seeds becomes something else in every picture."""
    from styles.rules.rewrite import SHRINKAGE, rewrite_rule
    from styles.rules.wanted import Region

    if (colour is None) == (paste is None):
        raise ValueError("give either --colour or --paste, to say what the region becomes.")
    loaded, w = opened(model, seeds, truncation, label, device)
    values: Region | list[float]
    if paste is None:
        values = numbers_of(colour or "")
    else:
        values = Region(mapped(loaded, [paste_seed], truncation, label), mask_of(paste))
    marked = Region(w, _masks(mask, len(w)))
    held = SHRINKAGE if shrinkage is None else shrinkage
    edit = rewrite_rule(loaded, layer, keys=marked, values=values, rank=rank, shrinkage=held)
    edit.save(out)
    told = ", ".join(f"{name} {value:g}" for name, value in edit.measured)
    typer.echo(f"{edit.note}, rank {edit.rank} at {layer}: {told} on the {len(w)} marked; written to {out}")
    if sheet is not None:
        _sheet(loaded, edit, strength, mapped(loaded, seeds_of(show), truncation, label), sheet)
    if merged is not None:
        from styles.checkpoints.checkpoint import save_generator

        edit.merge_into(loaded, strength=strength)
        save_generator(loaded, merged)


def _masks(paths: list[Path], count: int) -> Tensor:
    """One mask for all pictures, or one each, of one size."""
    import torch

    masks = [mask_of(path) for path in paths]
    if len(masks) not in (1, count):
        raise ValueError(
            f"{len(masks)} masks for {count} seeds; give --mask once, or once for each seed in their order."
        )
    if len({tuple(one.shape) for one in masks}) > 1:
        raise ValueError("the masks have different sizes; give all of them at the pictures' size.")
    return torch.stack(masks)


def _sheet(model: Generator, edit: RuleEdit, strength: float, w: Tensor, path: Path) -> None:
    """Pictures before in the upper and after in the lower row."""
    import torch

    from styles.pictures import grid, save_picture

    before = model.synthesize(w)
    with edit.applied(model, strength=strength):
        save_picture(grid(torch.cat([before, model.synthesize(w)]), columns=len(before)), path)
