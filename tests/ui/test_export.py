"""The Export tab's handlers: every file loads where it should, at the size that was told."""

from __future__ import annotations

import numpy as np
import pytest
from pages import QUICK, SMALL, result

import concept_edit as ce
from ui.workshop.export import KINDS, in_words, sizes, slug, write
from ui.workshop.versions import Version


@pytest.fixture
def editing(visit, small_edit):
    visit.edits.push(Version("small", small_edit, "demo"))
    return visit


@pytest.mark.parametrize("kind", ["lora", "kv", "checkpoint", "edit"])
def test_the_size_told_beforehand_is_the_files(workshop, editing, kind):
    told = sizes(workshop, editing)[kind]
    written = result(write(workshop, editing, kind)).stat().st_size
    assert told == pytest.approx(written, rel=0.1, abs=40_000)


def test_the_lora_paints_what_the_edit_paints(workshop, editing):
    path = result(write(workshop, editing, "lora"))
    model = workshop.model("demo")
    with editing.edits.current.edit.applied(model):
        wanted = model.generate(QUICK.prompt, [1], steps=2)[0]
    fresh = ce.open_model("demo")
    fresh.pipeline.load_lora_weights(str(path))
    found = fresh.generate(QUICK.prompt, [1], steps=2)[0]
    assert np.abs(np.asarray(found, float) - np.asarray(wanted, float)).mean() < 1


def test_recipe_and_edit_load_again(workshop, editing):
    assert ce.Recipe.load(result(write(workshop, editing, "recipe"))) == SMALL
    assert ce.Edit.load(result(write(workshop, editing, "edit"))).statistics is not None


def test_the_strength_is_in_the_matrices(workshop, editing):
    editing.edits.turn(0.0)
    path = result(write(workshop, editing, "kv"))
    import torch
    from safetensors.torch import load_file

    weights = workshop.model("demo").weights()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_file(path).items())


def test_files_are_named_by_what_they_do_and_lie_in_the_visits_folder(workshop, editing):
    path = result(write(workshop, editing, "lora"))
    assert path.name == "erase-twemoji-erase-cat-lora.safetensors"
    assert path.parent == editing.folder
    hostile = ce.Recipe(edits=(ce.Erase("../../etc/<script>"),), method="uce")
    edit = ce.solve(workshop.model("demo"), hostile)
    assert slug(Version("", edit, "demo")) == "erase-etc-script"


def test_what_cannot_be_exported_is_said(workshop, visit, small_edit):
    with pytest.raises(ValueError, match="there is no edit to export yet"):
        write(workshop, visit, "lora")
    assert sizes(workshop, visit) == {}
    visit.edits.push(Version("small", small_edit, "demo"))
    with pytest.raises(ValueError, match="run the Audit tab on this edit first"):
        result(write(workshop, visit, "report"))
    with pytest.raises(ValueError, match="is no file of an edit"):
        write(workshop, visit, "../../etc/passwd")


def test_the_report_is_of_the_version_that_holds(workshop, editing):
    from ui.workshop.audit import Audit

    class Report:
        def save(self, path):
            path.write_text("<html>")

    other = Version("other", ce.solve(workshop.model("demo"), SMALL.without("cat")), "demo")
    editing.audit = Audit(report=Report(), of=other)
    with pytest.raises(ValueError, match="about another version"):
        result(write(workshop, editing, "report"))
    editing.audit.of = editing.edits.current
    assert result(write(workshop, editing, "report")).read_text() == "<html>"


def test_sizes_are_said_in_words():
    assert [in_words(size) for size in (12, 1500, 2_500_000, 7_200_000_000)] == ["1 kB", "2 kB", "2.5 MB", "7.2 GB"]
    assert set(KINDS) == {"lora", "checkpoint", "kv", "edit", "recipe", "report"}
