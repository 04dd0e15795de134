"""The Edit tab's handlers: the table is the recipe, a solve is a version, strength and undo need no second solve."""

from __future__ import annotations

import html
from importlib import import_module
from typing import get_args

import pytest
from pages import QUICK, SMALL, result
from PIL import ImageChops

from concept_edit.edit import solve
from concept_edit.recipe import Debias, Erase, Moderate, Recipe
from ui.expert.edit_fields import preview, values_of
from ui.expert.edit_wiring import filled
from ui.workshop import edit
from ui.workshop.balancing import Drawn, drawn_of, outcome
from ui.workshop.examples import everything_else, examples, suggested
from ui.workshop.export import sizes, write
from ui.workshop.lists import read_list
from ui.workshop.painting import Shot, shot_of
from ui.workshop.session import BusyError, Stopped
from ui.workshop.table import recipe_of, rows_of, shares_of
from ui.workshop.versions import Version, Versions

# The table


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.label)
def test_the_fields_of_a_recipe_give_the_recipe_back(visit, example):
    visit.base = example.recipe
    text, trouble = preview(visit, tuple(values_of(example.recipe)))
    assert trouble == ""
    assert Recipe.from_yaml(text) == example.recipe


def test_what_the_page_has_no_field_for_is_kept(visit):
    aims = {"man": 0.5, "woman": 0.0}
    debias = Debias("cook", across={"man": 0.3, "woman": 0.7}, phrase="a {attribute}, {concept}", aims=aims)
    recipe = Recipe(edits=(debias,), keep_null=True, method="uce")
    visit.base = recipe
    assert edit.asked(visit, rows_of(recipe), "", {}) == recipe
    rows = [["balance", "cook", "man 50, woman 50", "", ""]]
    assert edit.asked(visit, rows, "", {}).edits == (Debias("cook", across={"man": 0.5, "woman": 0.5}),)


def test_rows_are_read_as_a_person_writes_them():
    rows = [["Erase", " Van Gogh ", "art", "2", "{} painting; style of {}"], ["", "Monet", None, float("nan"), ""],
            ["moderate", "knife"], ["keep", "Rembrandt", "", "", ""], ["", "", "", "", ""]]  # fmt: skip
    recipe = recipe_of(rows, "Turner\n\n turner \n", {"ridge": 0.1}, Recipe(method="uce"))
    assert recipe.edits == (
        Erase("Van Gogh", guide="art", weight=2.0, wordings=("{} painting", "style of {}")),
        Erase("Monet"),
        Moderate("knife"),
    )
    assert (recipe.preserve, recipe.ridge) == (("Turner", "Rembrandt"), 0.1)
    assert filled(rows) == rows[:4]


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("man 50 %, woman 50 %", {"man": 0.5, "woman": 0.5}),
        ("man=0.3; woman=0.7", {"man": 0.3, "woman": 0.7}),
        ("old man: 25, young man: 75", {"old man": 0.25, "young man": 0.75}),
        ("man, woman", {"man": 0.5, "woman": 0.5}),
    ],
)
def test_shares_are_read_as_a_person_writes_them(text, shares):
    assert shares_of(text) == shares


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (["destroy", "cat"], "Row 1: 'destroy' is no change; write erase, moderate, balance, steer or keep"),
        (["erase", "cat", "", "much"], "Row 1: the weight 'much' is no number"),
        (["erase", "cat", "", "-1"], "Row 1: weight: Input should be greater than 0"),
        (["balance", "cook", "man"], "'man' names no shares; write for example: man 50 %"),
        (["balance", "cook", "man 50, woman"], "gives some attributes no share"),
        (["balance", "cook", "man 10, woman 20"], "must be above 0 and sum to 1"),
        (["erase", "", "something"], "a concept is empty"),
    ],
)
def test_a_wrong_row_is_named_in_a_sentence(visit, row, complaint):
    yaml, trouble = preview(visit, ([row], "", "uce", "last", 0.5, 1.0, None, ""))
    assert complaint in html.unescape(trouble)
    assert yaml.startswith("# not a recipe yet")


