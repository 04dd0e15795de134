"""The Compare tab's handlers: pairs at the same seed, as they are made; groups; the sheet."""

from __future__ import annotations

import pytest
from pages import SMALL, result
from PIL import Image, ImageChops

from concept_edit.recipe import Moderate, Recipe
from styles.seeds import seeds_of
from ui.expert.compare_tab import wanted_of
from ui.workshop.compare import GROUPS, Wanted, compare, joined, save_sheet
from ui.workshop.session import Stopped
from ui.workshop.versions import Version


@pytest.fixture
def editing(visit, small_edit):
    visit.edits.push(Version("small", small_edit, "demo"))
    return visit


def test_pairs_appear_one_after_the_other_in_all_groups(workshop, editing):
    seen = [news.value for news in compare(workshop, editing, Wanted(count=1, seeds=(1, 2), steps=1)) if news.value]
    pairs = seen[-1]
    assert [len(found) for found in seen[:3]] == [1, 2, 3]
    assert {pair.group for pair in pairs} == set(GROUPS)
    assert all(pair.caption == f"{pair.shot.prompt} · seed {pair.shot.seed}" for pair in pairs)
    assert len({pair.caption for pair in pairs}) == len(pairs)


def test_own_prompts_come_first_and_the_edit_shows(workshop, editing):
    wanted = Wanted(groups=(), own=("a tree in the style of Twemoji",), seeds=(4,), steps=2)
    (pair,) = result(compare(workshop, editing, wanted))
    assert ImageChops.difference(pair.before, pair.after).getbbox()
    assert joined(pair, 64).size == (132, 64)


def test_moderated_concepts_are_veiled(workshop, visit):
    from concept_edit.edit import solve

    recipe = Recipe(edits=(Moderate("bomb"),), method="uce")
    visit.edits.push(Version("m", solve(workshop.model("demo"), recipe), "demo"))
    pairs = result(compare(workshop, visit, Wanted(groups=(), own=("a bomb", "a bombastic cat"), steps=1)))
    assert [pair.veiled for pair in pairs] == [True, False]


def test_the_sheet_carries_prompts_seeds_and_recipe(workshop, editing, tmp_path):
    pairs = result(compare(workshop, editing, Wanted(count=1, steps=1)))
    with Image.open(save_sheet(pairs, editing.edits.current, tmp_path / "pairs.png")) as sheet:
        sheet.load()
        assert sheet.text["prompts"].splitlines() == [pair.caption for pair in pairs]
        assert Recipe.from_yaml(sheet.text["recipe"]) == SMALL
        assert sheet.text["model"] == "demo, strength 1"
        assert sheet.getextrema() != ((255, 255),) * 3


def test_cancel_keeps_the_pairs_that_are_there(workshop, editing):
    news = compare(workshop, editing, Wanted(count=2, steps=1))
    seen = [next(item for item in news if item.value)]
    editing.cancel()
    with pytest.raises(Stopped):
        seen.extend(item for item in news if item.value)
    assert 1 <= len(seen) < 4


def test_seeds_are_read_as_a_person_writes_them():
    assert seeds_of("1, 2; 5-7 2", most=24) == (1, 2, 5, 6, 7)
    for wrong in ("", "one", "-3", "1.5", "5-", "7-5"):
        with pytest.raises(ValueError, match="seed"):
            seeds_of(wrong, most=24)
    with pytest.raises(ValueError, match="names more than 24 seeds; name at most 24"):
        seeds_of("0-999999999999", most=24)
    with pytest.raises(ValueError, match="25 rooms are too many; name at most 24"):
        seeds_of("0-12, 20-31", most=24, what="rooms")


def test_what_cannot_be_compared_is_said(workshop, visit):
    with pytest.raises(ValueError, match="nothing to compare yet; solve an edit"):
        compare(workshop, visit, Wanted())
    with pytest.raises(ValueError, match="choose at least one group"):
        wanted_of([], 4, "1", "", 0)
    with pytest.raises(ValueError, match="more than 24 pairs a group"):
        wanted_of(["edited"], 12, "1-5", "", 0)
    with pytest.raises(ValueError, match="is no group"):
        wanted_of(["../etc"], 1, "1", "", 0)
