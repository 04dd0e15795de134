"""Verbs of the command line that count pictures: debias, calibrate, layers, evaluate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import concept_edit as ce
from concept_edit.commands.options import (
    NONE,
    AsJson,
    Barred,
    Batch,
    Device,
    EditOption,
    Guidance,
    Kept,
    ModelName,
    Prompts,
    Quiet,
    Shard,
    Steps,
    Strength,
    named_values,
    several,
    split,
)
from concept_edit.commands.telling import bar, print_json
from concept_edit.files import check_writable

if TYPE_CHECKING:
    from concept_edit.balance.debias import Counted
    from concept_edit.evaluation.instruments import Labeller
    from concept_edit.evaluation.measure import Distance
    from concept_edit.models.opened import OpenedModel

ClipSource = Annotated[
    str,
    typer.Option(
        "--clip",
        help="CLIP that scores and labels: a transformers folder or cached hub id, or open_clip:MODEL:WEIGHTS.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    for verb in (debias, calibrate, layers, evaluate):
        app.command()(verb)


def debias(
    concepts: Annotated[str, typer.Argument(help="Concepts to balance, separated by ';'.")] = "",
    *,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A recipe that balances concepts, YAML.")] = None,
    across: Annotated[list[str], several("--across", help="Attributes and shares: 'man=0.5; woman=0.5'.")] = NONE,
    preserve: Kept = NONE,
    tolerance: Annotated[float, typer.Option("--tolerance", help="How near each share must come.")] = 0.08,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds at most.")] = 12,
    check: Annotated[int, typer.Option("--check", min=0, help="Pictures a concept in the closing check.")] = 48,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Keeps the pictures; started again, it goes on.")
    ] = None,
    clip: ClipSource = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="The edit file to write.")] = Path("edit.safetensors"),
    steps: Steps = None,
    guidance: Guidance = None,
    batch_size: Batch = 16,
    model: ModelName = "demo",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Balance concepts: measure their shares, re-aim, re-solve, until counted pictures show what is wanted."""
    from concept_edit.balance.debias import Plan
    from concept_edit.balance.debias import debias as balanced
    from concept_edit.evaluation import Settings
    from concept_edit.models.placement import resolved

    check_writable(out)
    asked = _balancing(concepts, recipe, across, preserve)
    device = resolved(device)
    opened = ce.open_model(model, device=device)
    tools = _instruments(clip, tuple(_shares(across)) or asked.concepts, device)
    found = balanced(
        opened,
        asked,
        None if tools is None else tools.labeller,
        clip=None if tools is None else tools.clip,
        plan=Plan(tolerance=tolerance, rounds=rounds, check=check),
        settings=Settings(steps=steps, guidance_scale=guidance, batch_size=batch_size),
        out=folder,
        progress=None if quiet or as_json else _tell,
    )
    found.edit.save(out)
    if as_json:
        return print_json(found.as_dict() | {"out": str(out)})
    if not quiet:
        lines = [
            f"{f.group}: {f.name} {f.side} {f.value:.3f} ({f.low:.3f} to {f.high:.3f}, n {f.n})" for f in found.figures
        ]
        left = f"not in range: {', '.join(found.unsettled)}" if found.unsettled else "all in range"
        typer.echo("\n".join([*lines, f"{out}: {found.images} pictures, {len(found.rounds)} rounds, {left}"]))
    return None


