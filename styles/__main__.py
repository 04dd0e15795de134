"""The command line: `styles sample | rank | control | turn | sweep | pairs | convert`.

A verb is the library call of its name.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from styles.seeds import seeds_of

if TYPE_CHECKING:
    from torch import Tensor

    from styles.generator import Generator
    from styles.units.modulate import UnitEdit

app = typer.Typer(
    help="Find the StyleGAN units behind a marked region, and turn them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
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


def mask_of(path: Path) -> Tensor:
    """A picture as a mask: brightness, or opacity when the picture has it."""
    import numpy as np
    import torch

    from styles.reading import open_picture

    with open_picture(path) as picture:
        clear = "A" in picture.getbands() and picture.getchannel("A").getextrema()[0] < 255  # type: ignore[operator]
        band = picture.getchannel("A") if clear else picture.convert("L")
        return torch.from_numpy(np.array(band, dtype=np.float32) / 255)


def _open(model: str, seeds: str, truncation: float, label: int | None, device: str) -> tuple[Generator, Tensor]:
    from styles.checkpoints.checkpoint import load_generator

    loaded = load_generator(model, device=device)
    z = loaded.sample_z(seeds_of(seeds))
    return loaded, loaded.map(z, truncation=truncation, class_labels=None if label is None else [label] * len(z))


def _edit(units: list[str] | None, edit: Path | None, how: str) -> UnitEdit:
    from styles.units.modulate import HOWS, UnitEdit

    if (edit is None) == (not units):
        raise ValueError("give either --unit (one or more) or --edit, to say what is turned.")
    if edit is not None:
        return UnitEdit.load(edit)
    if how not in HOWS:
        raise ValueError(f"--how is one of {', '.join(HOWS)}, got {how!r}.")
    return UnitEdit(tuple(unit_of(text) for text in units or []), how)  # type: ignore[arg-type]


@app.command()
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

    loaded, w = _open(model, seeds, truncation, label, device)
    images = loaded.synthesize(w)
    if out.suffix:
        save_picture(grid(images, columns=min(columns, len(images))), out)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for seed, picture in zip(seeds_of(seeds), to_pil(images), strict=True):
            save_picture(picture, out / f"seed_{seed}.png")
    typer.echo(f"{len(images)} images written to {out}")


@app.command()
def rank(
    mask: Annotated[Path, typer.Option("--mask", help="Picture whose white pixels mark the region.")],
    out: OutOption,
    model: ModelOption = "demo",
    seeds: SeedsOption = "0",
    truncation: TruncationOption = 1.0,
    label: ClassOption = None,
    mode: Annotated[str, typer.Option(help="What zeroed means: style, feature or mean.")] = "style",
    screen: Annotated[str, typer.Option(help="probes, or none to ablate every unit.")] = "probes",
    confirm: Annotated[int, typer.Option(help="Units ablated exactly after the screen.")] = 100,
    protect: Annotated[Path | None, typer.Option(help="Mask of what must not change.")] = None,
    ignore: Annotated[Path | None, typer.Option(help="Mask of what does not count.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers or blocks, such as b16,b32.conv1.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also write a contact sheet of the top units (.png).")] = None,
    top: Annotated[int, typer.Option(help="Rows to show.")] = 20,
    by: Annotated[str, typer.Option(help="Order of the rows shown: score, darkens, share, ...")] = "score",
    resume: Annotated[Path | None, typer.Option(help="File to leave when interrupted and to go on from.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Rank the units by their effect inside a mask; the table goes to a .csv or .json file."""
    from styles.pictures import contact_sheet, save_picture
    from styles.units.rank import rank_units

    loaded, w = _open(model, seeds, truncation, label, device)
    ranking = rank_units(
        loaded,
        w,
        mask_of(mask),
        mode=mode,  # type: ignore[arg-type]
        screen=screen,  # type: ignore[arg-type]
        confirm=confirm,
        layers=layers.split(",") if layers else None,
        protect=None if protect is None else mask_of(protect),
        ignore=None if ignore is None else mask_of(ignore),
        progress=_progress(),
        resume=resume,
    )
    ranking.save(out)
    typer.echo(f"{'unit':<18}{'score':>9}{'darkens':>9}{'share':>8}{'d_luma':>9}{'d_warmth':>10}  does")
    for row in ranking.top(top, by=by):
        numbers = f"{row.score:9.4f}{row.darkens:9.4f}{row.share:8.2f}{row.d_luma:9.4f}{row.d_warmth:10.4f}"
        typer.echo(
            f"{row.layer + ':' + str(row.channel):<18}{numbers}  {row.label}{'' if row.exact else ' (estimate)'}"
        )
    typer.echo(f"{len(ranking)} units written to {out}; the first {ranking.confirmed_depth()} rows are exact")
    if sheet is not None:
        save_picture(contact_sheet(loaded, w, ranking, count=top, by=by), sheet)


