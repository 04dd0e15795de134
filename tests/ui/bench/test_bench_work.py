"""The work of the errands on image models: pictures before the solve, a verdict from the judge, strength, history."""

from __future__ import annotations

from html import escape
from typing import Any

import pytest
from pages import result

from concept_edit.recipe import Debias, Moderate
from ui.balance.work import recipe_of as balance_recipe
from ui.bench import work
from ui.bench.cells import Cell, cells_of
from ui.bench.events import asked
from ui.bench.pairs import shown
from ui.bench.seeing import Sight, eye_for
from ui.bench.verdict import from_pictures
from ui.bench.words import chips, looked_up, split
from ui.bench.work import Board, Wish, bench_of
from ui.pictures import boards
from ui.slide.events import wish_of as slide_wish
from ui.style.events import wish_of
from ui.style.work import recipe_of
from ui.suppress.events import wish_of as suppress_wish
from ui.suppress.work import needed, rows_of
from ui.suppress.work import recipe_of as suppress_recipe
from ui.workshop.painting import Shot
from ui.workshop.session import News, Visit, Workshop

STEPS = 6


def quick(words: str = "Twemoji", **changes: Any) -> Wish:
    """Few steps, one word and one other picture."""
    given = {"instead": "", "keep": "", "prompts": "a rocket in the style of Twemoji\na doctor", "seed": 1}
    return wish_of(words, **{**given, "steps": STEPS, **changes})


def solved(workshop: Workshop, visit: Visit, wish: Wish | None = None, strength: float = 1.0) -> list[News]:
    return list(work.solve(workshop, visit, "style", wish or quick(), strength))


def test_before_is_painted_ahead_of_the_solve_and_cells_fill_one_by_one(workshop, visit):
    news = solved(workshop, visit)
    texts = [item.text for item in news]
    first = next(i for i, item in enumerate(news) if isinstance(item.value, Board) and item.value.cells[0].before)
    assert first < next(i for i, text in enumerate(texts) if text.startswith("Solving"))
    painted = [sum(bool(c.before) + bool(c.after) for c in n.value.cells) for n in news if isinstance(n.value, Board)]
    assert painted == sorted(painted)
    assert painted[-1] == 4


def test_the_verdict_comes_from_the_judge_and_says_so(workshop, visit):
    board = result(iter(solved(workshop, visit, quick(steps=0))))
    assert board.verdict.state == "good"
    assert "Twemoji: gone in 1 of 1 pictures; others unchanged in 1 of 1" in board.verdict.sentence
    assert "judge" in board.verdict.by
    assert "Twemoji" in board.cells[0].saw_before
    assert "Twemoji" not in board.cells[0].saw_after


def test_a_word_the_model_never_learned_is_no_success(workshop, visit):
    board = result(iter(solved(workshop, visit, quick("Twemojy"))))
    assert board.verdict.state == "bad"
    assert "did you mean 'Twemoji'?" in board.verdict.sentence


class Fixed:
    """An eye that sees what it is told, picture by picture."""

    name = "a judge"

    def __init__(self, *sights: Sight) -> None:
        self.sights = list(sights)

    def knows(self, name: str) -> bool:
        return name == "cat"

    def __call__(self, pictures: Any) -> list[Sight]:
        return [self.sights.pop(0) for _ in pictures]


CELLS = (
    Cell(Shot("a cat"), "word", before=object(), after=object()),  # type: ignore[arg-type]
    Cell(Shot("a dog"), "near", before=object(), after=object()),  # type: ignore[arg-type]
)
CAT, DOG = Sight("cat", "Noto"), Sight("dog", "Noto")


@pytest.mark.parametrize(
    ("seen", "state", "told"),
    [
        ((CAT, DOG, DOG, DOG), "good", "gone in 1 of 1 pictures; others unchanged in 1 of 1"),
        ((CAT, DOG, CAT, DOG), "bad", "gone in 0 of 1"),
        ((CAT, DOG, DOG, CAT), "look", "others unchanged in 0 of 1"),
        ((DOG, DOG, DOG, DOG), "bad", "before do not show cat either"),
    ],
)
def test_the_verdict_counts_what_the_judge_saw(seen, state, told):
    verdict = from_pictures(CELLS, ["cat"], Fixed(*seen), ())  # type: ignore[arg-type]
    assert verdict is not None
    assert (verdict.state, told in verdict.sentence) == (state, True)


def test_a_judge_that_does_not_know_the_word_says_nothing():
    assert from_pictures(CELLS, ["parliament"], Fixed(), ()) is None  # type: ignore[arg-type]


def test_strength_zero_is_the_original_and_the_verdict_follows(workshop, visit):
    solved(workshop, visit, quick(steps=0))
    board = result(work.turn(workshop, visit, "style", 0.0))
    assert board.cells[0].before.tobytes() == board.cells[0].after.tobytes()
    assert board.verdict.state == "bad"
    assert "gone in 0 of 1" in board.verdict.sentence


