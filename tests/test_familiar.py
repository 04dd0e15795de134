"""Known and unknown words: the embedded model's own names stand apart from made-up words, which it never saw."""

from __future__ import annotations

import random

import pytest

import concept_edit as ce
from concept_edit.demo.concepts import CONCEPTS, STYLES
from concept_edit.familiar import familiar, made_up


@pytest.fixture(scope="module")
def model():
    return ce.open_model("demo")


def fresh_nonsense(count: int) -> list[str]:
    """Other made-up words than the ruler's own: letters drawn one by one."""
    draw = random.Random(77)
    return ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(5, 9))) for _ in range(count)]


def test_what_the_model_paints_stands_apart_without_being_looked_up(model):
    """The verdict must come from the rows: the names are not on the list that is given."""
    found = familiar(model, [concept.name for concept in CONCEPTS], among=["parliament"])
    assert sum(each.ratio > 1 for each in found) / len(found) >= 0.9


def test_words_that_mean_nothing_are_unknown(model):
    words = fresh_nonsense(60)
    assert not set(words) & set(made_up(64))
    found = familiar(model, words)
    assert sum(each.verdict == "unknown" for each in found) / len(found) >= 0.85


def test_names_on_the_list_are_known_and_have_neighbours(model):
    found = familiar(model, ["red apple", *(style.name for style in STYLES)])
    assert {each.verdict for each in found} == {"known"}
    assert found[0].nearest[0][0] == "strawberry"
    assert all(len(each.nearest) == 3 and each.word not in dict(each.nearest) for each in found)


def test_a_slip_of_the_pen_is_told(model):
    (found,) = familiar(model, "Twemojy")
    assert (found.verdict, found.spelled) == ("unknown", "Twemoji")
    assert "did you mean 'Twemoji'?" in found.sentence


def test_something_of_its_own_far_from_the_list(model):
    found = familiar(model, ["cat", "red apple"], among=["syringe", "strawberry"])
    assert [each.verdict for each in found] == ["far", "known"]
    assert "far from everything on its list" in found[0].sentence


def test_an_empty_word_is_refused(model):
    with pytest.raises(ValueError, match="an empty word"):
        familiar(model, ["cat", " "])
