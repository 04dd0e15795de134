"""Windows of layers: what is written where, which window is chosen, and that a chosen one is solved as it was tried."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

import concept_edit as ce
from concept_edit.__main__ import app
from concept_edit.search.layers import LayerSearch, Window, layers_of

SETTINGS = {"sizes": (2, 6), "seeds": (3,)}


@pytest.fixture(scope="module")
def model():
    return ce.open_model("demo")


@pytest.fixture(scope="module")
def edit(model):
    return ce.solve(model, ce.Recipe(edits=[ce.Erase("cat")], preserve=["dog", "tree", "no such thing"], method="uce"))


class Told:
    """Says that every picture shows the first thing; keeps what the model's matrices were when it painted."""

    name = "stub 1"

    def __init__(self):
        self.asked = 0

    def choices(self, concept):
        return ("cat", "dog", "tree") if concept in ("cat", "dog", "tree") else ()

    def __call__(self, images, choices):
        self.asked += len(images)
        return torch.eye(len(choices))[torch.zeros(len(images), dtype=torch.long)]


def window(size, left, kept):
    return Window(tuple(f"layer{n}" for n in range(size)), (left, 10), (kept, 10))


def test_each_window_changes_its_own_matrices_and_no_other(model, edit, monkeypatch):
    before, seen = {name: weight.clone() for name, weight in model.weights().items()}, []
    delta = edit.delta(model)

    def paint(prompts, seeds, **_):
        changed = {name for name, weight in model.weights().items() if not torch.equal(weight, before[name])}
        for name in changed:
            torch.testing.assert_close(model.weights()[name], before[name] + delta[name])
        seen.append({name.rsplit(".", 2)[0] for name in changed})
        return [None] * len(prompts)

    monkeypatch.setattr(model, "generate", paint)
    found = ce.search_layers(model, edit, Told(), **SETTINGS)
    places = layers_of(model, edit.recipe)
    assert len(places) == 7
    assert seen[0] == set()
    assert seen[1] == set(places)
    assert [set(w.layers) for w in found.windows] == seen[1:]
    assert [w.layers for w in found.windows[1:7]] == [tuple(places[n : n + 2]) for n in range(6)]
    assert found.windows[0].left == (1, 1), "the stub names a cat in every picture"
    assert found.windows[0].kept == (0, 2), "what the labeller does not know is not asked for"


def test_the_best_window_leaves_no_more_than_all_layers_and_keeps_most():
    tried = (window(7, 1, 4), window(3, 3, 10), window(4, 1, 8), window(2, 1, 8), window(5, 0, 7))
    found = LayerSearch(ce.Recipe(edits=[ce.Erase("cat")]), "stub 1", window(0, 10, 10), tried)
    assert found.best is tried[3]
    assert found.recipe().layers == ("layer0.*", "layer1.*")
    assert "leave 0.10 and keep 0.80; all layers leave 0.10 and keep 0.40" in found.sentence()
    assert found.to_markdown().count("| chosen |") == 1
    worse = LayerSearch(found.asked, "stub 1", found.before, (tried[0], tried[1], window(1, 1, 3)))
    assert worse.recipe() == found.asked
    assert "keep them all" in worse.sentence()


def test_the_recipe_found_is_solved_to_what_was_tried(model, edit):
    places = layers_of(model, edit.recipe)
    found = LayerSearch(edit.recipe, "stub", window(0, 10, 10), (Window(tuple(places), (1, 2), (0, 2)),
                        Window(tuple(places[2:4]), (1, 2), (2, 2))))  # fmt: skip
    solved, whole = ce.solve(model, found.recipe()).delta(model), edit.delta(model)
    assert {name.rsplit(".", 2)[0] for name in solved} == set(places[2:4])
    for name, change in solved.items():
        torch.testing.assert_close(change, whole[name])


def test_what_cannot_be_searched_is_refused(model, edit):
    with pytest.raises(ValueError, match="cannot name any concept that is kept"):
        ce.search_layers(model, edit, Told(), kept=["no such thing"])
    with pytest.raises(ValueError, match="cannot name any concept that is erased"):
        ce.search_layers(model, ce.solve(model, ce.Recipe(edits=[ce.Erase("owl")])), Told(), kept=["dog"])
    gate = ce.solve(model, ce.Recipe(edits=[ce.Erase("cat")], preserve=["dog"], method="gated"))
    with pytest.raises(ValueError, match="cannot be kept to some layers"):
        ce.search_layers(model, gate, Told())


def test_the_command_writes_the_recipe_with_its_layers(model, edit, tmp_path):
    edit.save(tmp_path / "e.safetensors")
    given = ["layers", "--edit", str(tmp_path / "e.safetensors"), "--kept", "dog", "--sizes", "6", "-n", "1"]
    told = CliRunner().invoke(app, [*given, "--steps", "4", "--out", str(tmp_path / "r.yaml"), "--quiet"])
    assert told.exit_code == 0, told.output
    layers = ce.Recipe.load(tmp_path / "r.yaml").layers
    assert layers in ((), *(tuple(f"{n}.*" for n in layers_of(model, edit.recipe)[at : at + 6]) for at in (0, 1)))
    assert CliRunner().invoke(app, [*given[:-3], "x", "--out", str(tmp_path / "r.yaml")]).exit_code != 0
