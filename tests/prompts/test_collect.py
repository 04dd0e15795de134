"""Statistics: which rows are picked, that batches and order do not matter, adding, taking out, saving."""

from __future__ import annotations

from importlib import import_module

import pytest
import tiny
import torch
from oracles import difference

import concept_edit as ce
from concept_edit.prompts.tokens import Span, aligned_pairs, last_pairs, subject_pairs
from concept_edit.recipe import CutWarning

ROOM = import_module("concept_edit.prompts.collect")
CAT = Span(0, 10, 3, (1, 2))
NULL = Span(0, 10, 1, ())


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


def recipe(**settings):
    edits = [ce.Erase("Van Gogh", guide="art"), ce.Erase("cat", guide="dog"), ce.Moderate("a weapon")]
    return ce.Recipe(**{"edits": edits, "preserve": ["Monet", "a red car"], "method": "uce", **settings})


def test_last_takes_the_last_token_and_bos_for_the_empty_prompt():
    assert last_pairs(CAT, NULL) == [(2, 0)]


def test_aligned_is_the_published_slice():
    rows = list(range(10))
    for source, goal in ((CAT, NULL), (NULL, CAT), (CAT, Span(0, 10, 5, (1, 2, 3, 4)))):
        i, j = source.last, goal.last
        m = max(i, j)
        expected = list(zip(rows[i : 10 - (m - i)], rows[j : 10 - (m - j)], strict=True))
        assert aligned_pairs(source, goal) == expected
        assert len(expected) == 10 - m


def test_subject_takes_every_token_eos_and_three_pads():
    assert subject_pairs(CAT, NULL) == [(1, 0), (2, 0), (3, 1), (4, 2), (6, 5), (9, 9)]
    assert NULL.spoken == (0, 1, 2, 5, 9)
    assert Span(0, 4, 3, (1, 2)).spoken == (1, 2, 3)


def test_a_second_encoder_counts_from_its_own_start():
    t5, empty = Span(77, 87, 79, (77, 78)), Span(77, 87, 77, ())
    assert last_pairs(t5, empty) == [(78, 77)]
    assert aligned_pairs(t5, empty)[0] == (78, 77)
    assert len(aligned_pairs(t5, empty)) == 9


@pytest.mark.parametrize("tokens", ["last", "aligned", "subject"])
def test_rows_come_from_the_encoder_in_the_recipes_order(model, tokens):
    stream = ce.collect(model, recipe(tokens=tokens)).streams["text"]
    assert stream.pairs.owner.unique().tolist() == [0, 1, 2]
    assert stream.pairs.owner.tolist() == sorted(stream.pairs.owner.tolist())
    encoded = model.encode(["Van Gogh", "art"])["text"]
    last = int(encoded.eos[0]) - 1
    if tokens != "subject":
        assert torch.allclose(stream.pairs.sources[0], encoded.rows[0, last], atol=1e-5)
        assert torch.allclose(stream.pairs.goals[0], encoded.rows[1, int(encoded.eos[1]) - 1], atol=1e-5)