def calibrate(
    shown: Annotated[str, typer.Argument(help="What the slider should show more of: 'woman'.", show_default=False)],
    *,
    edit: EditOption,
    prompts: Annotated[list[str], several("--ask", help="Prompts to paint, by ';'. [the slider's wordings]")] = NONE,
    strengths: Annotated[list[str], several("--at", help="Strengths, by ';'. [nine over the slider's range]")] = NONE,
    pictures: Annotated[int, typer.Option("--pictures", "-n", min=1, help="Pictures at each strength.")] = 24,
    marks: Annotated[int, typer.Option("--marks", min=2, help="Marks at equal steps of what is seen.")] = 9,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first picture of each strength.")] = 3001,
    clip: ClipSource = "",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The curve: .json (for strip --curve), .md or .html.")
    ] = Path("curve.json"),
    steps: Steps = None,
    guidance: Guidance = None,
    batch_size: Batch = 16,
    model: ModelName = "demo",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Count what a slider shows at each strength, and put its marks at equal steps of that (strip --curve)."""
    from concept_edit.evaluation import Settings

    check_writable(out)
    loaded = ce.Edit.load(edit)
    opened, labeller = _counting(model, device, clip, (shown, *loaded.concepts))
    with bar("painting", not (quiet or as_json)) as progress:
        found = ce.calibrate(
            opened,
            loaded,
            shown,
            labeller,
            prompts=split(*prompts),
            strengths=_numbers(strengths),
            pictures=pictures,
            seed=seed,
            settings=Settings(steps=steps, guidance_scale=guidance, batch_size=batch_size),
            progress=progress,
        )
    found.save(out)
    at = found.marks(marks)
    if as_json:
        print_json(found.as_dict() | {"marks": list(at), "out": str(out)})
    elif not quiet:
        typer.echo(f"{found.to_markdown()}\n\nmarks: {'; '.join(f'{x:+.3g}' for x in at)}\n{out}")


def layers(
    *,
    edit: EditOption,
    kept: Annotated[list[str], several("--kept", help="Concepts that should stay, by ';'. [the recipe's]")] = NONE,
    sizes: Annotated[list[str], several("--sizes", help="Layers in a window, by ';'. [every number]")] = NONE,
    wording: Annotated[str, typer.Option("--ask", help="How a concept is asked for.")] = "a {}",
    seeds: Annotated[int, typer.Option("--seeds", "-n", min=1, help="Pictures of each concept.")] = 2,
    clip: ClipSource = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="The recipe with the layers found, YAML.")] = Path(
        "recipe.yaml"
    ),
    steps: Steps = None,
    guidance: Guidance = None,
    batch_size: Batch = 16,
    model: ModelName = "demo",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write an edit into every window of neighbouring layers, count what pictures show, and keep the best window."""
    from concept_edit.evaluation import Settings

    check_writable(out)
    numbers = _numbers(sizes)
    if any(size != int(size) or size < 1 for size in numbers):
        raise ValueError(f"--sizes {'; '.join(sizes)!r}: give whole numbers of layers, such as '2; 4'")
    loaded = ce.Edit.load(edit)
    opened, labeller = _counting(model, device, clip, (*loaded.concepts, *split(*kept)))
    with bar("painting", not quiet) as progress:
        found = ce.search_layers(
            opened,
            loaded,
            labeller,
            kept=split(*kept),
            sizes=[int(size) for size in numbers],
            wording=wording,
            seeds=range(seeds),
            settings=Settings(steps=steps, guidance_scale=guidance, batch_size=batch_size),
            progress=progress,
        )
    found.recipe().save(out)
    if not quiet:
        typer.echo(f"{found.to_markdown()}\n{out}")