def test_a_script_in_a_concept_is_text(visit):
    bad = "<script>alert(1)</script>"
    _, trouble = preview(visit, ([["balance", bad, bad]], bad, "uce", "last", 0.5, 1.0, None, ""))
    assert "<script" not in trouble
    assert "&lt;script&gt;" in trouble


# Lists


def test_names_csv_and_recipes_are_read(visit, tmp_path):
    assert read_list(visit, "Van Gogh\nMonet\n", None).concepts == ("Van Gogh", "Monet")
    pasted = read_list(visit, "concept,guide,weight\nVan Gogh,art,2\n", None)
    assert pasted.edits == (Erase("Van Gogh", guide="art", weight=2.0),)
    assert read_list(visit, SMALL.to_yaml(), None) == SMALL
    path = tmp_path / "mine.yaml"
    SMALL.save(path)
    assert read_list(visit, "", str(path)) == SMALL
    assert list(visit.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("big.csv", b"concept\n" + b"".join(b"artist %d\n" % i for i in range(10_000)), "names 10000 concepts"),
        ("huge.txt", b"x" * 2_000_000, "has 2.0 MB and the page reads up to 1 MB"),
        ("model.ckpt", b"\x80\x04", "is a .ckpt; drop one of .csv"),
        ("nothing.txt", b"\n\n", "names no concept"),
        ("latin.txt", "Ren\xe9".encode("latin-1"), "is not UTF-8 text"),
        ("other.csv", b"name\nMonet\n", "expected a 'concept' column"),
        ("bad.yaml", b"edits: [}", "not YAML"),
    ],
)
def test_lists_that_cannot_be_read_are_refused_in_a_sentence(visit, tmp_path, name, content, complaint):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read_list(visit, "", str(path))


def test_nothing_pasted_says_what_to_do(visit):
    with pytest.raises(ValueError, match="paste names, one a line, or drop a file"):
        read_list(visit, "  \n", None)


def test_words_typed_by_hand_get_what_suits_the_embedded_model():
    instead, wordings = suggested("erase", "lobe")
    assert instead == "Noto"
    assert "in the style of {}" in wordings
    assert suggested("erase", "a castle") == ("", "")
    kept = everything_else(("lobe", "cat")).splitlines()
    assert not {"Lobe", "cat", "in the style of Lobe"} & set(kept)
    assert {"Twemoji", "dog"} <= set(kept)


# Work


@pytest.fixture
def solved(workshop, visit):
    return result(edit.solve(workshop, visit, SMALL, QUICK))


def differ(a, b) -> bool:
    return ImageChops.difference(a, b).getbbox() is not None


def test_a_solve_is_a_version_with_its_prediction_and_pictures(workshop, visit, solved):
    assert visit.edits.titles() == ["0 · original", "1 · erase Twemoji, erase cat"]
    assert visit.base == SMALL
    assert [row[3] in ("good", "look", "bad") for row in edit.effect(solved.diagnosis)]
    assert differ(*solved.pictures)


@pytest.mark.parametrize("method", get_args(Recipe.model_fields["method"].annotation))
def test_every_method_of_the_recipe_solves_paints_and_tells_sizes(workshop, visit, method):
    recipe = Recipe(edits=(Erase("Twemoji", guide="in the style of Noto"),), method=method)
    seen = result(edit.solve(workshop, visit, recipe, QUICK))
    assert differ(*seen.pictures)
    assert not differ(*result(edit.turn(workshop, visit, 0, QUICK)).pictures)
    assert sizes(workshop, visit)["recipe"] > 0
    news = write(workshop, visit, "lora")
    if method == "gated":
        with pytest.raises(ValueError, match="cannot be written as a LoRA"):
            result(news)
    else:
        assert result(news).is_file()


def test_the_strength_turns_without_solving_and_0_is_the_original(workshop, visit, solved, monkeypatch):
    monkeypatch.setattr("concept_edit.memory.solve", lambda *_: pytest.fail("solved again"), raising=False)
    half = result(edit.turn(workshop, visit, 0.5, QUICK)).pictures
    none = result(edit.turn(workshop, visit, 0, QUICK)).pictures
    assert differ(half[1], solved.pictures[1])
    assert differ(half[1], half[0])
    assert not differ(*none)
    assert visit.edits.current.strength == 0