def test_undo_shows_the_original_and_redo_what_was_left(workshop, visit):
    board = result(iter(solved(workshop, visit)))
    assert work.go(visit, "style", 0) is None
    assert bench_of(visit, "style").versions.current is None
    assert work.go(visit, "style", 1) == board
    with pytest.raises(ValueError, match="nothing further"):
        work.go(visit, "style", 2)


def test_two_cards_have_two_histories(workshop, visit):
    solved(workshop, visit)
    assert bench_of(visit, "suppress").versions.current is None
    assert visit.edits.current is None


def test_strength_without_an_edit_is_refused(workshop, visit):
    with pytest.raises(ValueError, match="press the main button first"):
        work.turn(workshop, visit, "style", 1.0)


def test_six_words_are_six_suppressions_in_all_their_wordings(workshop):
    model = workshop.model("demo")
    recipe = suppress_recipe(model, split("knife; dagger, bomb\nsyringe"), ())
    assert [type(edit) for edit in recipe.edits] == [Moderate] * 4
    assert all(len(edit.prompts()) > 3 for edit in recipe.edits)
    assert "bomb" not in recipe.preserve
    assert len(recipe.preserve) > 40


def test_pictures_of_what_is_suppressed_are_veiled(workshop):
    model = workshop.model("demo")
    wish = suppress_wish("bomb", "", "", 1, 0)
    cells = cells_of(model, wish.recipe(model), (), seed=1, steps=None)
    assert [cell.veiled for cell in cells if cell.role == "word"] == [True, True]
    assert not any(cell.veiled for cell in cells if cell.role != "word")


def test_a_check_counts_every_word_as_often_as_asked(workshop):
    model = workshop.model("demo")
    recipe = suppress_recipe(model, ["knife", "bomb"], ())
    rows = rows_of(model, recipe, 6)
    for word in ("knife", "bomb"):
        mine = [(row.prompt, row.seed) for row in rows if row.subject == word]
        assert len(mine) == len(set(mine)) == 6
    assert {row.group for row in rows} == {"edited", "near", "unrelated"}


def test_how_many_pictures_an_interval_needs():
    from concept_edit.evaluation.intervals import wilson

    assert wilson(0, needed(0.10))[1] <= 0.10
    assert wilson(0, needed(0.10) // 2)[1] > 0.10


def test_the_style_is_painted_instead_as_asked_or_as_the_house_has_it(workshop):
    model = workshop.model("demo")
    assert recipe_of(model, ["Twemoji"], "", ()).edits[0].guide == "Noto"
    assert recipe_of(model, ["Twemoji"], "Lobe", ()).edits[0].guide == "Lobe"
    assert recipe_of(model, ["Twemoji"], "", ("only this",)).preserve == ("only this",)


def test_a_balance_names_its_shares(workshop):
    (edit,) = balance_recipe(workshop.model("demo"), "farmer", {"man": 0.5, "woman": 0.5}).edits
    assert isinstance(edit, Debias)
    assert dict(edit.across) == {"man": 0.5, "woman": 0.5}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (("doctor; farmer", "a", "b"), "one thing"),
        (("doctor", "", ""), "where the slider leads"),
        (("", "a", ""), "write a word"),
    ],
)
def test_a_slider_needs_one_thing_and_an_end(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        slide_wish(*fields, "", "", 1, 0)


def test_words_are_marked_in_a_pause_of_a_running_job(workshop, visit):
    """A light job of the same visit runs between the pictures of its heavy one."""
    seen: list[str] = []

    def job(tell):
        return looked_up(workshop, visit, ["cat", "Twemojy"])

    for news in work.solve(workshop, visit, "style", quick(), 1.0):
        if isinstance(news.value, Board) and news.value.cells[0].before and not seen:
            found = result(workshop.work(visit, job, light=True))
            seen = [each.verdict for each in found]
            assert visit.busy
    assert seen == ["known", "unknown"]


def test_chips_and_pairs_escape_what_visitors_write(workshop, visit):
    bad = "<img src=x onerror=alert(1)>"
    found = looked_up(workshop, visit, [bad])
    assert "<img" not in chips(found)
    board = result(iter(solved(workshop, visit, quick(prompts=bad, steps=1))))
    assert "<img src=x" not in shown(board.cells)


def test_every_card_ships_with_its_example_painted():
    for card in ("style", "suppress", "balance", "slide"):
        board = boards.load(card)
        assert len(board.cells) >= 4
        assert all(cell.done for cell in board.cells)
        assert board.verdict is not None
        assert all(f"before: {escape(cell.shot.prompt)}" in shown(board.cells) for cell in board.cells)


def test_the_judge_is_asked_about_its_own_model_only(workshop):
    model = workshop.model("demo")
    assert eye_for(model) is not None
    model.name, before = "other.safetensors", model.name
    try:
        assert eye_for(model) is None
    finally:
        model.name = before


def test_what_fields_say_is_compared_as_text():
    assert asked(("a ", None, 1)) == asked(("a", "", 1))
    assert asked(("a", "b")) != asked(("a", "c"))
