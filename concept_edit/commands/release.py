"""Verbs that vouch for an edit: release, verify, sign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import concept_edit as ce
from concept_edit.commands.options import (
    NONE,
    AsJson,
    Barred,
    Device,
    EditFile,
    Keys,
    ModelName,
    Prompts,
    Quiet,
    Steps,
    Strength,
    named_values,
    several,
    split,
)
from concept_edit.commands.telling import bar, print_json


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    for verb in (release, verify, sign):
        app.command()(verb)


def release(
    edit: EditFile,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the release.")] = Path("release"),
    run: Annotated[Path | None, typer.Option("--run", help="Evaluate in this run folder and put it in.")] = None,
    prompts: Prompts = None,
    decision: Annotated[str, typer.Option("--decision", help="What was decided.")] = "not decided",
    reviewers: Annotated[list[str], several("--reviewers", help="Who decided, by ';'.")] = NONE,
    barred: Barred = NONE,
    rollback: Annotated[str, typer.Option("--rollback", help="Command that brings the original back.")] = "",
    strength: Strength = 1.0,
    steps: Steps = None,
    model: ModelName = "demo",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write the folder a team signs: edit, manifest, history and a page with the evidence."""
    from concept_edit.audit.release import Decision, write_release
    from concept_edit.evaluation import Settings

    loaded, opened = ce.Edit.load(edit), ce.open_model(model, device=_hashed_on(device))
    told = Decision(decision, split(*reviewers), split(*barred), rollback)
    report = None
    if run is not None:
        with bar("painting", not quiet) as progress:
            report = ce.evaluate(
                ce.open_model(model, device=device), loaded, prompts, out=run, strength=strength,
                settings=Settings(steps=steps), barred=told.barred, progress=progress,
            )  # fmt: skip
    found = write_release(
        opened, loaded, out, report=report, diagnosis=ce.diagnose(opened, loaded), decision=told, strength=strength
    )
    if not quiet:
        typer.echo(f"{found.folder}: manifest {found.manifest}")


def verify(
    edit: EditFile,
    *,
    manifest: Annotated[Path | None, typer.Option("--manifest", help="[manifest.json beside the edit]")] = None,
    keys: Keys = NONE,
    corpus: Annotated[Path | None, typer.Option("--corpus", help="The corpus file it was solved with.")] = None,
    model: ModelName = "demo",
    device: Device = "auto",
    as_json: AsJson = False,
) -> int:
    """Solve an edit's recipe again and compare bit for bit; say what was touched. Exit code 1 if anything was."""
    from concept_edit.audit.release import Verification
    from concept_edit.audit.release import verify as verified
    from concept_edit.prompts.corpus import Corpus

    ce.Edit.load(edit)
    held = Corpus.load(corpus) if corpus else None
    found = verified(edit, ce.open_model(model, device=_hashed_on(device)), manifest=manifest, corpus=held)
    if keys:
        from concept_edit.audit.signing import check_signatures

        folder = (manifest or edit).parent
        found = Verification((*found.findings, *check_signatures(folder, named_values(*keys))))
    if as_json:
        facts = [{"part": f.part, "ok": f.ok, "text": f.text} for f in found.findings]
        print_json({"ok": found.ok, "touched": list(found.touched), "findings": facts})
    else:
        typer.echo(f"{found.table()}\n\n{'untouched' if found.ok else 'touched: ' + ', '.join(found.touched)}")
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
        typer.echo(f"{target}: {name} has signed")


def _hashed_on(device: str) -> str:
    """Hashes are of bits: unless a device is named they are taken on the CPU, whatever paints."""
    return "cpu" if device == "auto" else device