def test_undo_redo_and_going_back_paint_the_same_pictures(workshop, visit, solved):
    visit.edits.undo()
    assert not differ(*result(edit.look(workshop, visit, QUICK)).pictures)
    visit.edits.redo()
    visit.pictures.clear()
    assert not differ(result(edit.look(workshop, visit, QUICK)).pictures[1], solved.pictures[1])


def test_one_concept_is_revoked_and_the_rest_is_the_edit_of_the_smaller_recipe(workshop, visit, solved):
    result(edit.revoke(workshop, visit, "cat", QUICK))
    direct = edit.solve(workshop, visit, SMALL.without("cat"), QUICK)
    revoked, again = visit.edits.current.edit, result(direct).edit
    assert revoked.recipe == again.recipe
    assert all((revoked.factors[name].right == again.factors[name].right).all() for name in again.factors)
    assert visit.edits.titles()[1:3] == ["1 · erase Twemoji, erase cat", "2 · without cat"]


def test_a_prediction_keeps_nothing_and_its_solve_is_the_same(workshop, visit, monkeypatch):
    found = result(edit.predict(workshop, visit, SMALL))
    assert visit.edits.titles() == ["0 · original"]
    assert found.pictures is None
    monkeypatch.setattr("concept_edit.memory.solve", lambda *_: pytest.fail("solved again"), raising=False)
    assert result(edit.solve(workshop, visit, SMALL, QUICK)).edit is found.edit


def test_cancel_while_painting_keeps_the_solved_edit(workshop, visit):
    news = edit.solve(workshop, visit, SMALL, Shot("a dog", 5, 50))
    next(item for item in news if item.text.startswith("Painting"))
    visit.cancel()
    with pytest.raises(Stopped):
        list(news)
    assert visit.edits.at == 1


def test_what_cannot_be_done_is_said(workshop, visit):
    with pytest.raises(ValueError, match="the table is empty; add a concept"):
        edit.solve(workshop, visit, Recipe(method="uce"), QUICK)
    with pytest.raises(ValueError, match="measured in pictures, so there is nothing to predict"):
        edit.predict(workshop, visit, Recipe(edits=(Debias("cook", across={"man": 0.5, "woman": 0.5}),), method="uce"))
    with pytest.raises(ValueError, match="solve one first"):
        edit.turn(workshop, visit, 0.5, QUICK)
    with pytest.raises(ValueError, match="choose a concept"):
        edit.revoke(workshop, visit, None, QUICK)
    with pytest.raises(ValueError, match="the prompt is empty"):
        shot_of("  ", 1, 0)
    with pytest.raises(ValueError, match="is no seed"):
        shot_of("a cat", "one", 0)
    with pytest.raises(ValueError, match="is no seed"):
        shot_of("a cat", -1, 0)
    with pytest.raises(ValueError, match="give 200 or fewer"):
        shot_of("a cat", 1, 5000)


def test_two_visits_never_see_each_others_edit(workshop, visit, solved):
    import copy

    other = copy.deepcopy(visit)
    before, after = result(edit.look(workshop, other, QUICK)).pictures
    assert not differ(before, after)
    assert other.edits.titles() == ["0 · original"]
    assert not differ(before, solved.pictures[0])


def test_an_edit_of_another_text_encoder_is_refused(workshop, visit, solved, monkeypatch):
    import tiny

    monkeypatch.setitem(workshop._models, "owner/tiny", tiny.tiny_model("sd1"))
    visit.model = "owner/tiny"
    with pytest.raises(ValueError, match="was solved on the text encoder of demo"):
        result(edit.look(workshop, visit, QUICK))


def test_history_moves_are_refused_while_a_job_runs(workshop, visit):
    with workshop.lane(visit):
        waiting = edit.look(workshop, visit, QUICK)
        next(waiting)
        with pytest.raises(BusyError):
            next(edit.look(workshop, visit, QUICK))
    result(waiting)


