"""`concept-edit export` and `import`: files, many models at once, exit codes."""

from __future__ import annotations

import json

import pytest
import tiny
from safetensors.torch import save_file

import concept_edit as ce
from concept_edit.__main__ import run
from concept_edit.export.raw import entries
from concept_edit.models import FAMILIES
from concept_edit.models.files.original import original_state


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two checkpoints that share a text encoder, one that does not, and an edit of two concepts."""
    root = tmp_path_factory.mktemp("cli")
    pipeline, other = tiny.tiny_pipeline("sd1"), tiny.tiny_pipeline("sd1", seed=5)
    pipeline.save_pretrained(root / "folder")
    (root / "folder" / "generation.json").write_text('{"num_inference_steps": 2}')
    state = original_state(pipeline, FAMILIES["sd1"])
    save_file(state, root / "first.safetensors")
    tuned = {name: 1.01 * value if name.startswith("model.") else value for name, value in state.items()}
    save_file(tuned, root / "second.safetensors")
    save_file(original_state(other, FAMILIES["sd1"]), root / "foreign.safetensors")
    recipe = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art"), ce.Erase("cat")], method="uce")
    ce.solve(ce.open_model(root / "folder"), recipe).save(root / "edit.safetensors")
    return root


def export(place, *more):
    return run(["export", str(place / "edit.safetensors"), *map(str, more)])


def test_lora_for_each_concept(place, tmp_path, capsys):
    assert export(place, "--as", "lora", "--model", place / "folder", "--per-concept", "-o", tmp_path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)["written"]
    assert [item["rank"] for item in facts] == [1, 1]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "folder-edit-Van_Gogh.safetensors",
        "folder-edit-cat.safetensors",
    ]


def test_lora_with_sidecar_and_preview(place, tmp_path, capsys):
    more = (
        "--as",
        "lora",
        "--model",
        place / "folder",
        "--sidecar",
        "--preview",
        "a cat",
        "-o",
        tmp_path / "x.safetensors",
    )
    assert export(place, *more) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.json", "x.png", "x.safetensors"]
    assert "rank 2 of 2" in capsys.readouterr().out
    assert export(place, *more) == 2
    assert "--force" in capsys.readouterr().err
    assert export(place, *more, "--force") == 0


def test_one_edit_into_many_checkpoints_one_failure_stops_nothing(place, tmp_path, capsys):
    models = [x for name in ("first", "foreign", "second") for x in ("--model", place / f"{name}.safetensors")]
    code = export(place, "--as", "checkpoint", *models, "--companion", place / "folder", "-o", tmp_path)
    said = capsys.readouterr()
    assert code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first-edit.safetensors", "second-edit.safetensors"]
    assert said.out.count("matrices changed") == 2
    assert "foreign.safetensors" in said.err
    assert "another" in said.err
    assert "1 of 3 models failed" in said.err
    assert entries(tmp_path / "first-edit.safetensors").keys() == entries(place / "first.safetensors").keys()
    assert (tmp_path / "first-edit.safetensors").read_bytes() != (tmp_path / "second-edit.safetensors").read_bytes()


def test_kv_folder_and_import_round_trip(place, tmp_path, capsys):
    folder = ("--model", place / "folder")
    assert export(place, "--as", "kv", *folder, "-o", tmp_path / "kv.safetensors") == 0
    assert export(place, "--as", "diffusers", *folder, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "model_index.json").is_file()
    arguments = ["import", str(tmp_path / "kv.safetensors"), "--model", str(place / "folder")]
    assert run([*arguments, "-o", str(tmp_path / "edit.safetensors")]) == 0
    assert "text rank 2" in capsys.readouterr().out
    assert ce.Edit.load(tmp_path / "edit.safetensors").rank("text") == 2
    assert run([*arguments, "--as", "lora", "-o", str(tmp_path / "lora.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rank"] == 2
    assert run([*arguments, "-o", str(tmp_path / "edit.safetensors")]) == 2


def test_hub_folder_without_a_network(place, tmp_path, capsys):
    more = ("--as", "hub", "--model", place / "folder", "--repo", "someone/no-gogh", "-o", tmp_path / "hub")
    assert export(place, *more) == 0
    assert (tmp_path / "hub" / "README.md").is_file()
    assert export(place, "--as", "hub", "--model", place / "folder") == 2
    assert "--repo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--as", "webui"), "webui"),
        (("--as", "lora", "--model", "foreign"), "text encoder"),
        (("--as", "lora", "--model", "nowhere.safetensors"), "not a file"),
        (("--as", "checkpoint", "--model", "folder", "-o", "folder"), "files in it"),
    ],
)
def test_bad_input_ends_with_two(place, tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    names = {"foreign": str(place / "foreign.safetensors"), "folder": str(place / "folder")}
    assert export(place, *(names.get(word, word) for word in more), "--companion", place / "folder") == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
