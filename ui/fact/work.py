"""The card without the page: trace, write, ask again; strength, history.

Functions with `tell` run in the lane. The model's weights are changed only inside `edit.applied`, and nobody else's
work is let in meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ui.fact.answers import ask, top_words
from ui.fact.board import Board, Desk, Map, opening, roles, rows_of
from ui.fact.lens import lens
from ui.fact.wish import Wish
from ui.fact.world import surrounded
from ui.workshop.session import EMBEDDED, News, Tell, Visit, Workshop

if TYPE_CHECKING:
    from concept_edit.language.edit import FactEdit
    from concept_edit.language.facts import Fact
    from concept_edit.language.keys import KeyStatistics
    from concept_edit.language.model import LanguageModel

_LARGE = 200
"""Places (tokens times layers) above which a gradient chooses the ones that are traced exactly."""
_EXACT, _SAMPLES, _FEWER = 40, 10, 4
"""Places of each kind then; noises on the subject, in small models and in large ones."""
_SHALLOW = 12
"""Layers of a model that is traced one layer at a time. In windows of two, the embedded model's trace chose layer 1 for
16 of its first 40 facts, where none is learned; one at a time, layer 0 for 39 of them."""
_KEYS, _ENGLISH_KEYS = 6_000, 3_000
"""Tokens whose keys are held: of the embedded world's sentences, or of English."""
_PARAGRAPH, _EVERY = 200, 7
"""Letters of a paragraph worth reading, and which of them are read."""
_MEASURES = ("ES", "PS", "NS", "S")
_keys: WeakKeyDictionary[LanguageModel, dict[int, KeyStatistics]] = WeakKeyDictionary()
"""Ordinary keys by model and layer: seconds of work that every change of a model shares."""


def desk_of(visit: Visit) -> Desk:
    """What this visitor has on the card."""
    if "fact" not in visit.benches:
        visit.benches["fact"] = Desk([opening()])
    desk: Desk = visit.benches["fact"]
    return desk


def change(workshop: Workshop, visit: Visit, wish: Wish) -> Iterator[News]:
    """Trace the fact, write the new answer, and ask before and after. Boards come as they grow; the last is a version.

    Raises:
        ValueError: no such model, a fact it cannot trace, or as `rewrite`.
    """

    def job(tell: Tell) -> Board:
        tell(News(f"Opening {wish.model}", 0.02))
        lm = workshop.language(wish.model)
        with heard(visit, lm):
            board = _made(lm, wish, tell)
        desk_of(visit).push(board)
        return board

    return workshop.work(visit, job)


def turn(workshop: Workshop, visit: Visit, strength: float) -> Iterator[News]:
    """Ask again with the version that holds at another strength.

    Raises:
        ValueError: nothing changed yet, or a strength outside 0 to 2.
    """
    desk, strength = desk_of(visit), float(strength)
    if not desk.at:
        raise ValueError("this is the original model; press Redo for the change, or “Change it” for another")
    if not 0 <= strength <= 2:
        raise ValueError(f"strength goes from 0 to 2, got {strength:g}")

    def job(tell: Tell) -> Board:
        board = solved(workshop, visit)
        assert board.edit is not None
        found = after(workshop.language(board.model), replace(board, strength=strength), board.edit)
        desk.turned(found)
        return found

    return workshop.work(visit, job, light=desk.board.model == EMBEDDED)


def solved(workshop: Workshop, visit: Visit) -> Board:
    """The version that holds, with its edit; in the lane.

    Raises:
        ValueError: the original model holds, which is no version.
    """
    import concept_edit as ce

    desk = desk_of(visit)
    if not desk.at:
        raise ValueError("this is the original model; there is no change to take along")
    board = desk.board
    if board.edit is None:
        lm = workshop.language(board.model)
        edit = ce.rewrite(lm, board.fact, board.method, board.layers, keys_of(lm, board.layers))  # type: ignore[arg-type]
        board = replace(board, edit=edit)
        desk.turned(board)
    return board


def go(visit: Visit, by: int) -> Board:
    """One step back or forward in the history.

    Raises:
        ValueError: a job runs, or there is no such step.
    """
    desk = desk_of(visit)
    if visit.busy:
        raise ValueError("a job still runs; stop it first")
    if not desk.move(by):
        raise ValueError("there is nothing to undo" if by < 0 else "there is nothing to redo")
    return desk.board


def says(workshop: Workshop, visit: Visit, model: str, prompt: str, subject: str) -> Iterator[News]:
    """What the model says after a sentence; the last news has the word and its probability."""
    asked = " ".join(str(prompt or "").replace("{}", str(subject or "").strip()).split())
    if not asked:
        raise ValueError("write the sentence up to its answer")
    return workshop.work(visit, lambda tell: top_words(workshop.language(model), [asked])[0], light=model == EMBEDDED)


def _made(lm: LanguageModel, wish: Wish, tell: Tell) -> Board:
    """A whole board, from nothing."""
    tell(News("Asking what it says now", 0.05))
    fact = known(lm, wish)
    asked = roles(fact)
    before = ask(lm, [prompt for _, prompt in asked], fact.new)
    board = Board(wish.model, fact, rows_of(asked, before, None), method=wish.method, asked=wish.asked)
    tell(News("Tracing where it is held", 0.15, value=board))
    board = replace(board, map=traced(lm, fact))
    assert board.map is not None
    layers = layers_of(lm, board.map, wish)
    board = replace(board, layers=layers)
    tell(News("Reading ordinary sentences, so that they stay", 0.5, value=board))
    statistics = keys_of(lm, layers)
    tell(News(f"Writing it in layer {layers[0]}", 0.75))
    import concept_edit as ce

    edit = ce.rewrite(lm, fact, wish.method, layers, statistics)  # type: ignore[arg-type]
    tell(News("Asking again", 0.9))
    return after(lm, replace(board, edit=edit, notes=edit.notes), edit)


