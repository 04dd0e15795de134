"""The change as files: the edit, a PEFT adapter, the facts as a recipe; and an edit or a recipe opened again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile

from ui.fact.answers import ask
from ui.fact.board import Board, roles, rows_of
from ui.fact.wish import asked_of
from ui.fact.work import after, desk_of, heard, solved, traced
from ui.fact.world import surrounded
from ui.workshop.session import News, Tell, Visit, Workshop

if TYPE_CHECKING:
    from concept_edit.language.facts import Fact

KINDS = {
    "edit": ("edit file", "This toolkit’s own: small, exact, and it opens here again."),
    "adapter": ("PEFT adapter (zip)", "For transformers with peft, at the strength above; unpack it first."),
    "recipe": ("recipe", "The fact with its wordings and neighbours, as YAML, to write again anywhere."),
}
_MOST_BYTES = 20_000_000
_LOADED = """{about}

from transformers import AutoModelForCausalLM
from peft import PeftModel
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("FOLDER OR HUB ID OF {model}"), "{folder}")
"""


def write(workshop: Workshop, visit: Visit, kind: str) -> Iterator[News]:
    """Write one file of the version that holds; the last news carries its path.

    Raises:
        ValueError: the original model holds, or an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"'{kind}' is no file of a change; choose from {', '.join(KINDS)}")

    def job(tell: Tell) -> Path:
        tell(News(f"Writing the {KINDS[kind][0]}"))
        board = solved(workshop, visit)
        stem = visit.folder / _slug(board)
        if kind == "edit":
            assert board.edit is not None
            path = stem.with_suffix(".safetensors")
            board.edit.save(path)
            return path
        return _adapter(workshop, board, stem) if kind == "adapter" else _recipe(board, stem.with_suffix(".yaml"))

    return workshop.work(visit, job)


def load(workshop: Workshop, visit: Visit, model: str, path: str | Path) -> Iterator[News]:
    """Open an edit file on a model; the last news has its board, which is a version then.

    Raises:
        ValueError: no edit of facts, one of another model, or a file that is too large.
    """
    import concept_edit as ce

    place = Path(path)
    if place.stat().st_size > _MOST_BYTES:
        raise ValueError(f"the file is larger than any edit of facts ({_MOST_BYTES // 1_000_000} MB); give another")

    def job(tell: Tell) -> Board:
        tell(News("Opening the edit", 0.1))
        edit, lm = ce.FactEdit.load(place), workshop.language(model)
        edit.check(lm)
        with heard(visit, lm):
            fact = surrounded(model, edit.facts[0])
            asked = roles(fact)
            before = ask(lm, [prompt for _, prompt in asked], fact.new)
            fact = replace(fact, old=fact.old or before[0].word, neighbours=_answered(fact, [b.word for b in before]))
            tell(News("Tracing where it is held", 0.4))
            more = len(edit.facts) - 1
            notes = (f"the file changes {more} more fact{'s' * (more != 1)}, in force here too",) if more else ()
            board = Board(
                model, fact, rows_of(asked, before, None), traced(lm, fact), edit.layers, edit.method, edit=edit,
                asked=asked_of(model, fact.asked, fact.subject, fact.new, "", "", None, edit.method), notes=notes,
            )  # fmt: skip
            board = after(lm, board, edit)
        desk_of(visit).push(board)
        return board

    return workshop.work(visit, job)


def read_recipe(path: str | Path) -> Fact:
    """The first fact of a recipe.

    Raises:
        ValueError: no facts in it; the message names what is wrong.
    """
    from concept_edit.language.fact_files import read_facts

    if Path(path).stat().st_size > _MOST_BYTES:
        raise ValueError(f"the file is larger than any recipe ({_MOST_BYTES // 1_000_000} MB); give another")
    return read_facts(path, most=1)[0]


def _answered(fact: Fact, words: list[str]) -> tuple[tuple[str, str], ...]:
    """Neighbours, those without an answer with the model's own."""
    own = words[len(words) - len(fact.neighbours) :]
    return tuple((p, word if answer == "?" else answer) for (p, answer), word in zip(fact.neighbours, own, strict=True))


def _adapter(workshop: Workshop, board: Board, stem: Path) -> Path:
    import concept_edit as ce

    assert board.edit is not None
    folder, path = stem.with_name(f"{stem.name}-adapter"), stem.with_name(f"{stem.name}-adapter.zip")
    lm = workshop.language(board.model)
    written = ce.export_adapter(board.edit, lm, folder, strength=board.strength)
    about = f"{board.fact.told}, of {board.model}, at strength {board.strength:g}."
    try:
        with ZipFile(path, "w", ZIP_DEFLATED) as pack:
            for file in sorted(written.path.iterdir()):
                pack.write(file, f"{folder.name}/{file.name}")
            pack.writestr("README.txt", _LOADED.format(about=about, model=board.model, folder=folder.name))
    finally:
        for file in written.path.iterdir():
            file.unlink()
        written.path.rmdir()
    return path


def _recipe(board: Board, path: Path) -> Path:
    from concept_edit.language.fact_files import save_facts

    save_facts([board.fact], path)
    layers = ",".join(map(str, board.layers))
    how = f"# concept-edit facts rewrite {path.name} --model {board.model} --method {board.method} --layers {layers}\n"
    path.write_text(how + path.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def _slug(board: Board) -> str:
    """A file name: letters, digits and hyphens only."""
    return re.sub(r"[^a-z0-9]+", "-", f"{board.fact.subject} {board.fact.new}".lower()).strip("-")[:48] or "fact"
