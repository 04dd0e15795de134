"""Verbs of the command line that measure and vouch: evaluate, debias, verify, sign."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import concept_edit as ce
from concept_edit.files import check_writable

if TYPE_CHECKING:
    from concept_edit.evaluation.measure import Distance

EditOption = Annotated[Path, typer.Option("--edit", help="An edit file.", show_default=False)]
EditFile = Annotated[Path, typer.Argument(help="An edit file.", show_default=False)]
ModelName = Annotated[
    str, typer.Option("--model", "--model_id", help="demo, a hub id, a diffusers folder or a .safetensors checkpoint.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps.")]
Guidance = Annotated[float | None, typer.Option("--guidance", help="Guidance scale.")]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Pictures painted at a time.")]
ClipSource = Annotated[
    str, typer.Option("--clip", help="CLIP that scores and labels: a transformers folder or cached hub id.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    app.command()(evaluate)


def evaluate(
    *,
    edit: EditOption,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="CSV with prompt and evaluation_seed.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; started again, it goes on.")] = Path("run"),
    report: Annotated[Path | None, typer.Option("--report", help=".html, .md or .json. [OUT/report.html]")] = None,
    strength: Annotated[float, typer.Option("--strength", help="0: the original, 1: the whole edit.")] = 1.0,
    distances: Annotated[str, typer.Option("--distances", help="ssim; lpips; kid; fid, by ';'.")] = "ssim",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first so many rows.")] = None,
    shard: Annotated[str | None, typer.Option("--shard", help="i/n: the i-th of n interleaved shares.")] = None,
    per_set: Annotated[int, typer.Option("--per-set", min=1, help="Prompts of each chosen set.")] = 24,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds of each chosen prompt.")] = 1,
    barred: Annotated[str, typer.Option("--barred", help="Concepts whose pictures are not shown, by ';'.")] = "",
    clip: ClipSource = "",
    steps: Steps = None,
    guidance: Guidance = None,
    batch_size: Batch = 1,
    model: ModelName = "demo",
    device: Device = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Paint the same seeds before and after an edit, measure both, report with 95 % intervals."""
    from concept_edit.evaluation import Settings
    from concept_edit.evaluation.processes import launched_first

    out.mkdir(parents=True, exist_ok=True)
    target = report or out / "report.html"
    check_writable(target)
    loaded, opened = ce.Edit.load(edit), ce.open_model(model, device=device)
    with _bar("painting", not (quiet or as_json)) as progress:
        found = ce.evaluate(
            opened,
            loaded,
            prompts,
            out=out,
            instruments=_instruments(clip, loaded.concepts, device),
            distances=cast("tuple[Distance, ...]", _split(distances)),
            strength=strength,
            settings=Settings(steps=steps, guidance_scale=guidance, batch_size=batch_size),
            limit=limit,
            shard=shard,
            seeds=range(1001, 1001 + seeds),
            per_set=per_set,
            barred=_split(barred),
            progress=progress,
        )
    if not launched_first():
        return
    found.save(target)
    if as_json:
        _print_json(found.as_dict() | {"report": str(target)})
    elif not quiet:
        _print(f"{found.to_markdown()}\n{target}")


def _instruments(clip: str, concepts: tuple[str, ...], device: str) -> Any:
    """A CLIP named by the user scores and labels; None leaves the choice to the library."""
    if not clip:
        return None
    from concept_edit.evaluation import Instruments, TransformersClip, ZeroShot
    from concept_edit.evaluation.sets import EVERYDAY

    towers = TransformersClip(clip, device=device)
    return Instruments(ZeroShot(towers, tuple(dict.fromkeys([*concepts, *EVERYDAY]))), towers)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


@contextmanager
def _bar(what: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, as the function that moves it."""
    from tqdm import tqdm

    with tqdm(desc=what, unit="picture", disable=not shown) as bar:

        def move(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield move


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _print_json(facts: dict[str, Any]) -> None:
    _print(json.dumps(facts, ensure_ascii=False, indent=2))