def evaluate(
    *,
    edit: EditOption,
    prompts: Prompts = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; started again, it goes on.")] = Path("run"),
    report: Annotated[Path | None, typer.Option("--report", help=".html, .md or .json. [OUT/report.html]")] = None,
    strength: Strength = 1.0,
    distances: Annotated[list[str], several("--distances", help="ssim; lpips; kid; fid, by ';'.")] = ["ssim"],  # noqa: B006
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first so many rows.")] = None,
    shard: Shard = None,
    per_set: Annotated[int, typer.Option("--per-set", min=1, help="Prompts of each chosen set.")] = 24,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds of each chosen prompt.")] = 1,
    barred: Barred = NONE,
    clip: ClipSource = "",
    steps: Steps = None,
    guidance: Guidance = None,
    batch_size: Batch = 1,
    model: ModelName = "demo",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Paint the same seeds before and after an edit, measure both, report with 95 % intervals."""
    from concept_edit.evaluation import Settings
    from concept_edit.evaluation.processes import launched_first, own_device

    loaded = ce.Edit.load(edit)
    out.mkdir(parents=True, exist_ok=True)
    target = report or out / "report.html"
    check_writable(target)
    device = own_device(device)
    opened = ce.open_model(model, device=device)
    with bar("painting", not (quiet or as_json)) as progress:
        found = ce.evaluate(
            opened,
            loaded,
            prompts,
            out=out,
            instruments=_instruments(clip, loaded.concepts, device),
            distances=cast("tuple[Distance, ...]", split(*distances)),
            strength=strength,
            settings=Settings(steps=steps, guidance_scale=guidance, batch_size=batch_size),
            limit=limit,
            shard=shard,
            seeds=range(1001, 1001 + seeds),
            per_set=per_set,
            barred=split(*barred),
            progress=progress,
        )
    if not launched_first():
        return
    found.save(target)
    if as_json:
        print_json(found.as_dict() | {"report": str(target)})
    elif not quiet:
        typer.echo(f"{found.to_markdown()}\n{target}")


def _counting(model: str, device: str, clip: str, concepts: tuple[str, ...]) -> tuple[OpenedModel, Labeller | None]:
    """An opened model, and what names its pictures; None leaves that to the library."""
    from concept_edit.models.placement import resolved

    device = resolved(device)
    opened, tools = ce.open_model(model, device=device), _instruments(clip, concepts, device)
    return opened, None if tools is None else tools.labeller


def _instruments(clip: str, concepts: tuple[str, ...], device: str) -> Any:
    """A CLIP named by the user scores and labels; None leaves the choice to the library."""
    if not clip:
        return None
    from concept_edit.evaluation import Instruments, OpenClip, TransformersClip, ZeroShot
    from concept_edit.evaluation.sets import EVERYDAY

    kind, *named = clip.split(":", 2)
    if kind == "open_clip" and len(named) != 2:
        raise ValueError(f"{clip!r} is not of the form open_clip:MODEL:WEIGHTS, as in open_clip:ViT-B-32:weights.pt")
    towers: Any = OpenClip(*named, device=device) if kind == "open_clip" else TransformersClip(clip, device=device)
    return Instruments(ZeroShot(towers, tuple(dict.fromkeys([*concepts, *EVERYDAY]))), towers)


def _balancing(concepts: str, path: Path | None, across: Sequence[str], preserve: Sequence[str]) -> ce.Recipe:
    """The recipe file with the named concepts added, each balanced across the given shares; without a file by `uce`,
    which what balancing reaches was measured with and which re-solves in no time."""
    asked = ce.Recipe.load(path) if path is not None else ce.Recipe(method="uce")
    shares = _shares(across)
    if split(concepts) and not shares:
        raise ValueError("say what to balance across, as in --across 'man=0.5; woman=0.5'")
    edits = (*asked.edits, *(ce.Debias(concept, across=shares) for concept in split(concepts)))
    fields = asked.model_dump(exclude={"edits", "preserve"})
    return ce.Recipe(edits=edits, preserve=(*asked.preserve, *split(*preserve)), **fields)


def _shares(texts: Sequence[str]) -> dict[str, float]:
    try:
        return {name: float(share) for name, share in named_values(*texts).items()}
    except ValueError as error:
        raise ValueError(f"{'; '.join(texts)!r} are no shares; write them as in 'man=0.5; woman=0.5'") from error


def _numbers(texts: Sequence[str]) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in split(*texts))
    except ValueError as error:
        raise ValueError(f"{'; '.join(texts)!r} are no strengths; write them as in '-1; 0; 1.5'") from error


def _tell(number: int, counted: Sequence[Counted]) -> None:
    seen = counted[-1]
    total = sum(seen.counts.values())
    shares = ", ".join(f"{name} {hits / total:.2f}" for name, hits in seen.counts.items())
    sys.stderr.write(f"round {number}: {seen.concept}: {shares} of {total} ({seen.verdict})\n")
