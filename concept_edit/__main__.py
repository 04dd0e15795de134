"""The command line: every verb is one call of the library."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from pydantic import ValidationError

import concept_edit as ce
from concept_edit.commands import corpus as corpus_commands
from concept_edit.commands import evaluate as evaluate_commands
from concept_edit.commands import page as page_command
from concept_edit.commands.export import register
from concept_edit.files import check_writable, replace_file
from concept_edit.notes import Note
from concept_edit.recipe import Erase, Moderate, Recipe, explain, pair_up, read_concepts

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.edit import Edit

app = typer.Typer(
    name="concept-edit",
    help="Erase, moderate and balance concepts of text-to-image models in closed form.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
register(app)
evaluate_commands.register(app)
page_command.register(app)
corpus_commands.register(app)

_STOPPED = 130
"""Exit code after Ctrl-C."""

Concepts = Annotated[str, typer.Argument(help="Concepts, separated by ';'.", show_default=False)]
ConceptsFlag = Annotated[str, typer.Option("--edit_concepts", "--erase_concepts", help="As CONCEPTS (UCE's flag).")]
ConceptsFile = Annotated[
    Path | None, typer.Option("--concepts-file", help="Text file, one concept a line, or CSV with a 'concept' column.")
]
Guide = Annotated[
    str | None,
    typer.Option("--guide", "--guide_concepts", help="What to paint instead: one guide, or one for each, by ';'."),
]
Kept = Annotated[str, typer.Option("--preserve", "--preserve_concepts", help="Prompts to keep, separated by ';'.")]
KeptFile = Annotated[Path | None, typer.Option("--preserve-file", help="Prompts to keep, as --concepts-file.")]
Ridge = Annotated[float, typer.Option("--ridge", "--lamb", help="How strongly every matrix is held to its old value.")]
EraseScale = Annotated[float, typer.Option("--erase-scale", "--erase_scale", help="Weight of all edits.")]
KeepScale = Annotated[
    float | None, typer.Option("--preserve-scale", "--preserve_scale", help="Weight of each kept row.")
]
Tokens = Annotated[
    Literal["last", "aligned", "subject"] | None,
    typer.Option(
        "--tokens",
        help="Rows that speak for a prompt: last (UCE 2025), aligned (UCE 2023), subject. [last for uce, else subject]",
    ),
]
Wordings = Annotated[str, typer.Option("--wordings", help="More wordings: art, object, or templates with {}, by ';'.")]
Expand = Annotated[
    Literal["true", "false"], typer.Option("--expand_prompts", help="Add the wordings of --concept_type (UCE's flag).")
]
Kind = Annotated[
    Literal["art", "object"] | None, typer.Option("--concept_type", help="art: the guide is 'art' unless given.")
]
Method = Annotated[
    Literal["uce", "guarded", "gated"] | None,
    typer.Option(
        "--method",
        help="guarded: keeps the rest; uce: as published; gated: while serving, no export. "
        "[guarded; uce where --tokens or a flag of UCE's own is given]",
    ),
]
CorpusFile = Annotated[
    Path | None, typer.Option("--corpus", help="For guarded and gated: a file of `corpus`. The model's own if none.")
]
Layers = Annotated[str, typer.Option("--layers", help="Roles (k; v; pooled) or name patterns, by ';'. All if none.")]
ModelName = Annotated[
    str, typer.Option("--model", "--model_id", help="demo, a hub id, a diffusers folder or a .safetensors checkpoint.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 or mps.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The edit file to write. [edit.safetensors]")]
Folder = Annotated[Path | None, typer.Option("--save_dir", help="Folder of the edit file (UCE's flag).")]
Name = Annotated[str | None, typer.Option("--exp_name", help="Name of the edit file (UCE's flag).")]
Held = Annotated[bool, typer.Option("--statistics", help="Store the statistics too: the edit can be added to.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse prompts that the tokenizer has to cut.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
EditFile = Annotated[Path, typer.Argument(help="An edit file.", show_default=False)]


@app.command()
def erase(
    concepts: Concepts = "",
    *,
    edit_concepts: ConceptsFlag = "",
    concepts_file: ConceptsFile = None,
    guide: Guide = None,
    preserve: Kept = "",
    preserve_file: KeptFile = None,
    ridge: Ridge = 0.5,
    erase_scale: EraseScale = 1.0,
    preserve_scale: KeepScale = None,
    tokens: Tokens = None,
    method: Method = None,
    corpus: CorpusFile = None,
    wordings: Wordings = "",
    expand_prompts: Expand = "false",
    concept_type: Kind = None,
    layers: Layers = "",
    model: ModelName = "demo",
    device: Device = "cpu",
    out: Out = None,
    save_dir: Folder = None,
    exp_name: Name = None,
    statistics: Held = False,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Erase concepts: paint the guide wherever they are asked for."""
    default = "art" if concept_type == "art" else ""
    as_uce = expand_prompts == "true"
    words = (*_split(wordings), *([concept_type or "object"] if as_uce else []))
    guides = [part.strip() for part in (default if guide is None else guide).split(";")]
    edits = _listed(";".join((concepts, edit_concepts)), guides, words)
    if concepts_file is not None:
        edits += read_concepts(concepts_file, guide=guides[0], wordings=words)
    recipe = Recipe(
        edits=edits,
        preserve=_kept(preserve, preserve_file),
        ridge=ridge,
        erase_scale=erase_scale,
        preserve_scale=preserve_scale,
        layers=_split(layers),
        **_how(method, tokens, published=bool(edit_concepts or concept_type or save_dir or exp_name) or as_uce),
    )
    target = out or (save_dir or Path()) / f"{exp_name or 'edit'}.safetensors"
    _solve(recipe, _Work(model, device, target, corpus, statistics, strict, as_json, quiet))


