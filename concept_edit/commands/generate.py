"""The verb that paints."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

import concept_edit as ce
from concept_edit.commands.options import AsJson, Batch, Device, Guidance, ModelName, Negative, Quiet, Steps, Strength
from concept_edit.commands.telling import bar, say
from concept_edit.files import check_writable
from concept_edit.pictures import contact_sheet, write_png


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(generate)


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
