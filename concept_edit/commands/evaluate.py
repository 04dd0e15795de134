"""Verbs of the command line that measure and vouch: evaluate, debias, verify, sign."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import concept_edit as ce
from concept_edit.files import check_writable

if TYPE_CHECKING:
    from concept_edit.balance.debias import Counted
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
    str,
    typer.Option(
        "--clip",
        help="CLIP that scores and labels: a transformers folder or cached hub id, or open_clip:MODEL:WEIGHTS.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    for verb in (debias, evaluate, release, verify, sign):
        app.command()(verb)


def debias(
    concepts: Annotated[str, typer.Argument(help="Concepts to balance, separated by ';'.")] = "",
    *,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="A recipe that balances concepts, YAML.")] = None,
    across: Annotated[str, typer.Option("--across", help="Attributes and shares: 'man=0.5; woman=0.5'.")] = "",
    preserve: Annotated[str, typer.Option("--preserve", help="Prompts to keep, separated by ';'.")] = "",
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
    device: Device = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Balance concepts: measure their shares, re-aim, re-solve, until counted pictures show what is wanted."""
    from concept_edit.balance.debias import Plan
    from concept_edit.balance.debias import debias as balanced
    from concept_edit.evaluation import Settings

    check_writable(out)
    asked = _balancing(concepts, recipe, across, preserve)
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
        return _print_json(found.as_dict() | {"out": str(out)})
    if not quiet:
        lines = [
            f"{f.group}: {f.name} {f.side} {f.value:.3f} ({f.low:.3f} to {f.high:.3f}, n {f.n})" for f in found.figures
        ]
        left = f"not in range: {', '.join(found.unsettled)}" if found.unsettled else "all in range"
        _print("\n".join([*lines, f"{out}: {found.images} pictures, {len(found.rounds)} rounds, {left}"]))
    return None


def release(
    edit: EditFile,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the release.")] = Path("release"),
    run: Annotated[Path | None, typer.Option("--run", help="Evaluate in this run folder and put it in.")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="CSV with prompt and evaluation_seed.")] = None,
    decision: Annotated[str, typer.Option("--decision", help="What was decided.")] = "not decided",
    reviewers: Annotated[str, typer.Option("--reviewers", help="Who decided, by ';'.")] = "",
    barred: Annotated[str, typer.Option("--barred", help="Concepts whose pictures are not shown, by ';'.")] = "",
    rollback: Annotated[str, typer.Option("--rollback", help="Command that brings the original back.")] = "",
    strength: Annotated[float, typer.Option("--strength", help="0: the original, 1: the whole edit.")] = 1.0,
    steps: Steps = None,
    model: ModelName = "demo",
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Write the folder a team signs: edit, manifest, history and a page with the evidence."""
    from concept_edit.audit.release import Decision, write_release
    from concept_edit.evaluation import Settings

    loaded, opened = ce.Edit.load(edit), ce.open_model(model, device=device)
    told = Decision(decision, _split(reviewers), _split(barred), rollback)
    report = None
    if run is not None:
        with _bar("painting", not quiet) as progress:
            report = ce.evaluate(
                opened, loaded, prompts, out=run, strength=strength, settings=Settings(steps=steps),
                barred=told.barred, progress=progress,
            )  # fmt: skip
    found = write_release(
        opened, loaded, out, report=report, diagnosis=ce.diagnose(opened, loaded), decision=told, strength=strength
    )
    if not quiet:
        _print(f"{found.folder}: manifest {found.manifest}")


def verify(
    edit: EditFile,
    *,
    manifest: Annotated[Path | None, typer.Option("--manifest", help="[manifest.json beside the edit]")] = None,
    keys: Annotated[str, typer.Option("--keys", help="Who must have signed: 'ada=ada.pub; ben=ben.pub'.")] = "",
    corpus: Annotated[Path | None, typer.Option("--corpus", help="The corpus file it was solved with.")] = None,
    model: ModelName = "demo",
    device: Device = "cpu",
    as_json: AsJson = False,
) -> int:
    """Solve an edit's recipe again and compare bit for bit; say what was touched. Exit code 1 if anything was."""
    from concept_edit.audit.release import Verification
    from concept_edit.audit.release import verify as verified
    from concept_edit.prompts.corpus import Corpus

    ce.Edit.load(edit)
    held = Corpus.load(corpus) if corpus else None
    found = verified(edit, ce.open_model(model, device=device), manifest=manifest, corpus=held)
    if keys:
        from concept_edit.audit.signing import check_signatures

        folder = (manifest or edit).parent
        found = Verification((*found.findings, *check_signatures(folder, named_values(keys))))
    if as_json:
        facts = [{"part": f.part, "ok": f.ok, "text": f.text} for f in found.findings]
        _print_json({"ok": found.ok, "touched": list(found.touched), "findings": facts})
    else:
        _print(f"{found.table()}\n\n{'untouched' if found.ok else 'touched: ' + ', '.join(found.touched)}")
    return 0 if found.ok else 1


