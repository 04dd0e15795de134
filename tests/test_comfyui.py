"""The ComfyUI node: what it does to a CONDITIONING is what the edit does to the model's matrices."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import tiny
import torch

import concept_edit as ce

NODE = Path(__file__).parent.parent / "examples" / "comfyui" / "concept_edit_node.py"


@pytest.fixture(scope="module")
def node():
    spec = importlib.util.spec_from_file_location("concept_edit_node", NODE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sdxl")


def conditioning(model, *prompts):
    """As ComfyUI holds it: a list of [rows, options], the pooled vector among the options."""
    encoded = model.encode(list(prompts))
    rows, pooled = encoded["text"].rows, encoded["pooled"].rows
    return [[rows[i : i + 1], {"pooled_output": pooled[i], "kept": i}] for i in range(len(prompts))]


def solved(model, path, method):
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], preserve=["apple"], method=method))
    edit.save(path, statistics=True)
    return edit


@pytest.mark.parametrize("strength", [0.7, -1.5])
def test_rows_and_pooled_vectors_read_as_the_edited_matrices_would(node, model, tmp_path, strength):
    edit = solved(model, tmp_path / "e.safetensors", "guarded")
    given = conditioning(model, "a village by Van Gogh", "an apple")
    before = [[rows.clone(), dict(more)] for rows, more in given]
    moved = node.applied(given, node.read_edit(str(tmp_path / "e.safetensors")), strength)
    weights = {name: weight.clone() for name, weight in model.weights().items()}
    with edit.applied(model, strength):
        for site in edit.sites(model):
            for (rows, more), (after, told) in zip(given, moved, strict=True):
                h, new = (rows, after) if site.stream == "text" else (more["pooled_output"], told["pooled_output"])
                want = h @ model.weights()[site.name][:, : site.columns].T
                got = new @ weights[site.name][:, : site.columns].T
                torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    for (rows, more), (kept, was) in zip(given, before, strict=True):
        assert torch.equal(rows, kept)
        assert torch.equal(more["pooled_output"], was["pooled_output"])
    assert [told["kept"] for _, told in moved] == [0, 1]
    assert not torch.equal(moved[0][0], given[0][0])


def test_a_slider_file_slides_both_ways(node, model, tmp_path):
    slider = ce.Steer("doctor", towards="old doctor", away="young doctor", wordings=("a {}",))
    ce.solve(model, ce.Recipe(edits=[slider], preserve=["apple"], method="guarded")).save(tmp_path / "s.safetensors")
    given, edit = conditioning(model, "a doctor"), node.read_edit(str(tmp_path / "s.safetensors"))
    (low, _), (high, _) = (node.applied(given, edit, strength)[0] for strength in (-2.0, 2.0))
    rows = given[0][0]
    assert (high - rows).norm() > 0
    torch.testing.assert_close(rows - low, high - rows, atol=1e-4, rtol=1e-4)


def test_a_gate_moves_what_the_library_s_gate_moves(node, model, tmp_path):
    edit = solved(model, tmp_path / "g.safetensors", "gated")
    given = conditioning(model, "Van Gogh", "a village by Van Gogh", "an apple")
    moved = node.applied(given, node.read_edit(str(tmp_path / "g.safetensors")), 1.0)
    for (rows, more), (after, told) in zip(given, moved, strict=True):
        torch.testing.assert_close(after, edit.gates["text"](rows))
        torch.testing.assert_close(told["pooled_output"], edit.gates["pooled"](more["pooled_output"]))
    assert not torch.equal(moved[0][0], given[0][0])


def test_another_model_s_rows_and_foreign_files_are_refused(node, model, tmp_path):
    solved(model, tmp_path / "e.safetensors", "uce")
    edit = node.read_edit(str(tmp_path / "e.safetensors"))
    with pytest.raises(ValueError, match="another model"):
        node.applied([[torch.zeros(1, 77, 8), {}]], edit, 1.0)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="not an edit file"):
        node.read_edit(str(tmp_path / "foreign.safetensors"))


def test_the_node_finds_its_files_in_comfyui_s_folder(node, model, tmp_path, monkeypatch):
    places = {}
    comfy = types.SimpleNamespace(
        models_dir=str(tmp_path),
        add_model_folder_path=lambda name, place: places.update({name: Path(place)}),
        get_filename_list=lambda name: sorted(path.name for path in places[name].iterdir()),
        get_full_path=lambda name, file: str(places[name] / file),
    )
    monkeypatch.setitem(sys.modules, "folder_paths", comfy)
    assert node.files() == []
    edit = solved(model, tmp_path / "concept_edits" / "e.safetensors", "uce")
    (tmp_path / "concept_edits" / "notes.txt").write_text("no edit")
    kind = node.NODE_CLASS_MAPPINGS["ConceptEdit"]
    assert kind.INPUT_TYPES()["required"]["edit"] == (["e.safetensors"],)
    (found,) = kind().apply(conditioning(model, "Van Gogh"), "e.safetensors", 1.0)
    rows, factors = model.encode(["Van Gogh"])["text"].rows, edit.factors["text"]
    torch.testing.assert_close(found[0][0], rows + (rows @ factors.right.T) @ factors.left.T)


def test_the_node_needs_nothing_of_this_package():
    assert "concept_edit." not in NODE.read_text().replace("custom_nodes/", "").split('"""', 2)[2]
    assert "import concept_edit" not in NODE.read_text()
