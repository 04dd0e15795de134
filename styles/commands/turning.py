"""Verbs that paint and turn: sample, turn, sweep, pairs, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from styles.commands.options import (
    ClassOption,
    DeviceOption,
    EditOption,
    HowOption,
    MaskOption,
    ModelOption,
    OutOption,
    SeedsOption,
    TruncationOption,
    UnitsOption,
    edit_of,
    opened,
    progress_bar,
)  # fmt: skip
from styles.reading import mask_of
from styles.seeds import seeds_of


def sample(
    out: OutOption,
    model: ModelOption = "demo",
    seeds: SeedsOption = "0-15",
    truncation: TruncationOption = 1.0,
    label: ClassOption = None,
    columns: Annotated[int, typer.Option(help="Pictures in a row of the sheet.")] = 8,
    device: DeviceOption = "auto",
) -> None:
    """Paint some seeds: one sheet (.png), or one picture per seed into a folder."""
    from styles.pictures import grid, save_picture, to_pil

    loaded, w = opened(model, seeds, truncation, label, device)
    images = loaded.synthesize(w)
    if out.suffix:
        save_picture(grid(images, columns=min(columns, len(images))), out)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for seed, picture in zip(seeds_of(seeds), to_pil(images), strict=True):
            save_picture(picture, out / f"seed_{seed}.png")
    typer.echo(f"{len(images)} images written to {out}")


def turn(
    out: OutOption,
    unit: UnitsOption = None,
    edit: EditOption = None,
    how: HowOption = "set",
    model: ModelOption = "demo",
    seeds: SeedsOption = "0-7",
    truncation: TruncationOption = 1.0,
    label: ClassOption = None,
    mask: MaskOption = None,
    even: Annotated[
        bool, typer.Option("--even", help="Switch each picture as far as a control's own pictures went.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Keep the edit as a small .json file.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Turn units: a sheet (.png) with the images before in the upper and after in the lower row."""
    import torch

    from styles.pictures import grid, save_picture
    from styles.units.control import even_strengths

    loaded, w = opened(model, seeds, truncation, label, device)
    change = edit_of(unit, edit, how)
    before = loaded.synthesize(w)
    strength = even_strengths(loaded, w, change) if even else 1.0
    with change.applied(loaded, strength=strength, mask=None if mask is None else mask_of(mask)):
        after = loaded.synthesize(w)
    save_picture(grid(torch.cat([before, after]), columns=len(before)), out)
    if save is not None:
        change.save(save)
    typer.echo(f"{len(change.units)} units turned on {len(before)} images; written to {out}")


def sweep(
    out: OutOption,
    unit: UnitsOption = None,
    edit: EditOption = None,
    low: Annotated[float, typer.Option("--from", help="First step.")] = -6.0,
    high: Annotated[float, typer.Option("--to", help="Last step.")] = 6.0,
    frames: Annotated[int, typer.Option(help="Number of images.")] = 13,
    how: HowOption = "sigma",
    model: ModelOption = "demo",
    seeds: SeedsOption = "0",
    truncation: TruncationOption = 1.0,
    label: ClassOption = None,
    mask: MaskOption = None,
    fps: Annotated[float, typer.Option(help="Frames a second of a .gif or .mp4.")] = 12.0,
    device: DeviceOption = "auto",
) -> None:
    """Turn units through a range (each by step times its value, 1 when none is given): .gif, .mp4 or a .png strip."""
    import torch

    from styles.pictures import save_sweep
    from styles.units.modulate import style_statistics
    from styles.units.modulate import sweep as swept

    if frames < 2:
        raise ValueError(f"a sweep has at least 2 frames, got {frames}.")
    loaded, w = opened(model, seeds, truncation, label, device)
    named = [text if "=" in text else f"{text}=1" for text in unit] if unit else None
    change = edit_of(named, edit, how)
    steps = torch.linspace(low, high, frames).tolist()
    statistics = style_statistics(loaded) if change.how == "sigma" else None
    weights = {(layer, channel): value for layer, channel, value in change.units}
    region = None if mask is None else mask_of(mask)
    save_sweep(swept(loaded, w, weights, steps, how=change.how, mask=region, statistics=statistics), out, fps=fps)
    typer.echo(f"{frames} frames written to {out}")


def pairs(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; started again, it goes on.")],
    unit: UnitsOption = None,
    edit: EditOption = None,
    how: HowOption = "set",
    model: ModelOption = "demo",
    seeds: SeedsOption = "0-99",
    truncation: TruncationOption = 1.0,
    label: ClassOption = None,
    mask: MaskOption = None,
    batch: Annotated[int, typer.Option(help="Pictures painted at a time.")] = 8,
    device: DeviceOption = "auto",
) -> None:
    """Write pairs of pictures, without and with units turned, and a CSV that lists them."""
    from styles.checkpoints.checkpoint import load_generator
    from styles.relighting.pairs import write_pairs

    change, region = edit_of(unit, edit, how), None if mask is None else mask_of(mask)
    made = write_pairs(
        load_generator(model, device=device),
        change,
        seeds_of(seeds),
        out,
        truncation=truncation,
        class_label=label,
        mask=region,
        batch=batch,
        progress=progress_bar("pairs"),
    )
    typer.echo(f"{made} pairs painted, {len(seeds_of(seeds)) - made} were there; listed in {out / 'pairs.csv'}")


def convert(
    source: Annotated[str, typer.Argument(help="A .pkl, .pt or .safetensors file, or 'demo'.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store the weights as fp16.")] = False,
) -> None:
    """Turn a checkpoint into safetensors and configuration, running nothing that is in it."""
    from styles.checkpoints.checkpoint import convert as converted

    config = converted(source, target, dtype="float16" if half else "float32").config
    typer.echo(f"{config.resolution} px, {config.architecture}, written to {target}")
