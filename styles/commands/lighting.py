"""Verbs that relight photographs: relight, train-relighter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from styles.commands.options import DeviceOption, MaskOption, OutOption, progress_bar
from styles.reading import mask_of


def relight(
    photo: Annotated[Path, typer.Argument(help="The photograph.")],
    out: OutOption,
    fraction: Annotated[
        float, typer.Option("--fraction", "-f", help="How lit: 0 off; 1 as it is, or fully lit where no lamp burns.")
    ],
    mask: MaskOption = None,
    reach: Annotated[
        float, typer.Option(help="How far from the mask light may change, as a share of the longer side.")
    ] = 0.5,
    net: Annotated[
        str, typer.Option("--net", "-n", help="'demo', or a .safetensors file of train-relighter.")
    ] = "demo",
    device: DeviceOption = "auto",
) -> None:
    """Turn the lamps of a photograph down or on; with a mask only the marked one."""
    from styles.pictures import save_picture
    from styles.relighting.network import load_relighter
    from styles.relighting.photo import relight as relit
    from styles.relighting.photo import seen_at
    from styles.relighting.photographs import open_photo

    loaded, picture = load_relighter(net, device=device), open_photo(photo)
    region, bar = None if mask is None else mask_of(mask), progress_bar("rows")
    save_picture(relit(loaded, picture, fraction, region, reach=reach, progress=bar), out)
    seen = seen_at(loaded, picture.size)
    shrunk = (
        f"; the network saw it at {seen[0]} x {seen[1]} pixels, the change of light is laid over all "
        f"{picture.width} x {picture.height} strip by strip"
    )
    how = shrunk if seen != picture.size else ""
    typer.echo(f"{photo.name} with its lamps at {fraction:g} of their light, written to {out}{how}")


def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; started again, it goes on.")],
    pairs: Annotated[
        str,
        typer.Option(
            help="rooms (rendered), switch (the embedded generator's), or a folder off/NAME.png, on/NAME.png."
        ),
    ] = "rooms",
    start: Annotated[
        str | None, typer.Option(help="Network to learn on: 'demo', or a .safetensors file. [a fresh one]")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of 16 pictures of 64 px, or fewer larger ones.")] = 6000,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of what is drawn.")] = 0,
) -> None:
    """Train a relighter on pairs of pictures with a lamp off and on; `styles relight --net` takes what it writes."""
    from styles.relighting.network import load_relighter
    from styles.relighting.training import Schedule, train_relighter

    bar: Any = progress_bar("steps")
    losses: list[float] = []

    def progress(done: int, total: int, loss: float) -> None:
        losses.append(loss)
        bar(done, total)

    schedule = Schedule(steps=steps, rate=rate, seed=seed)
    train_relighter(
        pairs, out, schedule=schedule, start=None if start is None else load_relighter(start), progress=progress
    )
    recent = losses[-100:]
    told = (
        f"loss {sum(recent) / len(recent):.4f}, mean of the last {len(recent)} steps"
        if recent
        else "nothing left to do"
    )
    typer.echo(f"{steps} steps ({told}); weights written to {out / 'relighter.safetensors'}")
