"""`concept-edit facts`: rewrite facts of a language model, and measure whether it knows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from concept_edit.commands.options import AsJson, Device, Force, Limit, Quiet
from concept_edit.commands.telling import print_json
from concept_edit.files import check_writable

if TYPE_CHECKING:
    from concept_edit.language.edit import FactEdit
    from concept_edit.language.facts import Fact
    from concept_edit.language.model import LanguageModel

facts_app = typer.Typer(
    help="Facts of a language model: trace, rewrite, measure.", rich_markup_mode=None, no_args_is_help=True
)

FactsFile = Annotated[
    Path, typer.Argument(help="YAML, JSON or CSV of facts, a CounterFact file or a relation table.", show_default=False)
]
LanguageModelName = Annotated[str, typer.Option("--model", help="demo, smollm2, a hub id or a folder of transformers.")]


def register(app: typer.Typer) -> None:
    """Add the group of verbs."""
    app.add_typer(facts_app, name="facts")


@facts_app.command()
def rewrite(
    facts: FactsFile,
    *,
    model: LanguageModelName = "demo",
    method: Annotated[
        Literal["rome", "memit", "null", "ft"],
        typer.Option("--method", help="rome: one layer, exact; memit: several, many facts; null: AlphaEdit's; ft."),
    ] = "memit",
    layers: Annotated[str, typer.Option("--layers", help="Numbers, as '2,3,4' or '2-6'. Traced if none.")] = "",
    keys: Annotated[Path | None, typer.Option("--keys", help="Keys' statistics; read if there, else written.")] = None,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Text for the keys: one text a line, or a folder of .txt.")
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="How much of it is read.")] = 100_000,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Also a PEFT adapter: a new folder.")] = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="Also the edited model: a new folder.")] = None,
    limit: Limit = None,
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="The edit file to write.")] = Path("facts.safetensors"),
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rewrite facts and save the edit; the model itself is left as it is."""
    import concept_edit as ce
    from concept_edit.export.target import free_file, free_folder
    from concept_edit.language.fact_files import read_facts

    free_file(out, force=force)
    for target in (adapter, folder):
        if target is not None:
            free_folder(target)
    held, lm, chosen = read_facts(facts, most=limit), ce.open_language_model(model, device=device), _numbers(layers)
    statistics = None
    if method != "ft" and (keys is not None or corpus is not None):
        chosen, statistics = _statistics(lm, held, method, chosen, keys, corpus, tokens, not quiet)
    edit = ce.rewrite(lm, held, method, chosen, statistics)
    edit.save(out)
    told: dict[str, Any] = {"path": out, "facts": list(edit.concepts), "method": method, "layers": list(edit.layers)}
    told["notes"] = list(edit.notes)
    if adapter is not None:
        told["adapter"] = ce.export_adapter(edit, lm, adapter).path
    if folder is not None:
        told["folder"] = ce.export_language_model(edit, lm, folder).path
    if as_json:
        print_json(told)
        return
    for note in edit.notes:
        typer.echo(f"note: {note}", err=True)
    if not quiet:
        where = f"layers {', '.join(map(str, edit.layers))}" if len(edit.layers) > 1 else f"layer {edit.layers[0]}"
        typer.echo(f"{out}: {len(edit.facts)} facts, {method} in {where} of {lm.name}")


@facts_app.command()
def measure(
    facts: FactsFile,
    *,
    model: LanguageModelName = "demo",
    edit: Annotated[list[Path] | None, typer.Option("--edit", help="An edit file; repeat it for several rows.")] = None,
    strength: Annotated[float, typer.Option("--strength", help="0: the original, 1: the whole edit.")] = 1.0,
    generate: Annotated[int, typer.Option("--generate", min=0, help="Tokens a prompt for GE and RS; 0: none.")] = 0,
    limit: Limit = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also a file: .html, .md, .json, or text.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure facts on the model as it is, and under each edit: ES PS NS and their kin, with 95 % intervals."""
    import concept_edit as ce
    from concept_edit.language.edit import FactEdit
    from concept_edit.language.fact_files import read_facts
    from concept_edit.language.scores import as_json as scores_json
    from concept_edit.language.scores import as_text, save_scores

    if out is not None:
        check_writable(out)
    edits: list[tuple[str, FactEdit | None]] = [("unedited", None)]
    edits += [(path.stem, FactEdit.load(path)) for path in edit or []]
    held, lm = read_facts(facts, most=limit), ce.open_language_model(model, device=device)
    scores = [
        ce.measure_facts(lm, held, own, strength=strength, label=label, generate=generate) for label, own in edits
    ]
    typer.echo(scores_json(scores) if as_json else as_text(scores))
    if out is not None:
        save_scores(scores, out)


def _statistics(
    lm: LanguageModel,
    facts: list[Fact],
    method: str,
    layers: list[int] | None,
    keys: Path | None,
    corpus: Path | None,
    tokens: int,
    progress: bool,
) -> tuple[list[int], Any]:
    """Layers, and the keys' statistics: out of their file where it is there, else collected and written to it."""
    import concept_edit as ce

    if keys is not None and keys.is_file():
        found = ce.KeyStatistics.load(keys)
        return layers or list(found.layers), found
    if layers is None:
        from concept_edit.language.rewrite import LAYERS
        from concept_edit.language.traced import traced_layers

        layers = list(traced_layers(lm, facts, LAYERS[method])[0])
    found = ce.collect_keys(lm, layers, corpus, tokens=tokens, progress=progress)
    if keys is not None:
        found.save(keys)
    return layers, found


def _numbers(text: str) -> list[int] | None:
    """'2,3' or '2-6' as numbers; None for nothing."""
    found: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{text!r} are no layers; write numbers as '2,3,4' or '2-6'")
        found += range(int(first), int(last if dash else first) + 1)
    return found or None
