"""Verbs that look at an edit or a recipe: show, diagnose, schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from pydantic import ValidationError

import concept_edit as ce
from concept_edit.commands.facts_files import holds_facts, sentences
from concept_edit.commands.facts_files import outline as facts_outline
from concept_edit.commands.options import NONE, AsJson, Device, EditFile, ModelName, Quiet, several, split
from concept_edit.commands.telling import print_json
from concept_edit.files import replace_file
from concept_edit.reading.kinds import EDIT
from concept_edit.reading.tensor_file import read_arrays
from concept_edit.recipe import Recipe, explain

if TYPE_CHECKING:
    from concept_edit.edit import Edit


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    for verb in (show, diagnose, schema):
        app.command()(verb)


def show(edit: EditFile, *, as_json: AsJson = False) -> None:
    """Show an edit file: recipe or facts, rank, sizes, the model it is for."""
    if holds_facts(edit):
        told = facts_outline(edit)
        return print_json(told) if as_json else typer.echo(sentences(told))
    outline, header = _read(edit)
    facts = facts_of(outline, edit)
    facts |= {name: header[name] for name in ("model", "text_encoder", "toolkit")}
    facts["statistics"] = "statistics" in header
    if as_json:
        return print_json(facts | {"recipe": json.loads(outline.recipe.compact())})
    typer.echo(sentence_of(outline, edit))
    solved_on = f"solved on the text encoder of {header['model']} ({header['text_encoder']})"
    typer.echo(f"{solved_on} by version {header['toolkit']}")
    typer.echo(
        f"statistics: {'stored' if facts['statistics'] else 'not stored'}\n\n{outline.recipe.to_yaml()}", nl=False
    )


def diagnose(
    edit: EditFile,
    *,
    held_out: Annotated[list[str], several("--held-out", help="Prompts that should not move, by ';'.")] = NONE,
    model: ModelName = "demo",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure an edit on the text side: no image, seconds."""
    loaded = ce.Edit.load(edit)
    opened = ce.open_model(model, device=device)
    found = ce.diagnose(opened, loaded, held_out=split(*held_out), progress=not (quiet or as_json))
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


class Outline(NamedTuple):
    """What can be told of an edit without computing with it, so without waiting for torch."""

    recipe: Recipe
    streams: Mapping[str, tuple[int, int]]
    """Stream -> width and rank."""
    gates: Mapping[str, int]
    """Stream -> rows that open its gate."""

    @classmethod
    def of(cls, edit: Edit) -> Outline:
        """An edit's."""
        streams = {name: (f.left.shape[0], f.rank) for name, f in edit.factors.items()}
        return cls(edit.recipe, streams, {name: len(gate.thresholds) for name, gate in edit.gates.items()})


def _read(path: Path) -> tuple[Outline, dict[str, Any]]:
    """Outline and header of an edit file, which is checked as `Edit.load` does."""
    arrays, header = read_arrays(path, EDIT)
    try:
        recipe = Recipe.model_validate(header["recipe"])
    except ValidationError as error:
        raise ValueError(f"{path} is not a whole edit file ({explain(error)}); solve or fetch it again") from error
    streams = {name: arrays[f"{name}.left"].shape for name in header["counts"]}
    gates = {n: len(arrays[f"{n}.gate.thresholds"]) for n in streams if f"{n}.gate.thresholds" in arrays}
    return Outline(recipe, streams, gates), header


def facts_of(outline: Outline, path: Path) -> dict[str, Any]:
    """An edit file as plain facts."""
    streams = {name: {"width": width, "rank": rank} for name, (width, rank) in outline.streams.items()}
    concepts = list(outline.recipe.concepts)
    return {"out": str(path), "bytes": path.stat().st_size, "concepts": concepts, "streams": streams}


def sentence_of(outline: Outline, path: Path) -> str:
    """An edit file in a line."""
    ranks = [f"{name} gate of {rows} rows" for name, rows in outline.gates.items()]
    ranks = ranks or [f"{name} rank {rank} of {width}" for name, (width, rank) in outline.streams.items()]
    n = len(outline.recipe.concepts)
    return f"{path}: {n} concept{'s' * (n != 1)}; {', '.join(ranks)}; {path.stat().st_size / 1000:.1f} kB"
