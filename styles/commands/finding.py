"""Verbs that find units: rank, control, dissect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styles.commands.options import (
    ClassOption,
    DeviceOption,
    ModelOption,
    OutOption,
    SeedsOption,
    TruncationOption,
    numbers_of,
    opened,
    progress_bar,
)  # fmt: skip
from styles.reading import mask_of
from styles.seeds import seeds_of

if TYPE_CHECKING:
    from torch import Tensor

    from styles.dissection.segmenter import Segmenter
    from styles.dissection.units import Dissection
    from styles.generator import Generator


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

    loaded, w = opened(model, seeds, truncation, label, device)
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
        progress=progress_bar(),
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

    loaded, w = opened(model, seeds, truncation, label, device)
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
        progress=progress_bar("pictures"),
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


def dissect(
    layer: Annotated[str, typer.Option("--layer", help="The layer whose units are labelled, such as b16.conv1.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The report: .html, or a .png of the best units.")],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="Folder CONCEPT/SEED.png of white marks. [the embedded rooms' own, for 'demo']"),
    ] = None,
    segmenter: Annotated[
        str | None,
        typer.Option("--segmenter", help="Finds the concepts: 'demo' (rooms), or a .safetensors file."),
    ] = None,
    concepts: Annotated[str | None, typer.Option(help="Classes of the segmenter, such as shade,bed. [all]")] = None,
    change: Annotated[
        str | None,
        typer.Option(help="With a segmenter: remove and insert the best 1, 2, 4, 8 units of this concept; its areas."),
    ] = None,
    model: ModelOption = "demo",
    seeds: SeedsOption = "0-199",
    truncation: TruncationOption = 1.0,
    label: ClassOption = None,
    share: Annotated[float, typer.Option(help="Share of places above a unit's threshold.")] = 0.01,
    least: Annotated[float, typer.Option(help="IoU from which on a unit detects a concept.")] = 0.04,
    device: DeviceOption = "auto",
) -> None:
    """Network Dissection: what each unit of a layer detects, with the pictures that show it."""
    from styles.dissection.activations import maps_of, pictures_of
    from styles.dissection.marks import masks_in
    from styles.dissection.report import save_report
    from styles.dissection.segmenter import known, load_segmenter, seen_in
    from styles.dissection.units import labelled

    if masks is not None and segmenter is not None:
        raise ValueError("give --masks or --segmenter, to say who knows what stands where.")
    if segmenter is None and (concepts or change):
        raise ValueError("--concepts and --change need --segmenter, which finds them in pictures.")
    if masks is None and segmenter is None and model != "demo":
        raise ValueError(
            "only the embedded rooms know what stands where; give --masks FOLDER (CONCEPT/SEED.png) or --segmenter FILE"
        )
    seer = None if segmenter is None else load_segmenter(segmenter, device=device)
    names = [name.strip() for name in concepts.split(",")] if concepts else None
    if seer is not None:
        known(seer, [*(names or []), *([change] if change else [])])
    loaded, w = opened(model, seeds, truncation, label, device)
    listed = seeds_of(seeds)
    pictures = pictures_of(loaded, w)
    if seer is not None:
        marks: Mapping[str, Tensor] = seen_in(seer, pictures, names)
    else:
        marks = _embedded(loaded, listed) if masks is None else masks_in(masks, listed)
    maps = maps_of(loaded, layer, w, progress=progress_bar("pictures"))
    found = labelled(layer, maps, marks, share=share, least=least)
    save_report(found, maps, pictures, out, title=f"Units of {layer}")
    typer.echo(f"{found.sentence()} Written to {out}")
    if seer is not None and change:
        _tell_changes(loaded, w, seer, found, change)


def _embedded(model: Generator, seeds: Sequence[int]) -> Mapping[str, Tensor]:
    from styles.dissection.marks import embedded_masks

    return embedded_masks(model.sample_z(seeds), size=model.config.resolution)


def _tell_changes(model: Generator, w: Tensor, seer: Segmenter, found: Dissection, concept: str) -> None:
    """How the area of each thing changes without a concept's best units, and with them where it is not."""
    from styles.dissection.intervention import area_changes

    units = [unit.channel for unit in found.detectors(concept)]
    if not units:
        raise ValueError(f"no unit of {found.layer} detects {concept}, so there is none to remove; try another layer.")
    sets = [units[:count] for count in (1, 2, 4, 8) if count <= len(units)]
    typer.echo(f"\nArea in % of the picture: {concept}'s best units removed everywhere, or inserted where it is not")
    typer.echo(f"{'':<14}" + "".join(f"{name:>12}" for name in seer.classes))
    changes = area_changes(model, found.layer, sets, w, seer, concept=concept)
    rows = [("as it is", changes[0].whole)]
    for each in changes:
        rows += [(f"removed {len(each.units)}", each.removed), (f"inserted {len(each.units)}", each.inserted)]
    for name, areas in rows:
        typer.echo(f"{name:<14}" + "".join(f"{100 * areas[key]:12.2f}" for key in seer.classes))
