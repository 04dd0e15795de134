"""Both workflows of examples/, end to end on the embedded model, with as few pictures and steps as they can do with."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

import concept_edit as ce

EXAMPLES = Path(__file__).parents[2] / "examples"


def main_of(name):
    return runpy.run_path(str(EXAMPLES / name))["main"]


def test_an_artist_opts_out(tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("Lobe\n")
    main_of("artist_opt_out.py")(["--names", str(names), "--out", str(tmp_path), "--prompts", "2", "--steps", "1"])
    assert ce.Edit.load(tmp_path / "edit.safetensors").concepts == ("Lobe",)
    assert (tmp_path / "opt_out.safetensors").stat().st_size > 1000
    text = (tmp_path / "report.html").read_text()
    assert "Lobe" in text
    assert text.count("data:image/png") >= 8
    assert "| named as its concept | edited | after |" in capsys.readouterr().out


def test_a_moderation_team_releases_a_model(tmp_path, capsys):
    pytest.importorskip("model_signing", reason="signing needs the extra [sign]")
    given = ["--out", str(tmp_path), "--prompts", "2", "--pictures", "4", "--rounds", "1", "--steps", "1"]
    main_of("moderation_release.py")(given)
    told = capsys.readouterr().out
    assert "TOUCHED" not in told
    assert "rollback:" in told
    manifest = json.loads((tmp_path / "release" / "manifest.json").read_text())
    assert manifest["decision"]["barred"] == ["syringe"]
    assert {path.name for path in (tmp_path / "release" / "signatures").glob("*.sig")} == {"ada.sig", "ben.sig"}
    assert "syringe (seed" not in (tmp_path / "release" / "report.html").read_text()


def test_all_four_kinds_of_edit_in_one_recipe_make_a_picture(tmp_path):
    """Few steps and pictures: the way is walked, not measured."""
    from PIL import Image

    main_of("four_kinds.py")(["--out", str(tmp_path), "--pictures", "8", "--rounds", "2", "--steps", "2"])
    recipe = ce.Edit.load(tmp_path / "edit.safetensors").recipe
    assert [type(edit).__name__ for edit in recipe.edits] == ["Erase", "Moderate", "Debias"]
    assert recipe.preserve
    assert recipe.edits[2].aims is not None
    assert Image.open(tmp_path / "four_kinds.png").size[1] > 400