def sign(
    folder: Annotated[Path, typer.Argument(help="The folder of a release.", show_default=False)],
    *,
    name: Annotated[str, typer.Option("--as", help="Who signs.", show_default=False)],
    key: Annotated[Path, typer.Option("--key", help="Their private key, PEM.", show_default=False)],
    quiet: Quiet = False,
) -> None:
    """Sign a release. Two people, each with a key of their own, make it one that may be exported."""
    from concept_edit.audit.signing import sign as signed

    target = signed(folder, name, key)
    if not quiet:
        _print(f"{target}: {name} has signed")


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
    from concept_edit.evaluation.processes import launched_first, own_device

    loaded = ce.Edit.load(edit)
    out.mkdir(parents=True, exist_ok=True)
    target = report or out / "report.html"
    check_writable(target)
    opened = ce.open_model(model, device=own_device(device))
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
    from concept_edit.evaluation import Instruments, OpenClip, TransformersClip, ZeroShot
    from concept_edit.evaluation.sets import EVERYDAY

    kind, *named = clip.split(":", 2)
    if kind == "open_clip" and len(named) != 2:
        raise ValueError(f"{clip!r} is not of the form open_clip:MODEL:WEIGHTS, as in open_clip:ViT-B-32:weights.pt")
    towers: Any = OpenClip(*named, device=device) if kind == "open_clip" else TransformersClip(clip, device=device)
    return Instruments(ZeroShot(towers, tuple(dict.fromkeys([*concepts, *EVERYDAY]))), towers)


def _balancing(concepts: str, path: Path | None, across: str, preserve: str) -> ce.Recipe:
    """The recipe file with the named concepts added, each balanced across the given shares; without a file by `uce`,
    which what balancing reaches was measured with and which re-solves in no time."""
    asked = ce.Recipe.load(path) if path is not None else ce.Recipe(method="uce")
    shares = _shares(across)
    if _split(concepts) and not shares:
        raise ValueError("say what to balance across, as in --across 'man=0.5; woman=0.5'")
    edits = (*asked.edits, *(ce.Debias(concept, across=shares) for concept in _split(concepts)))
    fields = asked.model_dump(exclude={"edits", "preserve"})
    return ce.Recipe(edits=edits, preserve=(*asked.preserve, *_split(preserve)), **fields)


def _shares(text: str) -> dict[str, float]:
    try:
        return {name: float(share) for name, share in named_values(text).items()}
    except ValueError as error:
        raise ValueError(f"{text!r} are no shares; write them as in 'man=0.5; woman=0.5'") from error


def named_values(text: str) -> dict[str, str]:
    """'a=b; c=d' as a table."""
    parts = [part.partition("=") for part in _split(text)]
    if any(not (name.strip() and sign and value.strip()) for name, sign, value in parts):
        raise ValueError(f"{text!r} is not of the form 'name=value; name=value'")
    return {name.strip(): value.strip() for name, _, value in parts}


def _tell(number: int, counted: Sequence[Counted]) -> None:
    seen = counted[-1]
    total = sum(seen.counts.values())
    shares = ", ".join(f"{name} {hits / total:.2f}" for name, hits in seen.counts.items())
    sys.stderr.write(f"round {number}: {seen.concept}: {shares} of {total} ({seen.verdict})\n")


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
