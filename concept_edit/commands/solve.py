"""Verbs that make an edit file: erase, moderate, steer, solve."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

import concept_edit as ce
from concept_edit.commands.options import (
    NONE,
    AsJson,
    Common,
    Concepts,
    ConceptsFile,
    ConceptsFlag,
    CorpusFile,
    Device,
    EraseScale,
    Expand,
    Folder,
    Guide,
    Held,
    KeepScale,
    Kept,
    KeptFile,
    Kind,
    Layers,
    Method,
    ModelName,
    Name,
    Out,
    Quiet,
    Ridge,
    Strict,
    Tokens,
    Wordings,
    several,
    split,
)
from concept_edit.commands.show import Outline, facts_of, sentence_of
from concept_edit.commands.telling import say
from concept_edit.files import check_writable
from concept_edit.recipe import Erase, Moderate, Recipe, Steer, pair_up, read_concepts

if TYPE_CHECKING:
    from concept_edit.edit import Edit
    from concept_edit.familiar import Familiar
    from concept_edit.models.contract import Model


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    for verb in (erase, moderate, steer, solve):
        app.command()(verb)


def erase(
    concepts: Concepts = "",
    *,
    edit_concepts: ConceptsFlag = NONE,
    concepts_file: ConceptsFile = None,
    guide: Guide = None,
    preserve: Kept = NONE,
    preserve_file: KeptFile = None,
    ridge: Ridge = 0.5,
    erase_scale: EraseScale = 1.0,
    preserve_scale: KeepScale = None,
    tokens: Tokens = None,
    method: Method = None,
    corpus: CorpusFile = None,
    common: Common = None,
    wordings: Wordings = NONE,
    expand_prompts: Expand = "false",
    concept_type: Kind = None,
    layers: Layers = NONE,
    model: ModelName = "demo",
    device: Device = "auto",
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
    as_uce, unsafe = expand_prompts == "true", concept_type == "unsafe"
    words = (*split(*wordings), *([concept_type or "object"] if as_uce and not unsafe else []))
    guides = [part.strip() for part in (default if guide is None else ";".join(guide)).split(";")]
    edits = _listed(";".join((concepts, *edit_concepts)), guides, words)
    if concepts_file is not None:
        edits += read_concepts(concepts_file, guide=guides[0], wordings=words)
    recipe = Recipe(
        edits=tuple(_moderated(edit) if unsafe and not edit.guide else edit for edit in edits),
        preserve=_kept(preserve, preserve_file),
        ridge=ridge,
        erase_scale=erase_scale,
        preserve_scale=preserve_scale,
        keep_common=common,
        layers=split(*layers),
        **_how(method, tokens, published=bool(edit_concepts or concept_type or save_dir or exp_name) or as_uce),
    )
    target = out or (save_dir or Path()) / f"{exp_name or 'edit'}.safetensors"
    _solve(recipe, _Work(model, device, target, corpus, statistics, strict, as_json, quiet))


def moderate(
    concepts: Concepts = "",
    *,
    concepts_file: ConceptsFile = None,
    preserve: Kept = NONE,
    preserve_file: KeptFile = None,
    ridge: Ridge = 0.5,
    tokens: Tokens = None,
    method: Method = None,
    corpus: CorpusFile = None,
    common: Common = None,
    wordings: Wordings = NONE,
    layers: Layers = NONE,
    model: ModelName = "demo",
    device: Device = "auto",
    out: Out = None,
    statistics: Held = False,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Suppress concepts: paint the empty prompt wherever they are asked for."""
    words = split(*wordings)
    listed = _listed(concepts, ("",), words)
    if concepts_file is not None:
        listed += read_concepts(concepts_file, wordings=words)
    edits = tuple(_moderated(edit) for edit in listed)
    kept = _kept(preserve, preserve_file)
    how = _how(method, tokens)
    recipe = Recipe(edits=edits, preserve=kept, ridge=ridge, keep_common=common, layers=split(*layers), **how)
    target = out or Path("edit.safetensors")
    _solve(recipe, _Work(model, device, target, corpus, statistics, strict, as_json, quiet))


