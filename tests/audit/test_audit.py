"""Releases: what the manifest says is true, and whatever is touched afterwards is found and named."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import tiny
import torch

import concept_edit as ce
from concept_edit.audit.release import (
    EDIT,
    HISTORY,
    MANIFEST,
    PAGE,
    Decision,
    history_faults,
    read_history,
    read_manifest,
    verify,
    write_release,
)
from concept_edit.evaluation import Instruments, Row, Settings
from concept_edit.files import read_tensors, write_tensors
from concept_edit.identity import canonical

RECIPE = ce.Recipe(
    edits=[ce.Erase("Van Gogh", guide="art"), ce.Moderate("apple")], preserve=["Monet"], layers=("v",), method="uce"
)


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """A release with an evaluation, whose pictures of 'Van Gogh' are barred."""
    edit = ce.solve(model, RECIPE)
    rows = [Row("a red apple", 1, "edited", "apple", "apple"), Row("by Van Gogh", 1, "edited", "Van Gogh", "Van Gogh")]
    report = ce.evaluate(model, edit, rows, instruments=Instruments(), settings=Settings(steps=2), barred=["Van Gogh"])
    decision = Decision("ship <b>now</b>", ("ada", "ben"), ("Van Gogh",), "cp original.safetensors model.safetensors")
    folder = tmp_path_factory.mktemp("made")
    return write_release(
        model, edit, folder, report=report, diagnosis=ce.diagnose(model, edit), decision=decision
    ).folder


@pytest.fixture
def release(made, tmp_path):
    return shutil.copytree(made, tmp_path / "release")


def rewrite(path, *, header=(), tensors=()):
    """Change an edit file as somebody would who knows the format."""
    held, told = read_tensors(path, "concept-edit 1")
    write_tensors(path, held | dict(tensors), told | dict(header))


def test_an_untouched_release_verifies(release, model):
    found = verify(release / EDIT, model)
    assert found.ok, found.table()
    assert {f.part for f in found.findings} == {"manifest", "file", "recipe", "encoder", "base", "result", "history"}


def test_the_manifest_is_canonical_and_names_what_changed(release, model):
    manifest, name = read_manifest(release / MANIFEST)
    data = (release / MANIFEST).read_bytes()
    assert data == canonical(manifest)
    assert name == hashlib.sha256(data).hexdigest() == read_tensors(release / EDIT, "concept-edit 1")[1]["manifest"]
    edit = ce.Edit.load(release / EDIT)
    deltas, weights = edit.delta(model), model.weights()
    assert {c["name"] for c in manifest["result"]["changed"]} == {s.name for s in model.sites if s.role == "v"}
    for change in manifest["result"]["changed"]:
        expected = deltas[change["name"]].norm() / weights[change["name"]].norm()
        assert change["relative_change"] == pytest.approx(float(expected))
        assert change["rank"] == 2


def test_all_other_tensors_are_counted_and_identical(release, model):
    manifest, _ = read_manifest(release / MANIFEST)
    parts = [p for p in model.pipeline.components.values() if isinstance(p, torch.nn.Module)]
    everything = sum(len(part.state_dict()) for part in parts)
    assert manifest["others"]["tensors"] == everything - len(model.sites)


def test_the_page_holds_what_a_team_needs(release):
    text = (release / PAGE).read_text()
    manifest, name = read_manifest(release / MANIFEST)
    for wanted in (name, manifest["edit"]["recipe_sha256"], "Van Gogh", "Known bypasses", "cp original.safetensors"):
        assert wanted in text
    assert "ship &lt;b&gt;now&lt;/b&gt;" in text
    assert "<script" not in text
    assert "by Van Gogh (seed 1)" not in text, "pictures of a barred concept are not shown"
    assert text.count("class=veil") == 1, "pictures of a moderated concept are blurred"


def test_a_second_release_has_the_first_as_its_parent(release, model):
    first = read_manifest(release / MANIFEST)[1]
    write_release(model, ce.solve(model, ce.Recipe(edits=[ce.Erase("village")], method="uce")), release)
    history = read_history(release / HISTORY)
    assert [entry["parent"] for entry in history] == [None, first]
    assert verify(release / EDIT, model).ok


def test_history_faults_are_found():
    chain = [{"manifest": m, "parent": p, "when": ""} for m, p in (("a", None), ("b", "a"), ("c", "b"))]
    assert history_faults(chain) == []
    assert history_faults(chain[1:]) == ["release 1 names another parent than release 0"]
    assert history_faults([chain[0], chain[2]]) == ["release 2 names another parent than release 1"]


# Tampering: each names the part that was touched.


def test_a_tampered_manifest_is_found(release, model):
    manifest, _ = read_manifest(release / MANIFEST)
    manifest["decision"]["text"] = "shipped"
    (release / MANIFEST).write_bytes(canonical(manifest))
    assert verify(release / EDIT, model).touched == ("manifest", "history")


def test_a_manifest_written_otherwise_is_found(release, model):
    manifest, _ = read_manifest(release / MANIFEST)
    (release / MANIFEST).write_text(json.dumps(manifest, indent=1))
    assert "manifest" in verify(release / EDIT, model).touched


def test_an_edited_header_is_found(release, model):
    recipe = json.loads(RECIPE.model_copy(update={"preserve": ("Rembrandt",)}).compact())
    rewrite(release / EDIT, header={"recipe": recipe})
    found = verify(release / EDIT, model)
    assert found.touched == ("recipe",)


def test_swapped_factors_are_found(release, model):
    other = ce.solve(model, ce.Recipe(edits=[ce.Erase("village"), ce.Erase("painting")], layers=("v",), method="uce"))
    rewrite(release / EDIT, tensors={"text.left": other.factors["text"].left})
    assert verify(release / EDIT, model).touched == ("file", "result")


def test_one_flipped_bit_of_a_factor_is_found(release, model):
    left = ce.Edit.load(release / EDIT).factors["text"].left.clone()
    left.view(torch.int32)[3, 1] ^= 1
    rewrite(release / EDIT, tensors={"text.left": left})
    assert "file" in verify(release / EDIT, model).touched


def test_a_wrong_base_is_found(release):
    """Same text encoder, other matrices: a fine-tune, or swapped weights."""
    model = tiny.tiny_model("sd1")
    name, weight = next(iter(model.weights().items()))
    with torch.no_grad():
        weight[0, 0] += 1e-3
    found = verify(release / EDIT, model)
    assert found.touched == ("base",)
    assert name in found.table()


def test_another_text_encoder_is_found(release):
    found = verify(release / EDIT, tiny.tiny_model("sd1", seed=1))
    assert set(found.touched) == {"encoder", "base"}


def test_a_lost_manifest_and_a_cut_history_are_found(release, model):
    (release / HISTORY).write_text("")
    assert verify(release / EDIT, model).touched == ("history",)
    (release / MANIFEST).unlink()
    assert verify(release / EDIT, model).touched == ("manifest",)


def test_a_bare_edit_file_is_compared_with_its_own_recipe(model, tmp_path):
    ce.solve(model, RECIPE).save(tmp_path / "e.safetensors")
    assert verify(tmp_path / "e.safetensors", model).ok
    recipe = json.loads(RECIPE.model_copy(update={"ridge": 0.4}).compact())
    rewrite(tmp_path / "e.safetensors", header={"recipe": recipe})
    assert verify(tmp_path / "e.safetensors", model).touched == ("file",)


def test_a_release_into_a_touched_history_is_refused(release, model):
    lines = (release / HISTORY).read_bytes() * 2
    (release / HISTORY).write_bytes(lines)
    with pytest.raises(ValueError, match="was touched"):
        write_release(model, ce.solve(model, RECIPE), release)


@pytest.mark.parametrize("text", ["not json", "[]", '{"format": "x"}'])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ValueError, match=r"m\.json is no manifest"):
        read_manifest(tmp_path / "m.json")


def test_the_same_data_has_one_canonical_form():
    assert canonical({"b": [1, "é"], "a": 0.1}) == '{"a":0.1,"b":[1,"é"]}\n'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))


def test_an_edit_from_before_there_were_methods_loads_and_verifies(model, tmp_path):
    """Its header names no method; that was `uce`, and is not today's default."""
    edit = ce.solve(model, RECIPE)
    edit.save(tmp_path / EDIT, statistics=True)
    held, told = read_tensors(tmp_path / EDIT, "concept-edit 1")
    fields = ("edits", "preserve", "ridge", "erase_scale", "preserve_scale", "keep_null", "tokens", "layers")
    old = {name: told["recipe"][name] for name in fields}
    told["statistics"]["recipe"] = old
    write_tensors(tmp_path / EDIT, held, told | {"recipe": old})
    loaded = ce.Edit.load(tmp_path / EDIT)
    assert loaded.recipe == loaded.statistics.recipe == RECIPE
    found = verify(tmp_path / EDIT, model)
    assert found.ok, found.table()
    assert loaded.without("apple").recipe.method == "uce"
