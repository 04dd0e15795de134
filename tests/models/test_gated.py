"""A gate before a live denoiser answers once for a generation, however many steps are taken."""

from __future__ import annotations

import numpy
import pytest
import tiny
import torch

import concept_edit as ce
from concept_edit.memory.gate import Gate
from concept_edit.models.gated import _Door

SETTINGS = {"size": 32, "batch_size": 2}


@pytest.fixture
def calls(monkeypatch):
    """Widths of the rows that any gate was asked about."""
    asked, answer = [], Gate.__call__

    def counted(self, rows, strength=1.0):
        asked.append(rows.shape[-1])
        return answer(self, rows, strength)

    monkeypatch.setattr(Gate, "__call__", counted)
    return asked


def edit_of(model):
    recipe = ce.Recipe(edits=[ce.Erase("apple", guide="village")], preserve=["a village", "art"], method="gated")
    return ce.solve(model, recipe)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_each_stream_is_answered_once_a_generation(family, calls):
    model = tiny.tiny_model(family)
    edit = edit_of(model)
    calls.clear()
    with edit.applied(model):
        model.generate(["apple", "a village"], [0, 1], steps=4, **SETTINGS)
        assert len(calls) == len(edit.gates)
        model.generate(["apple", "a village"], [2, 3], steps=2, **SETTINGS)
        assert len(calls) == len(edit.gates), "the same prompts are known"
        model.generate(["an apple", "a village"], [2, 3], steps=2, **SETTINGS)
    assert len(calls) == 2 * len(edit.gates)


def test_pictures_are_those_of_a_gate_asked_at_every_step(monkeypatch):
    model = tiny.tiny_model("sd1")
    edit, wish = edit_of(model), (["apple", "a village", "art"], [0, 1, 2])

    def painted():
        with edit.applied(model):
            return numpy.stack([numpy.asarray(image) for image in model.generate(*wish, steps=3, **SETTINGS)])

    remembered = painted()
    monkeypatch.setattr(_Door, "__call__", lambda self, rows: self.gate(rows, self.strength))
    assert numpy.array_equal(painted(), remembered)


def test_rows_that_come_in_turn_are_known_and_changed_rows_are_not(calls):
    model = tiny.tiny_model("sd1")
    gate = edit_of(model).gates["text"]
    door, a, b = _Door(gate, 1.0), *(model.encode([text])["text"].rows for text in ("apple", "a village"))
    calls.clear()
    for _ in range(3):
        assert torch.equal(door(a), gate(a))
        assert torch.equal(door(b), gate(b))
    assert len(calls) == 2 + 6
    a += 1.0
    assert torch.equal(door(a), gate(a))
    assert torch.equal(door(a.double()), gate(a.double()))
    assert len(calls) == 8 + 4
