"""evaluate, release, verify, sign and debias from the command line."""

from __future__ import annotations

import json

import pytest
import tiny

from concept_edit.__main__ import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model as a diffusers folder, and an edit of it."""
    root = tmp_path_factory.mktemp("cli")
    tiny.tiny_pipeline("sd1").save_pretrained(root / "model")
    (root / "p.csv").write_text("case_number,prompt,evaluation_seed\n0,a red apple,1\n1,a village,2\n")
    assert run(["erase", "apple", "--model", str(root / "model"), "--out", str(root / "e.safetensors"), "-q"]) == 0
    return root


def test_evaluate_writes_a_report_and_goes_on(folder, tmp_path, capsys):
    given = ["evaluate", "--edit", str(folder / "e.safetensors"), "--model", str(folder / "model"), "--steps", "1"]
    given += ["--prompts", str(folder / "p.csv"), "--out", str(tmp_path / "run"), "--json", "--limit", "1"]
    assert run(given) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 1
    assert (tmp_path / "run" / "report.html").is_file()
    assert run([*given[:-2], "--quiet"]) == 0
    assert len(list((tmp_path / "run" / "after").iterdir())) == 2
    assert run([*given, "--steps", "2"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_release_and_verify(folder, tmp_path, capsys):
    model = ["--model", str(folder / "model")]
    assert (
        run(["release", str(folder / "e.safetensors"), *model, "--out", str(tmp_path / "r"), "--decision", "ok"]) == 0
    )
    edit = tmp_path / "r" / "edit.safetensors"
    assert run(["verify", str(edit), *model]) == 0
    assert "untouched" in capsys.readouterr().out
    manifest = tmp_path / "r" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"text":"ok"', '"text":"no"'))
    assert run(["verify", str(edit), *model, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["touched"] == ["manifest", "history"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--edit", "none.safetensors"], "there is no file none.safetensors"),
        (["debias", "doctor"], "say what to balance across"),
        (["debias", "doctor", "--across", "man:1"], "are no shares"),
        (["debias", "doctor", "--across", "man=0.5;woman=0.6"], "sum to 1"),
        (["sign", "nowhere", "--as", "a b", "--key", "k.pem"], "cannot name a signature"),
        (["verify", "none.safetensors"], "none.safetensors"),
    ],
)
def test_bad_input_is_a_sentence_and_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert message in capsys.readouterr().err