@app.command()
def control(
    mask: Annotated[Path, typer.Option("--mask", help="Picture whose white pixels mark the region.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The unit edit (.json) to write.")],
    darken: Annotated[
        float | None, typer.Option(help="1: its light is gone (the default), 0.5: half, -1: doubled.")
    ] = None,
    colour: Annotated[str | None, typer.Option(help="Its mean colour becomes this, such as 0.9,0.6,0.3.")] = None,
    size: Annotated[float | None, typer.Option(help="It grows or shrinks by this factor.")] = None,
    few: Annotated[int | None, typer.Option(help="Refit on at most so many units (1 to 12).")] = None,
    model: ModelOption = "demo",
    seeds: SeedsOption = "0",
    truncation: TruncationOption = 1.0,
    label: ClassOption = None,
    protect: Annotated[Path | None, typer.Option(help="Mask of what must not change.")] = None,
    keep: Annotated[
        list[Path] | None,
        typer.Option("--keep", help="A mask whose colour, or an edit whose effect, stays; repeatable."),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also write a film strip from -1 to 1 (.png, .gif, .mp4).")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Solve a switch from a mask: the units that darken, colour or resize what is marked, kept as a unit edit."""
    from styles.pictures import save_sweep
    from styles.units.control import solve_control
    from styles.units.modulate import UnitEdit
    from styles.units.modulate import sweep as swept

    loaded, w = _open(model, seeds, truncation, label, device)
    kept = {path.name: UnitEdit.load(path) if path.suffix == ".json" else mask_of(path) for path in keep or []}
    edit = solve_control(
        loaded,
        w,
        mask_of(mask),
        darken=darken,
        colour=None if colour is None else numbers_of(colour),
        size=size,
        protect=None if protect is None else mask_of(protect),
        keep_named=kept,
        units=few,
        progress=_progress("pictures"),
    )
    edit.save(out)
    typer.echo(f"{edit.note}: {', '.join(f'{name} {value:g}' for name, value in edit.measured)}")
    if few is not None:
        for layer, channel, value in edit.units:
            typer.echo(f"{layer + ':' + str(channel):<18}{value:+9.3f}")
    typer.echo(f"{len(edit.units)} units written to {out}; `styles turn --edit {out}` applies it to any picture")
    if sheet is not None:
        steps = [-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0]
        save_sweep(swept(loaded, w, {(u[0], u[1]): u[2] for u in edit.units}, steps, how="shift"), sheet, fps=3)


def numbers_of(text: str) -> list[float]:
    """ "0.9,0.6,0.3" as numbers."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"a colour looks like 0.9,0.6,0.3 (red, green, blue from 0 to 1), got {text!r}.") from None


def _progress(what: str = "units") -> Any:
    """A bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    bar = tqdm(desc=what, unit="", disable=not sys.stderr.isatty(), leave=False)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return update


@app.command()
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

    loaded, w = _open(model, seeds, truncation, label, device)
    change = _edit(unit, edit, how)
    before = loaded.synthesize(w)
    strength = even_strengths(loaded, w, change) if even else 1.0
    with change.applied(loaded, strength=strength, mask=None if mask is None else mask_of(mask)):
        after = loaded.synthesize(w)
    save_picture(grid(torch.cat([before, after]), columns=len(before)), out)
    if save is not None:
        change.save(save)
    typer.echo(f"{len(change.units)} units turned on {len(before)} images; written to {out}")


@app.command()
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
    loaded, w = _open(model, seeds, truncation, label, device)
    named = [text if "=" in text else f"{text}=1" for text in unit] if unit else None
    change = _edit(named, edit, how)
    steps = torch.linspace(low, high, frames).tolist()
    statistics = style_statistics(loaded) if change.how == "sigma" else None
    weights = {(layer, channel): value for layer, channel, value in change.units}
    region = None if mask is None else mask_of(mask)
    save_sweep(swept(loaded, w, weights, steps, how=change.how, mask=region, statistics=statistics), out, fps=fps)
    typer.echo(f"{frames} frames written to {out}")


@app.command()
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
    from styles.relight import write_pairs

    change, region = _edit(unit, edit, how), None if mask is None else mask_of(mask)
    made = write_pairs(
        load_generator(model, device=device),
        change,
        seeds_of(seeds),
        out,
        truncation=truncation,
        class_label=label,
        mask=region,
        batch=batch,
        progress=_progress("pairs"),
    )
    typer.echo(f"{made} pairs painted, {len(seeds_of(seeds)) - made} were there; listed in {out / 'pairs.csv'}")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A .pkl, .pt or .safetensors file, or 'demo'.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store the weights as fp16.")] = False,
) -> None:
    """Turn a checkpoint into safetensors and configuration, running nothing that is in it."""
    from styles.checkpoints.checkpoint import convert as converted

    config = converted(source, target, dtype="float16" if half else "float32").config
    typer.echo(f"{config.resolution} px, {config.architecture}, written to {target}")


def main() -> None:
    """Console entry point: bad input ends with `error: ...` and code 2, an interruption with 130."""
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