@app.command()
def moderate(
    concepts: Concepts = "",
    *,
    concepts_file: ConceptsFile = None,
    preserve: Kept = "",
    preserve_file: KeptFile = None,
    ridge: Ridge = 0.5,
    tokens: Tokens = None,
    method: Method = None,
    corpus: CorpusFile = None,
    wordings: Wordings = "",
    layers: Layers = "",
    model: ModelName = "demo",
    device: Device = "cpu",
    out: Out = None,
    statistics: Held = False,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Suppress concepts: paint the empty prompt wherever they are asked for."""
    words = _split(wordings)
    listed = _listed(concepts, ("",), words)
    if concepts_file is not None:
        listed += read_concepts(concepts_file, wordings=words)
    edits = tuple(Moderate(edit.concept, weight=edit.weight, wordings=edit.wordings) for edit in listed)
    kept = _kept(preserve, preserve_file)
    recipe = Recipe(edits=edits, preserve=kept, ridge=ridge, layers=_split(layers), **_how(method, tokens))
    target = out or Path("edit.safetensors")
    _solve(recipe, _Work(model, device, target, corpus, statistics, strict, as_json, quiet))


@app.command()
def solve(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.", show_default=False)],
    *,
    corpus: CorpusFile = None,
    model: ModelName = "demo",
    device: Device = "cpu",
    out: Out = None,
    statistics: Held = False,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Solve a recipe file into an edit file."""
    target = out or Path("edit.safetensors")
    _solve(Recipe.load(recipe), _Work(model, device, target, corpus, statistics, strict, as_json, quiet))


@app.command()
def show(edit: EditFile, *, as_json: AsJson = False) -> None:
    """Show an edit file: recipe, rank, sizes, text encoder."""
    loaded = ce.Edit.load(edit)
    facts = _facts(loaded, edit)
    facts |= {"model": loaded.model, "text_encoder": loaded.fingerprint, "toolkit": loaded.toolkit}
    facts["statistics"] = loaded.statistics is not None
    if as_json:
        return _print_json(facts | {"recipe": json.loads(loaded.recipe.compact())})
    print(_sentence(loaded, edit))
    print(f"solved on the text encoder of {loaded.model} ({loaded.fingerprint}) by version {loaded.toolkit}")
    print(f"statistics: {'stored' if loaded.statistics else 'not stored'}\n\n{loaded.recipe.to_yaml()}", end="")


@app.command()
def diagnose(
    edit: EditFile,
    *,
    held_out: Annotated[str, typer.Option("--held-out", help="Prompts that should not move, by ';'.")] = "",
    model: ModelName = "demo",
    device: Device = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure an edit on the text side: no image, seconds."""
    loaded = ce.Edit.load(edit)
    opened = ce.open_model(model, device=device)
    found = ce.diagnose(opened, loaded, held_out=_split(held_out), progress=not (quiet or as_json))
    if as_json:
        return _print_json(found.as_dict())
    print(f"{found.table()}\n\nverdict: {found.verdict}")


@app.command()
def generate(
    prompts: Annotated[list[str], typer.Argument(help="One row of pictures for each prompt.", show_default=False)],
    *,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first picture; the next have the next seeds.")] = 0,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Pictures for each prompt.")] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG to write.")] = Path("grid.png"),
    edit: Annotated[Path | None, typer.Option("--edit", help="An edit file to paint with.")] = None,
    strength: Annotated[float, typer.Option("--strength", help="0: the original, 1: the whole edit.")] = 1.0,
    steps: Annotated[int | None, typer.Option("--steps", help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="Guidance scale.")] = None,
    negative: Annotated[str | None, typer.Option("--negative", help="Negative prompt.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures painted at a time.")] = 8,
    model: ModelName = "demo",
    device: Device = "cpu",
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
    with painted, _bar(len(listed), "painting", not (quiet or as_json)) as progress:
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
    _write_png(out, _grid(images, count if len(prompts) > 1 else min(count, 8)), about)
    _say({"out": str(out), "images": len(images), **about}, f"{out}: {len(images)} pictures", as_json, quiet)


@app.command()
def schema(out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")] = None) -> None:
    """The JSON schema of recipe files, for editors that check YAML."""
    text = json.dumps(Recipe.model_json_schema(), indent=2)
    if out is None:
        print(text)
    else:
        replace_file(out, text.encode())


class _Work(NamedTuple):
    """Where to solve, what to write, how to tell."""

    model: str
    device: str
    out: Path
    corpus: Path | None
    statistics: bool
    strict: bool
    as_json: bool
    quiet: bool


def _solve(recipe: Recipe, work: _Work) -> None:
    if not recipe.edits:
        raise ValueError("no concept to change; name some, as in: concept-edit erase 'Van Gogh; Picasso'")
    check_writable(work.out)
    model = ce.open_model(work.model, device=work.device)
    corpus = ce.Corpus.load(work.corpus) if work.corpus else None
    start = time.perf_counter()
    shown = not (work.quiet or work.as_json)
    statistics = ce.collect(model, recipe, corpus=corpus, strict=work.strict, progress=shown)
    encoded = time.perf_counter()
    edit = ce.solve_statistics(statistics)
    edit.save(work.out, statistics=work.statistics)
    seconds = {"encode": round(encoded - start, 4), "solve": round(time.perf_counter() - encoded, 4)}
    facts = _facts(edit, work.out) | {"seconds": seconds, "cut": dict(statistics.cut)}
    facts |= {"predicted": dict(edit.predicted)} if edit.predicted else {}
    spent = f"encoded in {seconds['encode']:.2f} s, solved and written in {seconds['solve']:.2f} s"
    lines = [_sentence(edit, work.out), *_foretold(edit), spent]
    _say(facts, "\n".join(lines), work.as_json, work.quiet)


def _foretold(edit: Edit) -> list[str]:
    """What a guarded solve expects, a line for each stream."""
    lines = []
    for name, told in edit.predicted.items():
        lines.append(
            f"expected in {name}: " + ", ".join(f"{told[key]:.0%} {_MEANING[key]}" for key in _MEANING if key in told)
        )
        if "groups" in told:
            lines.append(
                f"more than one matrix holds: near rows of {name} were merged into {told['groups']:.0f} groups, and "
                "more of each concept is left; method 'gated' has no such bound"
            )
    return lines


_MEANING = {
    "left": "of the concepts left",
    "kept": "drift of kept prompts",
    "unnamed": "of prompts nobody named",
    "captions": "of captions",
}


def _how(method: str | None, tokens: str | None, *, published: bool = False) -> dict[str, Any]:
    """Method and token rule: guarded unless the command speaks UCE's own language or names a rule."""
    chosen = method or ("uce" if published or tokens else "guarded")
    return {"method": chosen} | ({"tokens": tokens} if tokens else {})


def _facts(edit: Edit, path: Path) -> dict[str, Any]:
    streams = {name: {"width": f.left.shape[0], "rank": f.rank} for name, f in edit.factors.items()}
    return {"out": str(path), "bytes": path.stat().st_size, "concepts": list(edit.concepts), "streams": streams}


def _sentence(edit: Edit, path: Path) -> str:
    if edit.gates:
        ranks = ", ".join(f"{name} gate of {len(gate.thresholds)} rows" for name, gate in edit.gates.items())
    else:
        ranks = ", ".join(f"{name} rank {f.rank} of {f.left.shape[0]}" for name, f in edit.factors.items())
    n = len(edit.concepts)
    return f"{path}: {n} concept{'s' * (n != 1)}; {ranks}; {path.stat().st_size / 1000:.1f} kB"


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def _listed(text: str, guides: Sequence[str], wordings: Sequence[str]) -> tuple[Erase, ...]:
    concepts = _words(text, "--concepts-file")
    return pair_up(concepts, guides, wordings=wordings) if concepts else ()


def _words(text: str, option: str) -> tuple[str, ...]:
    """Concepts given as text; a list's file name among them would be taken for a concept."""
    words = _split(text)
    file = next((word for word in words if word.endswith((".txt", ".csv")) and Path(word).is_file()), None)
    if file is not None:
        raise ValueError(f"{file} is a file and would be taken for a concept itself; give it as {option} {file}")
    return words


def _kept(text: str, path: Path | None) -> tuple[str, ...]:
    kept = _words(text, "--preserve-file")
    return (*kept, *(edit.concept for edit in (read_concepts(path) if path else ())))


@contextmanager
def _bar(total: int, what: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, as the function that moves it."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="picture", disable=not shown) as bar:

        def move(done: int, _: int) -> None:
            bar.update(done - bar.n)

        yield move


def _grid(images: Sequence[Image], columns: int, gap: int = 2) -> Image:
    from PIL import Image

    width, height = images[0].size
    rows = -(-len(images) // columns)
    grid = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, image in enumerate(images):
        grid.paste(image, (index % columns * (width + gap), index // columns * (height + gap)))
    return grid


def _write_png(path: Path, image: Image, about: dict[str, str]) -> None:
    from io import BytesIO

    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    for key, value in about.items():
        text.add_itxt(key, value)
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    replace_file(path, buffer.getvalue())


def _say(facts: dict[str, Any], sentence: str, as_json: bool, quiet: bool) -> None:
    if as_json:
        _print_json(facts)
    elif not quiet:
        print(sentence)


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts, ensure_ascii=False, indent=2))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 2 for bad input, 130 for Ctrl-C."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", Note)
            warnings.showwarning = _note  # type: ignore[assignment]
            result = app(list(arguments) or ["--help"], standalone_mode=False)
        code = result if isinstance(result, int) else 0
        return _fail("stopped", code) if code == _STOPPED else code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped", _STOPPED)
    except ValidationError as error:
        return _fail(explain(error))
    except (ValueError, OSError) as error:
        return _fail(_plain(error))
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _fail(error.format_message())


def main() -> None:
    """The `concept-edit` program."""
    sys.exit(run(sys.argv[1:]))


def _fail(message: str, code: int = 2) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _plain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _note(message: Warning | str, *_: Any) -> None:
    print(f"note: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