def steer(
    concepts: Concepts,
    *,
    towards: Annotated[str, typer.Option("--towards", help="The upper end, {} for the concept: 'old {}'.")],
    away: Annotated[str, typer.Option("--away", help="The lower end: 'young {}'. [the concept as it is]")] = "",
    contrasts: Annotated[
        list[str], several("--contrasts", help="Other concepts whose ends make the direction too, by ';'.")
    ] = NONE,
    low: Annotated[float, typer.Option("--from", help="Lowest strength the slider is meant for.")] = -2.0,
    high: Annotated[float, typer.Option("--to", help="Highest strength.")] = 2.0,
    preserve: Kept = NONE,
    preserve_file: KeptFile = None,
    ridge: Ridge = 0.5,
    tokens: Tokens = None,
    method: Method = None,
    corpus: CorpusFile = None,
    wordings: Wordings = ["object"],  # noqa: B006
    layers: Layers = NONE,
    model: ModelName = "demo",
    device: Device = "auto",
    out: Out = None,
    statistics: Held = False,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a slider: the strength of the edit slides concepts between two ends."""
    edits = tuple(
        Steer(
            concept,
            towards=towards.replace("{}", concept),
            away=away.replace("{}", concept),
            contrasts=tuple(other for other in split(*contrasts) if other != concept),
            range=(low, high),
            wordings=split(*wordings),
        )
        for concept in split(concepts)
    )
    kept = _kept(preserve, preserve_file)
    recipe = Recipe(edits=edits, preserve=kept, ridge=ridge, layers=split(*layers), **_how(method, tokens))
    target = out or Path("edit.safetensors")
    _solve(recipe, _Work(model, device, target, corpus, statistics, strict, as_json, quiet))


def solve(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.", show_default=False)],
    *,
    corpus: CorpusFile = None,
    model: ModelName = "demo",
    device: Device = "auto",
    out: Out = None,
    statistics: Held = False,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Solve a recipe file into an edit file."""
    target = out or Path("edit.safetensors")
    _solve(Recipe.load(recipe), _Work(model, device, target, corpus, statistics, strict, as_json, quiet))


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
    outline = Outline.of(edit)
    facts = facts_of(outline, work.out) | {"seconds": seconds, "cut": dict(statistics.cut)}
    facts |= {"predicted": dict(edit.predicted)} if edit.predicted else {}
    unknown = _unknown(model, recipe)
    facts |= {"unknown": [found.word for found in unknown]}
    kinds = recipe.taken_for(model.reads_briefly)
    facts |= {"taken_for": kinds} if kinds else {}
    spent = f"encoded in {seconds['encode']:.2f} s, solved and written in {seconds['solve']:.2f} s"
    notes = [f"note: {found.sentence}" for found in unknown]
    lines = [sentence_of(outline, work.out), *_spelt(kinds), *_foretold(edit), *notes, spent]
    say(facts, "\n".join(lines), work.as_json, work.quiet)


def _unknown(model: Model, recipe: Recipe) -> list[Familiar]:
    """Concepts that the model reads like made-up words; of longer lists the first so many are looked at."""
    found = ce.familiar(model, list(dict.fromkeys(recipe.concepts))[:_LOOKED_AT])
    return [each for each in found if each.verdict == "unknown"]


def _spelt(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """What concepts were taken for, as nobody said it."""
    told = [f"{', '.join(names[:_TOLD])}{', ...' * (len(names) > _TOLD)}: as a {kind}" for kind, names in kinds.items()]
    return [f"told, by spelling, {'; '.join(told)} (if not: --wordings object, or style)"] if told else []


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


_TOLD = 6
"""Concepts that a sentence names."""
_LOOKED_AT = 64
"""Concepts whose words are held against made-up ones."""
_MEANING = {
    "left": "of the concepts left",
    "kept": "drift of kept prompts",
    "unnamed": "of prompts nobody named",
    "captions": "of captions",
}


def _how(method: str | None, tokens: str | None, *, published: bool = False) -> dict[str, Any]:
    """Method and token rule as given; a command that speaks UCE's own language means UCE, as a token rule does."""
    given = {"method": method or ("uce" if published else None), "tokens": tokens}
    return {name: value for name, value in given.items() if value}


def _moderated(edit: Erase) -> Moderate:
    return Moderate(edit.concept, weight=edit.weight, wordings=edit.wordings)


def _listed(text: str, guides: Sequence[str], wordings: Sequence[str]) -> tuple[Erase, ...]:
    concepts = _words(text, "--concepts-file")
    return pair_up(concepts, guides, wordings=wordings) if concepts else ()


def _words(text: str, option: str) -> tuple[str, ...]:
    """Concepts given as text; a list's file name among them would be taken for a concept."""
    words = split(text)
    file = next((word for word in words if word.endswith((".txt", ".csv")) and Path(word).is_file()), None)
    if file is not None:
        raise ValueError(f"{file} is a file and would be taken for a concept itself; give it as {option} {file}")
    return words


def _kept(texts: Sequence[str], path: Path | None) -> tuple[str, ...]:
    kept = _words(";".join(texts), "--preserve-file")
    return (*kept, *(edit.concept for edit in (read_concepts(path) if path else ())))
