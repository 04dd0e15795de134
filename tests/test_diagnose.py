"""The image-free checks: figures against their definitions, verdicts, the table."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module

import pytest
import tiny
import torch

import concept_edit as ce
from concept_edit.diagnose import Check
from concept_edit.prompts.corpus import default_corpus


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


@pytest.fixture(scope="module")
def edit(model):
    edits = [ce.Erase("Van Gogh", guide="art"), ce.Moderate("weapon")]
    return ce.solve(model, ce.Recipe(edits=edits, preserve=["Monet", "a red car"], method="uce"))


def value(found, name, subject=None):
    return next(c for c in found.checks if c.name == name and subject in (None, c.subject)).value


def lengths(model, rows):
    """√Σ ‖W r‖² over every matrix, by multiplying each."""
    return sum((rows @ w.double().T).square().sum() for w in model.weights().values()).sqrt()


def test_what_is_left_and_the_drift_follow_their_definitions(model, edit):
    found = ce.diagnose(model, edit, held_out=["Rembrandt"])
    change = edit.factors["text"].dense()
    pairs = ce.collect(model, edit.recipe.model_copy(update={"tokens": "subject"})).streams["text"].pairs
    left = []
    for owner in (0, 1):
        c, t = (rows[pairs.owner == owner].double() for rows in (pairs.sources, pairs.goals))
        left.append(float(lengths(model, c + c @ change.T - t) / lengths(model, c - t)))
    assert value(found, "erased concept left") == pytest.approx(max(left), rel=1e-4)
    around = default_corpus(model).around("text", edit.recipe, torch.zeros(0, change.shape[0]))
    captions = around.ordinary.double()
    assert len(captions) > 500
    moved = lengths(model, captions @ change.T) / lengths(model, captions - around.mean)
    assert value(found, "drift of plain captions") == pytest.approx(float(moved), rel=1e-4)
    encoded = model.encode([""])["text"]
    null = encoded.rows[0].double()
    expected = lengths(model, null[:1] @ change.T) / lengths(model, null[:1])
    assert value(found, "drift of the empty prompt", "first row") == pytest.approx(float(expected), rel=1e-4)
    deltas, weights = edit.delta(model), model.weights()
    size = sum(d.double().square().sum() for d in deltas.values()) / sum(
        w.double().square().sum() for w in weights.values()
    )
    assert value(found, "size of the change") == pytest.approx(float(size.sqrt()), rel=1e-4)
    assert value(found, "rank") == 2


def test_a_concept_that_comes_to_no_number_is_the_worst(model, edit):
    pairs = ce.collect(model, edit.recipe.model_copy(update={"tokens": "subject"})).streams["text"].pairs
    for number, concept in enumerate(edit.recipe.concepts):
        goals = pairs.goals.clone()
        goals[pairs.owner == number] = float("nan")
        lens = import_module("concept_edit.diagnose")._Lens(edit, model, "text")
        check = lens.erasure(replace(pairs, goals=goals), edit.recipe.concepts, set())[0]
        assert (check.subject, check.verdict) == (concept, "bad")


@pytest.mark.parametrize("wordings", [(), ("{}",)])
def test_a_style_is_looked_at_in_the_wordings_of_its_kind_and_beside_things(model, wordings):
    def left(*edits):
        recipe = ce.Recipe(edits=edits, preserve=["a red car"], keep_common=False)
        found = ce.diagnose(model, ce.solve(model, recipe)).checks
        return {check.subject: check for check in found if check.name == "erased concept left"}

    both = left(ce.Erase("Monet", wordings=wordings), ce.Erase("cat", wordings="{}"))
    assert set(both) == {"Monet", "cat"}
    assert (both["cat"].warn, both["cat"].bad) < (both["Monet"].warn, both["Monet"].bad)
    alone = left(ce.Erase("cat", wordings="{}"))
    assert alone.keys() == {"cat"}, "no style is told of where none goes"
    told = left(ce.Erase("Monet", wordings=wordings))["Monet"].value
    assert told != left(ce.Erase("Monet", wordings=("{}", "Monet")))["Monet"].value


def test_the_condition_number_is_that_of_the_normal_matrix(model, edit):
    encoded = model.encode(["Van Gogh", "weapon", "Monet", "a red car"])["text"]
    rows = torch.stack([encoded.rows[n, int(encoded.eos[n]) - 1] for n in range(4)]).double()
    condition = torch.linalg.cond(0.5 * torch.eye(32, dtype=torch.float64) + rows.T @ rows)
    assert value(ce.diagnose(model, edit), "condition number") == pytest.approx(float(condition), rel=1e-4)


def test_a_revived_concept_lies_where_the_edit_is_undone(model, edit):
    found = ce.diagnose(model, edit)
    change = edit.factors["text"].dense()
    subject = edit.recipe.model_copy(update={"tokens": "subject"})
    rows = ce.collect(model, subject).streams["text"].pairs.sources.double()
    undone = torch.linalg.solve(torch.eye(32, dtype=torch.float64) + change, rows.T).T
    nearest = ((undone - rows).norm(dim=1) / rows.norm(dim=1)).min()
    assert value(found, "revival distance") == pytest.approx(float(nearest), rel=0.2)


def test_an_edit_that_paints_noise_is_called_bad_and_a_mild_one_is_not(model, edit):
    assert ce.diagnose(model, edit).verdict == "bad"
    nothing = ce.diagnose(model, ce.solve(model, ce.Recipe(preserve=["Monet"])))
    assert nothing.verdict == "good"
    assert value(nothing, "drift of kept prompts") == 0


def test_the_prompt_that_moves_most_is_named(model, edit):
    prompts = ("Rembrandt", "a cat")
    alone = [value(ce.diagnose(model, edit, held_out=[p]), "drift of held-out prompts") for p in prompts]
    found = ce.diagnose(model, edit, held_out=["Rembrandt", "a cat", "rembrandt "])
    both = next(check for check in found.checks if check.name == "drift of held-out prompts")
    assert min(alone) < both.value < max(alone)
    assert both.subject.strip().lower() == prompts[alone.index(max(alone))].lower()


def test_captions_are_those_the_edit_was_solved_with_or_the_models_own():
    demo = ce.open_model("demo")
    kept = ["dog", "panda", "frog", "penguin", "car", "tree", "house", "star"]
    recipe = ce.Recipe(edits=[ce.Erase("cat", guide="dog drawing")], preserve=kept, method="uce")
    plain = ce.solve(demo, recipe)
    guarded = ce.solve(demo, recipe.model_copy(update={"method": "guarded", "tokens": "subject"}))
    tokens = {c.subject for e in (plain, guarded) for c in ce.diagnose(demo, e).checks if c.name.endswith("captions")}
    ordinary = guarded.statistics.streams["text"].around.ordinary
    assert tokens == {f"{len(ordinary)} tokens"}
    own = value(ce.diagnose(demo, guarded), "drift of plain captions")
    weights = list(demo.weights().values())
    gram = sum(w.double().T @ w.double() for w in weights)
    moved = ordinary.double() @ guarded.factors["text"].dense().T
    far = ordinary.double() - guarded.statistics.streams["text"].around.mean
    expected = ((moved @ gram) * moved).sum() / ((far @ gram) * far).sum()
    assert own == pytest.approx(float(expected.sqrt()), rel=1e-3)


@pytest.mark.parametrize(("value_", "verdict"), [(0.0, "good"), (0.1, "look"), (0.3, "bad"), (float("nan"), "bad")])
def test_verdicts(value_, verdict):
    assert Check("n", "text", "s", value_, 0.1, 0.3).verdict == verdict
    assert Check("n", "text", "s", value_, None, None).verdict == "-"


def test_the_table_and_the_plain_data_hold_every_check(model, edit):
    found = ce.diagnose(model, edit, held_out=["Rembrandt"])
    assert len(found.table().splitlines()) == len(found.checks) + 1
    plain = json.loads(json.dumps(found.as_dict()))
    assert [check["name"] for check in plain["checks"]] == [check.name for check in found.checks]
    assert plain["verdict"] == found.verdict


def test_every_stream_is_looked_at_and_files_without_statistics_too(tmp_path):
    model = tiny.tiny_model("sdxl")
    ce.solve(model, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")])).save(tmp_path / "e.safetensors")
    found = ce.diagnose(model, ce.Edit.load(tmp_path / "e.safetensors"))
    assert {check.stream for check in found.checks} == {"text", "pooled"}


def test_another_text_encoder_is_refused(edit):
    with pytest.raises(ValueError, match="has another"):
        ce.diagnose(tiny.tiny_model("sd1", seed=4), edit)


def test_a_wide_stream_is_seen_through_a_lens_within_some_per_cent(model, edit, monkeypatch):
    whole = ce.diagnose(model, edit)
    monkeypatch.setattr(import_module("concept_edit.diagnose"), "WIDE", 8)
    seen = ce.diagnose(model, edit)
    for name in ("erased concept left", "drift of kept prompts", "drift of plain captions", "size of the change"):
        assert value(seen, name) == pytest.approx(value(whole, name), rel=0.15)
    assert not any(check.name in ("condition number", "revival distance") for check in seen.checks)
