"""Off/on pairs: the same seed without and with an edit, a list, going on after a kill, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image
from planted import LAMP
from typer.testing import CliRunner

import styles
from styles.__main__ import app
from styles.generator import Generator

DARK = styles.UnitEdit((("b16.torgb", LAMP, -4.0),), "sigma")


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_pairs_are_the_pictures_without_and_with_the_edit(lamp_model: Generator, tmp_path: Path) -> None:
    assert styles.write_pairs(lamp_model, DARK, [3, 1, 3], tmp_path) == 2
    assert [(row["seed"], row["without"], row["with"]) for row in listed(tmp_path)] == [
        ("3", "without/3.png", "with/3.png"), ("1", "without/1.png", "with/1.png"),
    ]  # fmt: skip
    w = lamp_model.map(lamp_model.sample_z([3, 1]))
    with DARK.applied(lamp_model):
        after = styles.to_pil(lamp_model.synthesize(w))
    for row, before, turned in zip(listed(tmp_path), styles.to_pil(lamp_model.synthesize(w)), after, strict=True):
        assert Image.open(tmp_path / row["without"]).tobytes() == before.tobytes()
        assert Image.open(tmp_path / row["with"]).tobytes() == turned.tobytes() != before.tobytes()


def test_a_killed_run_goes_on(lamp_model: Generator, tmp_path: Path) -> None:
    def killed(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        styles.write_pairs(lamp_model, DARK, range(8), tmp_path, batch=2, progress=killed)
    assert not lamp_model.edited
    assert len(listed(tmp_path)) == 4
    (tmp_path / "with/2.png").unlink()
    with (tmp_path / "pairs.csv").open("a") as file:
        file.write("5,without/5.p")
    kept = (tmp_path / "with/1.png").stat().st_mtime_ns
    assert styles.write_pairs(lamp_model, DARK, range(8), tmp_path, batch=3) == 5
    assert sorted(int(row["seed"]) for row in listed(tmp_path)) == list(range(8))
    assert (tmp_path / "with/1.png").stat().st_mtime_ns == kept
    assert styles.write_pairs(lamp_model, DARK, range(8), tmp_path) == 0
    assert not list(tmp_path.rglob("*.part"))
    whole = tmp_path / "whole"
    styles.write_pairs(lamp_model, DARK, range(8), whole)
    for seed in range(8):
        assert (whole / f"with/{seed}.png").read_bytes() == (tmp_path / f"with/{seed}.png").read_bytes()


def test_a_folder_of_another_run_is_refused(lamp_model: Generator, tmp_path: Path) -> None:
    styles.write_pairs(lamp_model, DARK, [0], tmp_path)
    other = styles.UnitEdit((("b16.torgb", LAMP, -3.0),), "sigma")
    mask = torch.zeros(16, 16)
    mask[:8] = 1
    with pytest.raises(ValueError, match=r"another run \(another edit\); name another folder"):
        styles.write_pairs(lamp_model, other, [0], tmp_path)
    with pytest.raises(ValueError, match="another truncation, mask"):
        styles.write_pairs(lamp_model, DARK, [0], tmp_path, truncation=0.5, mask=mask)
    (tmp_path / "pairs.json").write_text("[]")
    with pytest.raises(ValueError, match="another run"):
        styles.write_pairs(lamp_model, DARK, [0], tmp_path)
    with pytest.raises(ValueError, match="at least one seed"):
        styles.write_pairs(lamp_model, DARK, [], tmp_path / "new")
    assert len(listed(tmp_path)) == 1


def test_the_verb_writes_pairs_and_goes_on(tmp_path: Path) -> None:
    asked = ["pairs", "--unit", "b16.torgb:3=-6", "--how", "sigma", "--out", str(tmp_path / "p")]
    first = CliRunner().invoke(app, [*asked, "--seeds", "0-1"])
    assert "2 pairs painted, 0 were there" in first.output
    again = CliRunner().invoke(app, [*asked, "--seeds", "0-2"])
    assert "1 pairs painted, 2 were there" in again.output
    assert [row["seed"] for row in listed(tmp_path / "p")] == ["0", "1", "2"]
