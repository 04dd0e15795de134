"""A slider's direction as the mean over contrasts: against the formula, row by row; YAML, command, refusals."""

from __future__ import annotations

import pytest
import tiny
import torch

import concept_edit as ce

ENDS = {"towards": "old doctor", "away": "young doctor", "wordings": ("a {}", "photo of {}")}


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


def goals(model, edit, tokens="subject"):
    pairs = ce.collect(model, ce.Recipe(edits=[edit], method="uce", tokens=tokens)).streams["text"].pairs
    return (pairs.goals - pairs.sources).double()


def test_the_move_is_the_mean_of_each_ones_own_move(model):
    """The concept's rows, moved as each contrast's two ends differ in the same places."""
    whole = goals(model, ce.Steer("doctor", **ENDS, contrasts=("farmer", "apple")))
    parts = []
    for name in ("doctor", "farmer", "apple"):
        ends = {end: ENDS[end].replace("doctor", name) for end in ("towards", "away")}
        parts.append(goals(model, ce.Steer("doctor", **ends, wordings=ENDS["wordings"])))
    torch.testing.assert_close(whole, torch.stack(parts).mean(0), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(whole, parts[0], atol=1e-3)


def test_a_lower_end_left_out_is_each_ones_own_name(model):
    slider = ce.Steer("doctor", towards="old doctor", contrasts=("farmer",))
    assert slider.ends("a {}", "farmer") == ("a old farmer", "a farmer")
    own = goals(model, ce.Steer("doctor", towards="old doctor"), "last")
    other = goals(model, ce.Steer("doctor", towards="old farmer", away="farmer"), "last")
    torch.testing.assert_close(goals(model, slider, "last"), (own + other) / 2, atol=1e-5, rtol=1e-4)


def test_contrasts_travel_in_yaml(model, tmp_path):
    asked = ce.Recipe(edits=[ce.Steer("doctor", **ENDS, contrasts=("farmer",))], method="uce")
    assert ce.Recipe.from_yaml(asked.to_yaml()) == asked
    ce.solve(model, asked).save(tmp_path / "s.safetensors")
    assert ce.Edit.load(tmp_path / "s.safetensors").recipe == asked


def test_ends_that_do_not_name_the_concept_have_no_contrasts():
    with pytest.raises(ValueError, match="both ends must name 'smile'"):
        ce.Steer("smile", towards="laughing", away="crying", contrasts=("face",))
