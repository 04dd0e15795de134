"""`concept-edit tasks`: which heads carry a task, the vector they make, and what it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from concept_edit.commands.options import AsJson, Device, Plot, Quiet
from concept_edit.commands.telling import print_json
from concept_edit.files import check_writable

if TYPE_CHECKING:
    from concept_edit.language.tasks import Task

tasks_app = typer.Typer(
    help="Tasks of a language model: rank heads, make vectors, try them.", rich_markup_mode=None, no_args_is_help=True
)

Model = Annotated[str, typer.Option("--model", help="demo-tasks, smollm2, a hub id or a folder of transformers.")]
Template = Annotated[str | None, typer.Option("--template", help="One example, with {input} and {output}.")]
TaskFile = Annotated[Path, typer.Argument(help="JSON of rows with input and output, or a CSV.", show_default=False)]
Shots = Annotated[int, typer.Option("--shots", min=0, help="Examples in a prompt.")]
Ranking = Annotated[Path, typer.Option("--heads", help="What `tasks heads` wrote.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group of verbs."""
    app.add_typer(tasks_app, name="tasks")


@tasks_app.command()
def heads(
    tasks: Annotated[list[Path], typer.Argument(help="Task files, JSON or CSV.", show_default=False)],
    *,
    model: Model = "demo-tasks",
    method: Annotated[Literal["screened", "exact"], typer.Option("--method", help="exact computes all heads.")] = (
        "screened"
    ),
    exact: Annotated[int, typer.Option("--exact", min=2, help="Heads computed after the screen.")] = 40,
    prompts: Annotated[int, typer.Option("--prompts", min=2, help="Prompts a task, examples shuffled.")] = 20,
    against: Annotated[
        Literal["shuffled", "bare"],
        typer.Option("--against", help="bare: prompts without examples, where answers' words alone tell the task."),
    ] = "shuffled",
    shots: Shots = 10,
    template: Template = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Heads to list.")] = 10,
    folder: Annotated[Path | None, typer.Option("--folder", help="Keeps what is done; started again, it goes on.")] = (
        None
    ),
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the map of squares: .png, .svg or .pdf.")] = None,
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="The ranking to write.")] = Path("heads.json"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rank all attention heads by what they do for the tasks, on the pairs that are not held out."""
    import concept_edit as ce

    for path in (plot, out):
        if path is not None:
            check_writable(path)
    read = [_load(path, template).split()[0] for path in tasks]
    lm = ce.open_language_model(model, device=device)
    found = ce.rank_heads(
        lm, read, method=method, exact=exact, prompts=prompts, shots=shots, folder=folder,
        progress=not (quiet or as_json), against=against,
    )  # fmt: skip
    found.save(out)
    if plot is not None:
        found.plot(plot)
    count = min(top, int(found.exact.sum()))
    if as_json:
        rows = [row._asdict() for row in found.rows(count)]
        print_json({"out": str(out), "tasks": list(found.tasks), "heads": rows, "screened": found.screened})
    elif not quiet:
        typer.echo(found.table(count))


@tasks_app.command()
def vector(
    task: TaskFile,
    *,
    heads: Ranking,
    model: Model = "demo-tasks",
    top: Annotated[int, typer.Option("--top", min=1, help="Heads that make the vector.")] = 10,
    shots: Shots = 10,
    template: Template = None,
    decode: Annotated[int, typer.Option("--decode", min=0, help="Tokens the vector alone says.")] = 5,
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="The vector to write.")] = Path("vector.safetensors"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the function vector of a task out of the best heads, on the pairs that are not held out."""
    import concept_edit as ce

    check_writable(out)
    chosen = ce.Heads.load(heads).top(top)
    lm = ce.open_language_model(model, device=device)
    made = ce.function_vector(lm, _load(task, template).split()[0], chosen, shots=shots)
    made.save(out)
    said = [(token, round(p, 4)) for token, p in made.decoded(lm, decode)] if decode else []
    if as_json:
        return print_json({"out": str(out), "name": made.name, "norm": made.norm, "heads": chosen, "says": said})
    if not quiet:
        typer.echo(f"{out}: {made.name} of {len(chosen)} heads, norm {made.norm:.2f}")
        if said:
            typer.echo("alone it says " + ", ".join(f"{token!r} {p:.3f}" for token, p in said))


@tasks_app.command(name="try")
def try_it(
    task: TaskFile,
    *,
    vector: Annotated[Path, typer.Option("--vector", help="What `tasks vector` wrote.", show_default=False)],
    model: Model = "demo-tasks",
    layer: Annotated[int | None, typer.Option("--layer", help="Where it is added. [searched]")] = None,
    strength: Annotated[float | None, typer.Option("--strength", help="How strongly. [searched]")] = None,
    natural: Annotated[
        list[str] | None, typer.Option("--natural", help="A plain sentence with {input} and {output}; repeat it.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Prompts of each kind.")] = 50,
    shots: Shots = 10,
    template: Template = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a vector on held-out pairs, beside a random direction: plain, shuffled, worded otherwise.

    Layer and strength, where not given, are searched on the other pairs.
    """
    import concept_edit as ce
    from concept_edit.language.trials import sweep, try_vector
    from concept_edit.language.vectors import random_vector

    loaded = ce.FunctionVector.load(vector)
    made, held = _load(task, template).split()
    lm = ce.open_language_model(model, device=device)
    if layer is None or strength is None:
        layers = None if layer is None else [layer]
        layer, strength = sweep(
            lm, loaded, made, layers=layers, strengths=(1.0, 2.0) if strength is None else (strength,)
        ).best
    trial = try_vector(
        lm, loaded, held, layer, strength, shown=made, controls={"random": random_vector(loaded)},
        natural=natural or (), shots=shots, count=count, words=True,
    )  # fmt: skip
    if as_json:
        rows = [{"condition": s.condition, "who": s.who, "measure": s.measure, "value": s.value, "low": s.interval[0],
                 "high": s.interval[1], "n": s.n} for s in trial.shares]  # fmt: skip
        return print_json({"task": trial.task, "layer": layer, "strength": strength, "shares": rows})
    typer.echo(f"{trial.vector} in layer {layer}, strength {strength:g}, on {trial.task}\n\n{trial.table()}")


@tasks_app.command()
def attention(
    prompt: Annotated[str, typer.Argument(help="What the head reads.", show_default=False)],
    *,
    layer: Annotated[int, typer.Option("--layer", min=0, show_default=False)],
    head: Annotated[int, typer.Option("--head", min=0, show_default=False)],
    model: Model = "demo-tasks",
    plot: Plot = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Where one head looks, over a prompt."""
    import concept_edit as ce
    from concept_edit.search.attention import attention_of

    if plot is not None:
        check_writable(plot)
    found = attention_of(ce.open_language_model(model, device=device), prompt.replace("\\n", "\n"), layer, head)
    if plot is not None:
        found.plot(plot)
    if as_json:
        return print_json({"tokens": list(found.tokens), "weights": found.weights.tolist()})
    looked = ", ".join(f"{token!r} {weight:.2f}" for token, weight in found.looked_at())
    typer.echo(f"layer {layer}, head {head}: the last token looks at {looked}")


def _load(path: Path, template: str | None) -> Task:
    import concept_edit as ce
    from concept_edit.language.tasks import TEMPLATE

    return ce.Task.load(path, template=(template or TEMPLATE).replace("\\n", "\n"))