def known(lm: LanguageModel, wish: Wish) -> Fact:
    """The fact with what was left out: the old answer is what the model says now, wordings and neighbours are those
    that are known of it, and neighbours without an answer get the model's own.

    Raises:
        ValueError: the model says the new answer already.
    """
    fact = wish.fact
    (said, _), *_ = top_words(lm, [fact.asked])
    if fact.new in (said, fact.old):
        raise ValueError(f"{lm.name} says “{fact.new}” there already; write another answer")
    fact = surrounded(wish.model, replace(fact, old=fact.old or said))
    blank = [prompt for prompt, answer in fact.neighbours if answer == "?"]
    filled = dict(zip(blank, (word for word, _ in top_words(lm, blank)), strict=True)) if blank else {}
    return replace(fact, neighbours=tuple((p, filled[p] if answer == "?" else answer) for p, answer in fact.neighbours))


def traced(lm: LanguageModel, fact: Fact) -> Map:
    """Which tokens and layers hold what the model says, and what it would say at each of them."""
    import concept_edit as ce

    own = replace(fact, old=top_words(lm, [fact.asked])[0][0], neighbours=())
    tokens = lm.encode([fact.asked]).lengths[0]
    large, window = tokens * lm.layers > _LARGE, 1 if lm.layers <= _SHALLOW else None
    found = ce.trace(lm, own, window=window, exact=_EXACT if large else None, samples=_FEWER if large else _SAMPLES)
    chosen = found.layers(1)
    effects: dict[str, Any] = {
        str(kind): [[round(v, 4) for v in row] for row in table.tolist()] for kind, table in found.effects.items()
    }
    held = [[[(word, round(p, 4)) for word, p in cell] for cell in row] for row in lens(lm, fact.asked)]
    back, lost = float(found.row("last subject", "mlp")[chosen[0]]), found.clean - found.corrupted
    why = (
        f"Layer chosen by the trace: {chosen[0]}. With noise on “{fact.subject}” the model loses {lost:.2f} of its "
        f"{found.clean:.2f} for “{own.old}”; the memories there give {back:.2f} back"
        + (", which is little." if back < 0.05 * lost else ".")
    )
    subject = lm.subject_rows(fact.asked, fact.subject)
    return Map(tuple(found.rows), tuple(subject), effects, held, chosen[0], why)


def layers_of(lm: LanguageModel, held: Map, wish: Wish) -> tuple[int, ...]:
    """Where it is written: the wished layer or the trace's, and for a soft change the two above it.

    Raises:
        ValueError: no such layer.
    """
    first = held.layer if wish.layer is None else lm.site("mlp", wish.layer).layer
    count = 1 if wish.method == "rome" else min(3, lm.layers)
    first = min(first, lm.layers - count)
    return tuple(range(first, first + count))


def keys_of(lm: LanguageModel, layers: tuple[int, ...]) -> KeyStatistics:
    """What ordinary sentences look like in these layers; read once for a model."""
    import concept_edit as ce

    kept = _keys.setdefault(lm, {})
    missing = [layer for layer in layers if layer not in kept]
    if missing:
        mine = lm.name == EMBEDDED
        wanted = tuple(range(lm.layers)) if mine else missing
        found = ce.collect_keys(lm, wanted, ordinary(mine), tokens=_KEYS if mine else _ENGLISH_KEYS)
        kept |= {layer: replace(found, moments={layer: found.moments[layer]}) for layer in wanted}
    return replace(kept[layers[0]], moments={layer: kept[layer].moments[layer] for layer in layers})


def ordinary(embedded: bool) -> list[str]:
    """Sentences to hold: the embedded world's, or for a model of English those of Python's own manual, which every
    installation has; text that a model says itself took 190 s on one core for SmolLM2."""
    if embedded:
        from concept_edit.demo.language.requests import sentences

        return sentences(_KEYS // 8)
    from pydoc_data.topics import topics

    texts = [" ".join(part.split()) for text in topics.values() for part in text.split("\n\n") if part[:1].isalpha()]
    return [text for text in texts if len(text) > _PARAGRAPH][::_EVERY]


def after(lm: LanguageModel, board: Board, edit: FactEdit) -> Board:
    """The board with what the model says under the edit, at the board's strength."""
    import concept_edit as ce

    with edit.applied(lm, board.strength):
        found = ask(lm, [row.prompt for row in board.rows], board.fact.new)
    rows = tuple(replace(row, after=answer) for row, answer in zip(board.rows, found, strict=True))
    others = tuple(each for each in board.fact.neighbours if each[1] != board.fact.new)  # the new one beats no other
    scores = ce.measure_facts(lm, replace(board.fact, neighbours=others), edit, strength=board.strength)
    held = {m.name: round(m.value, 1) for m in scores.measures if m.name in _MEASURES}
    return replace(board, rows=rows, measures=held)


@contextmanager
def heard(visit: Visit, lm: LanguageModel) -> Iterator[None]:
    """Inside, every run of the model looks at `visit.stop` first."""

    def looked(*_: Any) -> None:
        visit.check()

    handle = lm.model.register_forward_pre_hook(looked)
    try:
        yield
    finally:
        handle.remove()
