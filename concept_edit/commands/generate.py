"""Verbs that paint: generate, strip."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

import concept_edit as ce
from concept_edit.commands.options import (
    AsJson,
    Batch,
    Device,
    EditOption,
    Guidance,
    ModelName,
    Negative,
    Quiet,
    Steps,
    Strength,
)
from concept_edit.commands.telling import bar, say
from concept_edit.files import check_writable
from concept_edit.pictures import contact_sheet, write_png, write_strip


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    for verb in (generate, strip):
        app.command()(verb)


def generate(
    prompts: Annotated[list[str], typer.Argument(help="One row of pictures for each prompt.", show_default=False)],
    *,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first picture; the next have the next seeds.")] = 0,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Pictures for each prompt.")] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG to write.")] = Path("grid.png"),
    edit: Annotated[Path | None, typer.Option("--edit", help="An edit file to paint with.")] = None,
    strength: Strength = 1.0,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = None,
    batch_size: Batch = 8,
    model: ModelName = "demo",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Paint pictures, with an edit or without, into one PNG that carries prompt, seed and model."""
    check_writable(out)
    loaded = ce.Edit.load(edit) if edit else None
    opened = ce.open_model(model, device=device)
    seeds = list(range(seed, seed + count))
    listed = [prompt for prompt in prompts for _ in seeds]
    painted = loaded.applied(opened, strength) if loaded else nullcontext()
    with painted, bar("painting", not (quiet or as_json)) as progress:
        images = opened.generate(
            listed,
            seeds * len(prompts),
            steps=steps,
            guidance_scale=guidance,
            negative_prompt=negative,
            batch_size=batch_size,
            progress=progress,
        )
    about = {"prompt": "; ".join(prompts), "seed": " ".join(map(str, seeds)), "model": opened.name}
    about |= {"edit": str(edit), "strength": f"{strength:g}"} if edit else {}
    write_png(out, contact_sheet(images, columns=count if len(prompts) > 1 else min(count, 8)), about)
    say({"out": str(out), "images": len(images), **about}, f"{out}: {len(images)} pictures", as_json, quiet)


def strip(
    prompts: Annotated[list[str], typer.Argument(help="A row of pictures for each prompt.", show_default=False)],
    *,
    edit: EditOption,
    low: Annotated[float | None, typer.Option("--from", help="First strength. [the slider's own, or 0]")] = None,
    high: Annotated[float | None, typer.Option("--to", help="Last strength. [the slider's own, or 1]")] = None,
    frames: Annotated[int, typer.Option("--frames", min=2, help="Strengths, at equal steps.")] = 9,
    curve: Annotated[
        Path | None, typer.Option("--curve", help="Strengths at equal steps of what is seen, as calibrate found.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of every picture.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png strip, or a .gif that moves.")] = Path("strip.png"),
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = None,
    batch_size: Batch = 8,
    model: ModelName = "demo",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Paint the same seed at every strength of an edit, from one end to the other: a film strip."""
    if out.suffix.lower() not in (".png", ".gif"):
        raise ValueError(f"{out}: a strip is written as .png or .gif")
    check_writable(out)
    loaded = ce.Edit.load(edit)
    opened = ce.open_model(model, device=device)
    strengths = _strengths(loaded, low, high, frames) if curve is None else _marks(curve, low, high, frames)
    total = len(prompts) * frames
    columns = []
    with bar("painting", not (quiet or as_json)) as progress:
        for i, strength in enumerate(strengths):
            with loaded.applied(opened, strength):
                columns.append(
                    opened.generate(
                        prompts, seed, steps=steps, guidance_scale=guidance, negative_prompt=negative,
                        batch_size=batch_size,
                    )
                )  # fmt: skip
            progress((i + 1) * len(prompts), total)
    about = {"prompt": "; ".join(prompts), "seed": str(seed), "model": opened.name, "edit": str(edit)}
    about["strengths"] = " ".join(f"{strength:g}" for strength in strengths)
    write_strip(out, columns, [f"{strength:+.2g}" for strength in strengths], about)
    say({"out": str(out), "images": total, **about}, f"{out}: {total} pictures", as_json, quiet)


def _strengths(edit: ce.Edit, low: float | None, high: float | None, frames: int) -> list[float]:
    """Equal steps from `low` to `high`, by default over the range of the edit's slider, else from 0 to 1."""
    own = next((item.range for item in edit.recipe.edits if isinstance(item, ce.Steer)), (0.0, 1.0))
    first, last = own[0] if low is None else low, own[1] if high is None else high
    return [first + (last - first) * i / (frames - 1) for i in range(frames)]


def _marks(curve: Path, low: float | None, high: float | None, frames: int) -> list[float]:
    """The marks of a curve, which has ends of its own."""
    if low is not None or high is not None:
        raise ValueError(f"the marks of {curve} have their own ends; leave out --from and --to, or --curve")
    return list(ce.Curve.load(curve).marks(frames))
