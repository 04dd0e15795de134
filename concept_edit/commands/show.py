"""Verbs that look at an edit or a recipe: show, diagnose, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import concept_edit as ce
from concept_edit.commands.options import AsJson, Device, EditFile, ModelName, Quiet, split
from concept_edit.commands.telling import print_json
from concept_edit.files import replace_file
from concept_edit.recipe import Recipe

if TYPE_CHECKING:
    from concept_edit.edit import Edit


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    for verb in (show, diagnose, schema):
        app.command()(verb)


def show(edit: EditFile, *, as_json: AsJson = False) -> None:
    """Show an edit file: recipe, rank, sizes, text encoder."""
    loaded = ce.Edit.load(edit)
    facts = facts_of(loaded, edit)
    facts |= {"model": loaded.model, "text_encoder": loaded.fingerprint, "toolkit": loaded.toolkit}
    facts["statistics"] = loaded.statistics is not None
    if as_json:
        return print_json(facts | {"recipe": json.loads(loaded.recipe.compact())})
    typer.echo(sentence_of(loaded, edit))
    typer.echo(f"solved on the text encoder of {loaded.model} ({loaded.fingerprint}) by version {loaded.toolkit}")
    typer.echo(f"statistics: {'stored' if loaded.statistics else 'not stored'}\n\n{loaded.recipe.to_yaml()}", nl=False)


def diagnose(
    edit: EditFile,
    *,
    held_out: Annotated[str, typer.Option("--held-out", help="Prompts that should not move, by ';'.")] = "",
    model: ModelName = "demo",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure an edit on the text side: no image, seconds."""
    loaded = ce.Edit.load(edit)
    opened = ce.open_model(model, device=device)
    found = ce.diagnose(opened, loaded, held_out=split(held_out), progress=not (quiet or as_json))
    if as_json:
        return print_json(found.as_dict())
    typer.echo(f"{found.table()}\n\nverdict: {found.verdict}")


def schema(out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")] = None) -> None:
    """The JSON schema of recipe files, for editors that check YAML."""
    text = json.dumps(Recipe.model_json_schema(), indent=2)
    if out is None:
        typer.echo(text)
    else:
        replace_file(out, text.encode())


def facts_of(edit: Edit, path: Path) -> dict[str, Any]:
    """An edit file as plain facts."""
    streams = {name: {"width": f.left.shape[0], "rank": f.rank} for name, f in edit.factors.items()}
    return {"out": str(path), "bytes": path.stat().st_size, "concepts": list(edit.concepts), "streams": streams}


def sentence_of(edit: Edit, path: Path) -> str:
    """An edit file in a line."""
    if edit.gates:
        ranks = ", ".join(f"{name} gate of {len(gate.thresholds)} rows" for name, gate in edit.gates.items())
    else:
        ranks = ", ".join(f"{name} rank {f.rank} of {f.left.shape[0]}" for name, f in edit.factors.items())
    n = len(edit.concepts)
    return f"{path}: {n} concept{'s' * (n != 1)}; {ranks}; {path.stat().st_size / 1000:.1f} kB"