def test_weights_follow_the_token_rule(model):
    edits = [ce.Erase("Van Gogh", weight=3.0, wordings=("art",)), ce.Erase("cat")]
    for tokens, per_row in (("last", 3.0), ("aligned", 3.0)):
        pairs = ce.collect(model, ce.Recipe(edits=edits, tokens=tokens)).streams["text"].pairs
        assert pairs.weights[pairs.owner == 0].unique().tolist() == [per_row]
    subject = ce.collect(model, ce.Recipe(edits=edits, tokens="subject", preserve=["Monet"])).streams["text"]
    assert float(subject.pairs.weights[subject.pairs.owner == 0].sum()) == pytest.approx(3.0)
    assert float(subject.pairs.weights[subject.pairs.owner == 1].sum()) == pytest.approx(1.0)
    assert float(subject.kept.weights.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("tokens", ["last", "aligned", "subject"])
def test_batch_size_does_not_matter(model, tokens):
    one, many = (ce.collect(model, recipe(tokens=tokens), batch_size=n) for n in (1, 32))
    for a, b in zip(one.tensors().values(), many.tensors().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    a, b = (ce.solve_statistics(s).factors["text"].dense() for s in (one, many))
    assert difference(a, b) < 1e-5


def test_order_does_not_matter(model):
    there = recipe()
    back = recipe(edits=there.edits[::-1], preserve=there.preserve[::-1])
    a, b = (ce.solve(model, r).factors["text"].dense() for r in (there, back))
    assert difference(a, b) < 1e-6


def test_every_prompt_is_encoded_once(model):
    asked = []

    class Counting:
        def __getattr__(self, name):
            return getattr(model, name)

        def encode(self, prompts, **settings):
            asked.extend(prompts)
            return model.encode(prompts, **settings)

    edits = [ce.Erase(f"artist {n}", guide="art") for n in range(20)]
    ce.collect(Counting(), ce.Recipe(edits=edits, preserve=["Monet"], method="uce"), batch_size=4)
    assert len(asked) == len(set(asked)) == 22


@pytest.mark.parametrize("tokens", ["last", "aligned"])
def test_past_the_budget_rows_become_sums_and_the_answer_stays(model, tokens, monkeypatch):
    edits = [ce.Erase(f"artist {n}", guide="art") for n in range(50)]
    asked = ce.Recipe(edits=edits, preserve=[f"friend {n}" for n in range(40)], tokens=tokens)
    held = ce.collect(model, asked)
    monkeypatch.setattr(ROOM, "ROW_BYTES", 4 * 32 * 20)
    monkeypatch.setattr(ROOM, "_SUM_ROWS", 30)
    summed = ce.collect(model, asked, batch_size=7)
    rows = summed.streams["text"]
    assert rows.pairs.summed
    assert rows.kept.summed
    assert len(rows.pairs.sources) == len(rows.kept.sources) == 0
    assert difference(*(ce.solve_statistics(s).factors["text"].dense() for s in (summed, held))) < 1e-5
    assert ce.solve_statistics(summed).rows("text") is None
    with pytest.raises(ValueError, match="too many to hold"):
        summed.without("artist 3")
    joint = summed + ce.collect(model, ce.Recipe(edits=[ce.Erase("cat")], tokens=tokens, keep_null=None))
    direct = ce.solve(model, joint.recipe)
    assert difference(ce.solve_statistics(joint).factors["text"].dense(), direct.factors["text"].dense()) < 1e-5


@pytest.mark.parametrize("tokens", ["last", "aligned", "subject"])
def test_adding_is_collecting_the_joint_recipe(model, tokens):
    a = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art"), ce.Erase("cat")], preserve=["Monet"], tokens=tokens)
    b = ce.Recipe(edits=[ce.Erase("cat"), ce.Moderate("weapon")], preserve=["a red car", "monet"], tokens=tokens)
    added, turned = ce.collect(model, a) + ce.collect(model, b), ce.collect(model, b) + ce.collect(model, a)
    joint = ce.collect(model, a + b)
    for name, tensor in joint.tensors().items():
        assert torch.allclose(added.tensors()[name], tensor, atol=1e-5)
        assert torch.allclose(turned.tensors()[name], tensor, atol=1e-5)


def test_taking_out_is_collecting_without(model):
    fewer = ce.collect(model, recipe()).without("CAT")
    direct = ce.collect(model, recipe().without("cat"))
    assert fewer.recipe == direct.recipe
    for name, tensor in direct.tensors().items():
        assert torch.allclose(fewer.tensors()[name], tensor, atol=1e-5)


def test_adding_refuses_other_encoders(model):
    other = ce.collect(tiny.tiny_model("sd2"), ce.Recipe())
    with pytest.raises(ValueError, match="other text encoders"):
        ce.collect(model, recipe()) + other


def test_save_and_load(model, tmp_path):
    statistics = ce.collect(model, recipe(tokens="aligned"))
    statistics.save(tmp_path / "s.safetensors")
    loaded = ce.Statistics.load(tmp_path / "s.safetensors")
    assert (loaded.recipe, loaded.model) == (statistics.recipe, statistics.model)
    assert loaded.fingerprint == statistics.fingerprint
    assert set(loaded.tensors()) == set(statistics.tensors())
    assert all(torch.equal(value, loaded.tensors()[name]) for name, value in statistics.tensors().items())


def test_a_prompt_that_is_too_long_is_told_or_refused(model):
    long = ce.Recipe(edits=[ce.Erase("the red apple " * 60)])
    with pytest.warns(CutWarning, match="'the red apple .* is cut"):
        assert list(ce.collect(model, long).cut) == [long.concepts[0]]
    with pytest.raises(ValueError, match="would be cut; shorten it"):
        ce.collect(model, long, strict=True)


def test_a_broken_encoder_is_named_with_its_prompt(model, monkeypatch):
    def broken(prompts, **settings):
        encoded = type(model).encode(model, prompts, **settings)
        encoded["text"].rows[0, 0, 0] = float("nan")
        return encoded

    monkeypatch.setattr(model, "encode", broken)
    with pytest.raises(ValueError, match="'Van Gogh' with NaN"):
        ce.collect(model, recipe())


def test_balancing_is_refused_until_it_can_be_solved(model):
    asked = ce.Recipe(edits=[ce.Debias("doctor", across={"man": 0.5, "woman": 0.5})])
    with pytest.raises(ValueError, match="'doctor' is to be balanced"):
        ce.collect(model, asked)


def test_layers_that_are_not_there_are_refused(model):
    with pytest.raises(ValueError, match=r"no layer of .* is called 'pooled'; give a role .k, v."):
        ce.collect(model, ce.Recipe(layers=["pooled"]))


def test_progress_shows_a_bar_on_stderr(model, capsys):
    ce.collect(model, recipe(), progress=True)
    assert "encoding" in capsys.readouterr().err
    ce.collect(model, recipe())
    assert capsys.readouterr().err == ""


def test_one_word_is_solved_in_the_wordings_of_a_thing_and_a_style_in_kept_things_towards_nobodys(model):
    kept = [f"thing {n}" for n in range(9)]

    def asked(*edits):
        return ce.collect(model, ce.Recipe(edits=edits, preserve=kept, keep_common=False)).streams["text"].pairs

    spelt = ce.Erase("cat", wordings=("a {}", "a drawing of a {}", "a picture of a {}", "object"))
    assert torch.equal(asked(ce.Erase("cat")).sources, asked(spelt).sources)
    told, without = asked(ce.Erase("Monet")), asked(ce.Erase("Monet", wordings="art", guide="neutral"))
    assert len(told.sources) > len(without.sources)
    assert torch.equal(told.goals[: len(without.goals)], without.goals), "the first wordings are the same"
    centroid = asked(ce.Erase("Monet", wordings="art", guide="auto")).goals
    assert not torch.equal(without.goals, centroid), "kept things are nobody's style only by chance"
