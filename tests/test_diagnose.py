"""The image-free checks: figures against their definitions, verdicts, the table."""

from __future__ import annotations

import json

import pytest
import tiny
import torch

import concept_edit as ce
from concept_edit.diagnose import Check


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


@pytest.fixture(scope="module")
def edit(model):
    edits = [ce.Erase("Van Gogh", guide="art"), ce.Moderate("weapon")]
    return ce.solve(model, ce.Recipe(edits=edits, preserve=["Monet", "a red car"]))


def value(found, name, subject=None):
    return next(c for c in found.checks if c.name == name and subject in (None, c.subject)).value


def lengths(model, rows):
    """√Σ ‖W r‖² over every matrix, by multiplying each."""
    return sum((rows @ w.double().T).square().sum() for w in model.weights().values()).sqrt()


def test_what_is_left_and_the_drift_follow_their_definitions(model, edit):
    found = ce.diagnose(model, edit, held_out=["Rembrandt"])
    change = edit.factors["text"].dense()
    encoded = model.encode(["Van Gogh", "art", "", "weapon"])["text"]
    rows = [encoded.rows[n, max(0, int(encoded.eos[n]) - 1)].double()[None] for n in range(4)]
    left = [
        float(lengths(model, c + c @ change.T - t) / lengths(model, c - t))
        for c, t in ((rows[0], rows[1]), (rows[3], rows[2]))
    ]
    assert value(found, "erased concept left") == pytest.approx(max(left), rel=1e-4)
    null = encoded.rows[2].double()
    expected = lengths(model, null[:1] @ change.T) / lengths(model, null[:1])
    assert value(found, "drift of the empty prompt", "first row") == pytest.approx(float(expected), rel=1e-4)
    deltas, weights = edit.delta(model), model.weights()
    size = sum(d.double().square().sum() for d in deltas.values()) / sum(
        w.double().square().sum() for w in weights.values()
    )
    assert value(found, "size of the change") == pytest.approx(float(size.sqrt()), rel=1e-4)
    assert value(found, "rank") == 2


def test_the_condition_number_is_that_of_the_normal_matrix(model, edit):
    encoded = model.encode(["Van Gogh", "weapon", "Monet", "a red car"])["text"]
    rows = torch.stack([encoded.rows[n, int(encoded.eos[n]) - 1] for n in range(4)]).double()
    condition = torch.linalg.cond(0.5 * torch.eye(32, dtype=torch.float64) + rows.T @ rows)
    assert value(ce.diagnose(model, edit), "condition number") == pytest.approx(float(condition), rel=1e-4)


def test_a_revived_concept_lies_where_the_edit_is_undone(model, edit):
    found = ce.diagnose(model, edit)
    change = edit.factors["text"].dense()
    encoded = model.encode(["Van Gogh", "weapon"])["text"]
    rows = torch.stack([encoded.rows[n, int(encoded.eos[n]) - 1] for n in range(2)]).double()
    undone = torch.linalg.solve(torch.eye(32, dtype=torch.float64) + change, rows.T).T
    nearest = ((undone - rows).norm(dim=1) / rows.norm(dim=1)).min()
    assert value(found, "revival distance") == pytest.approx(float(nearest), rel=0.2)


def test_an_edit_that_paints_noise_is_called_bad_and_a_mild_one_is_not(model, edit):
    assert ce.diagnose(model, edit).verdict == "bad"
    nothing = ce.diagnose(model, ce.solve(model, ce.Recipe(preserve=["Monet"])))
    assert nothing.verdict == "good"
    assert value(nothing, "drift of kept prompts") == 0


def test_the_prompt_that_moves_most_is_named(model, edit):
    alone = [value(ce.diagnose(model, edit, held_out=[p]), "drift of held-out prompts") for p in ("Rembrandt", "a cat")]
    found = ce.diagnose(model, edit, held_out=["Rembrandt", "a cat", "rembrandt "])
    worst = next(check for check in found.checks if check.name == "drift of held-out prompts")
    assert worst.value == pytest.approx(max(alone), rel=1e-5)
    assert worst.subject == ("Rembrandt", "a cat")[alone.index(max(alone))] or worst.subject == "rembrandt "


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
