"""`concept-edit facts trace` and `concept-edit trace`: which tokens and layers carry a fact, or a concept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from concept_edit.commands.facts import LanguageModelName, facts_app
from concept_edit.commands.options import AsJson, Device, Limit, ModelName, Plot, Quiet
from concept_edit.commands.telling import print_json
from concept_edit.files import check_writable

if TYPE_CHECKING:
    from concept_edit.language.facts import Fact
    from concept_edit.search.traces import Trace

Site = Literal["hidden", "mlp", "attention"]
Window = Annotated[int | None, typer.Option("--window", min=1, help="MLPs or attentions restored together.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the trace as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the verb for image models; the one for language models joins the group of `facts` below."""
    app.command(name="trace")(trace_concept)


def trace_concept(
    prompt: Annotated[str, typer.Argument(help="A prompt with the concept in it.", show_default=False)],
    *,
    subject: Annotated[str, typer.Option("--subject", help="The concept's words in the prompt.", show_default=False)],
    instead: Annotated[str, typer.Option("--instead", help="No noise: these words in their place.")] = "",
    model: ModelName = "demo",
    window: Window = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Noises on the concept.")] = 10,
    layers: Annotated[int, typer.Option("--layers", min=1, help="Layers to name.")] = 1,
    plot: Plot = None,
    device: Device = "auto",
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Trace a concept in an image model's text encoder: no picture; what counts is what the denoiser is given."""
    import concept_edit as ce

    for path in (plot, out):
        if path is not None:
            check_writable(path)
    opened = ce.open_model(model, device=device)
    found = ce.trace(opened, prompt, subject=subject, instead=instead, window=window, samples=samples)
    _tell(found, layers, plot, out, as_json, quiet)


@facts_app.command()
def trace(
    what: Annotated[str, typer.Argument(help="A file of facts, or a prompt with --subject.", show_default=False)],
    *,
    subject: Annotated[str, typer.Option("--subject", help="Of a prompt: the words that are made noise.")] = "",
    answer: Annotated[str, typer.Option("--answer", help="Whose probability counts. [what the model says]")] = "",
    instead: Annotated[str, typer.Option("--instead", help="No noise: states move into a prompt about this.")] = "",
    model: LanguageModelName = "demo",
    kind: Annotated[list[str] | None, typer.Option("--kind", help="hidden, mlp, attention; repeat it. [all]")] = None,
    window: Window = None,
    severed: Annotated[Site | None, typer.Option("--severed", help="Later ones stay as the noise had them.")] = None,
    exact: Annotated[
        int | None, typer.Option("--exact", min=2, help="So many cells of each kind, chosen by a gradient. [all]")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Noises on the subject.")] = 10,
    layers: Annotated[int, typer.Option("--layers", min=1, help="Layers to name for a rewrite.")] = 1,
    limit: Limit = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Keeps each fact's trace; started again, it goes on.")
    ] = None,
    plot: Plot = None,
    device: Device = "auto",
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Trace one prompt, or the mean over a file of facts, and say which layers know.

    Under `accelerate launch` every process traces its share into --folder, and the first averages them.
    """
    import concept_edit as ce
    from concept_edit.evaluation.processes import launched_first, my_share, own_device

    for path in (plot, out):
        if path is not None:
            check_writable(path)
    many = _facts(what, subject, limit)
    place = own_device(device)
    share = my_share(None, place)
    if share.state is not None and (many is None or folder is None):
        raise ValueError("several processes share a file of facts, and meet in --folder; give both")
    lm = ce.open_language_model(model, device=place)
    how = {
        "kind": kind or None, "window": window, "severed": severed, "exact": exact, "samples": samples,
    }  # fmt: skip
    if many is None:
        found = ce.trace(lm, what, subject=subject, answer=answer, instead=instead, **how)  # type: ignore[arg-type]
    else:
        if share.state is not None:
            from concept_edit.search.traces import prepare

            prepare(lm, many, share.pick(many), folder=folder, **how)  # type: ignore[arg-type]
            share.wait()
            if not launched_first():
                return
        found = ce.trace(lm, many, folder=folder, progress=not (quiet or as_json), **how)  # type: ignore[arg-type]
    _tell(found, layers, plot, out, as_json, quiet)


def _facts(what: str, subject: str, limit: int | None) -> list[Fact] | None:
    """The facts of a file; None for a prompt."""
    from concept_edit.language.fact_files import read_facts

    if subject:
        return None
    if not Path(what).is_file():
        raise ValueError(f"{what!r} is no file of facts; a prompt needs its --subject")
    return read_facts(what, most=limit)


def _tell(found: Trace, layers: int, plot: Path | None, out: Path | None, as_json: bool, quiet: bool) -> None:
    if out is not None:
        found.save(out)
    if plot is not None:
        found.plot(plot)
    said: dict[str, object] = {"title": found.title, "facts": found.facts, "skipped": found.skipped}
    said |= {"clean": found.clean, "corrupted": found.corrupted, "screened": dict(found.screened)}
    if "mlp" in found.effects:
        best = found.layers(layers)
        said |= {"layers": list(best), "why": best.why}
    if as_json:
        return print_json(said)
    if quiet:
        return
    lost = found.measure if found.clean == 1 else f"p {found.clean:.3f}, with noise {found.corrupted:.3f}"
    left = f", {found.skipped} that the model does not know left out" if found.skipped else ""
    typer.echo(f"{found.title}: {lost}{left}")
    if "why" in said:
        typer.echo(said["why"])
    for kind, value in found.screened.items():
        typer.echo(f"{kind}: Spearman {value:.2f} between the gradient's estimates and the computed effects")