def test_versions_after_an_undo_are_dropped_by_the_next(small_edit):
    versions = Versions()
    for title in "abc":
        versions.push(Version(title, small_edit, "demo"))
    assert versions.undo()
    assert versions.undo()
    versions.push(Version("d", small_edit, "demo"))
    assert versions.titles() == ["0 · original", "1 · a", "2 · d"]
    assert not versions.redo()
    assert versions.go(0)
    assert versions.current is None
    assert not versions.undo()


# Balancing

BALANCE = Recipe(edits=(Debias("farmer", across={"man": 0.5, "woman": 0.5}),), method="uce")


def test_balancing_is_solved_by_counting_pictures_and_its_aims_are_kept(workshop, visit):
    drawn = Drawn(pictures=4, rounds=2, checked=2, steps=2)
    news = list(edit.balance(workshop, visit, BALANCE, drawn, QUICK))
    told = [item.text for item in news]
    assert any(text.startswith("Round 1 of at most 2: farmer was counted as man ") for text in told)
    assert any("denoising steps" in text for text in told)
    seen = news[-1].value
    assert differ(*seen.pictures)
    assert 4 <= seen.balance.images <= 8
    (entry,) = visit.edits.current.edit.recipe.edits
    assert entry.aims is not None
    rows = rows_of(visit.edits.current.edit.recipe)
    assert edit.asked(visit, rows, "", {}) == visit.edits.current.edit.recipe
    text = outcome(seen.balance)
    assert f"**Measured balance.** {seen.balance.images} pictures were counted" in text
    assert text.count("| farmer |") >= 5
    assert "share of woman, held-out templates" in text

    again = list(edit.balance(workshop, visit, visit.edits.current.edit.recipe, drawn, QUICK))[-1].value
    assert again.balance.rounds == seen.balance.rounds


def test_a_search_for_balance_is_cancelled_within_a_step(workshop, visit):
    news = edit.balance(workshop, visit, BALANCE, Drawn(pictures=8, rounds=3, steps=50), QUICK)
    next(item for item in news if "denoising steps" in item.text)
    visit.cancel()
    with pytest.raises(Stopped):
        list(news)
    assert visit.edits.titles() == ["0 · original"]


def test_solving_a_balance_that_was_not_measured_measures_it(workshop, visit, monkeypatch):
    asked = []

    def debias(model, recipe, *, plan, settings, out, progress):
        asked.append((plan, settings))
        aimed = recipe.aimed({"farmer": {"man": 0.4, "woman": 0.0}})
        return import_module("concept_edit.balance.debias").Balance(solve(model, aimed), (), 16, "judge", ())

    monkeypatch.setattr(import_module("concept_edit.balance.debias"), "debias", debias)
    result(edit.solve(workshop, visit, BALANCE, QUICK))
    assert [(plan.most, settings.steps) for plan, settings in asked] == [(48, 2)]
    result(edit.solve(workshop, visit, visit.edits.current.edit.recipe, QUICK))
    assert len(asked) == 1


def test_what_cannot_be_balanced_is_said(workshop, visit):
    with pytest.raises(ValueError, match="the table balances nothing; add a row such as: balance, farmer"):
        edit.balance(workshop, visit, SMALL, Drawn(), QUICK)
    for values, complaint in (((0, 1, 0), "0 pictures a round"), ((4, 99, 0), "99 rounds"), ((4, 1, -1), "-1 pict")):
        with pytest.raises(ValueError, match=complaint):
            drawn_of(*values, None)
    with pytest.raises(ValueError, match="Give whole numbers"):
        drawn_of(None, 1, 0, None)


def test_other_wordings_of_a_balanced_row_have_to_be_measured_anew(visit):
    aims = {"{}": {"man": 0.5, "woman": 0.0}, "a {}": {"man": 0.2, "woman": 0.0}}
    known = Debias("cook", across={"man": 0.5, "woman": 0.5}, wordings=("a {}",), aims=aims)
    visit.base = Recipe(edits=(known,), method="uce")
    assert edit.asked(visit, rows_of(visit.base), "", {}).edits == (known,)
    (changed,) = edit.asked(visit, [["balance", "cook", "man 50, woman 50", "1", "the {}"]], "", {}).edits
    assert (changed.aims, changed.wordings) == (None, ("the {}",))
