"""The command line on a tiny generator: files out, notices on stderr, refusals with code 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted import LAMP, planted, tiny
from verbs import run

import styles
from styles.__main__ import main
from styles.commands.options import unit_of
from styles.pictures import grid
from styles.seeds import seeds_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cli")
    styles.save_generator(tiny(), made / "g.safetensors")
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:40, 8:32] = 255
    Image.fromarray(mask).save(made / "mask.png")
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(made / "empty.png")
    return made


def test_sample(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert run(monkeypatch, folder, "sample", "-m", "g.safetensors", "-s", "0-2", "-o", "sheet.png") == 0
    assert Image.open(folder / "sheet.png").size == (96, 32)
    assert run(monkeypatch, folder, "sample", "-m", "g.safetensors", "-s", "4,7", "-o", "many") == 0
    assert sorted(path.name for path in (folder / "many").iterdir()) == ["seed_4.png", "seed_7.png"]


def test_rank_with_a_mask_of_another_size(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "rank",
        "-m",
        "g.safetensors",
        "--mask",
        "mask.png",
        "-s",
        "1,2",
        "--confirm",
        "10",
        "--layers",
        "b8,b16.conv1",
    )
    assert run(monkeypatch, folder, *words, "-o", "r.json", "--sheet", "sheet2.png", "--top", "3") == 0
    told = capsys.readouterr()
    assert "note: mask 'mask' is 64 x 64; resized to 32 x 32" in told.err
    rows = json.loads((folder / "r.json").read_text())["rows"]
    assert f"{rows[0]['layer']}:{rows[0]['channel']}" in told.out
    assert (folder / "sheet2.png").exists()


def test_turn_and_sweep(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    common = ("-m", "g.safetensors", "-s", "3")
    assert run(monkeypatch, folder, "turn", *common, "-u", "b16.conv1:3=-10", "-o", "t.png", "--save", "e.json") == 0
    pixels = np.array(Image.open(folder / "t.png"))
    assert not np.array_equal(pixels[:32], pixels[32:])
    assert styles.UnitEdit.load(folder / "e.json").units == (("b16.conv1", 3, -10.0),)
    assert run(monkeypatch, folder, "turn", *common, "--edit", "e.json", "-o", "t2.png") == 0
    assert np.array_equal(np.array(Image.open(folder / "t2.png")), pixels)
    assert run(monkeypatch, folder, "sweep", *common, "-u", "b16.conv1:3", "--frames", "5", "-o", "s.png") == 0
    strip = np.array(Image.open(folder / "s.png"))
    assert strip.shape == (32, 160, 3)
    assert np.array_equal(strip[:, 64:96], pixels[:32])


def test_control(monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a planted lamp: switch and few units as files that `turn` applies; the strip is the picture in its middle."""
    model = planted()
    styles.save_generator(model, folder / "lamp.safetensors")
    seed = next(s for s in range(40) if float(model.styles(model.map(model.sample_z([s])))["b16.torgb"][0, LAMP]) > 1.3)
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[4:8, 8:12] = 255
    Image.fromarray(mask).save(folder / "lamp.png")
    common = ("-m", "lamp.safetensors", "-s", str(seed))
    words = ("control", *common, "--mask", "lamp.png", "-o", "off.json", "--sheet", "strip.png")
    assert run(monkeypatch, folder, *words) == 0
    assert "reached" in capsys.readouterr().out
    assert run(monkeypatch, folder, "turn", *common, "--edit", "off.json", "-o", "t.png") == 0
    assert run(monkeypatch, folder, "turn", *common, "--edit", "off.json", "--even", "-o", "even.png") == 0
    assert run(monkeypatch, folder, "turn", *common, "-u", "b16.conv1:3=1", "--even", "-o", "no.png") == 2
    assert "does not tell where it ends" in capsys.readouterr().err
    strip, pair = (np.array(Image.open(folder / name)).astype(int) for name in ("strip.png", "t.png"))
    assert strip.shape == (16, 7 * 16, 3)
    assert np.array_equal(strip[:, 32:48], pair[:16])
    assert np.array_equal(strip[:, 96:], pair[16:])
    assert run(monkeypatch, folder, *words[:-4], "-o", "one.json", "--few", "1", "--keep", "off.json") == 2
    assert "cannot make the region darker" in capsys.readouterr().err
    assert run(monkeypatch, folder, *words[:-4], "-o", "one.json", "--few", "1") == 0
    assert [unit[:2] for unit in styles.UnitEdit.load(folder / "one.json").units] == [("b16.torgb", LAMP)]


def test_rewrite(monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file, the sheet and the merged generator show one rule."""
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[8:20, 4:16] = 255
    Image.fromarray(mask).save(folder / "region.png")
    common = ("rewrite", "-m", "g.safetensors", "-s", "3,4", "--layer", "b16.conv1", "--mask", "region.png")
    shown = ("--show", "7,8,9", "--sheet", "rule.png", "--merged", "new.safetensors")
    words = (*common, "--colour", "0.1,0.2,0.9", "--rank", "2", "-o", "rule.safetensors", "--strength", "0.5")
    assert run(monkeypatch, folder, *words, *shown) == 0
    assert "rank 2 at b16.conv1" in capsys.readouterr().out
    model = styles.load_generator(folder / "g.safetensors")
    w, sheet = model.map(model.sample_z([7, 8, 9])), np.array(Image.open(folder / "rule.png"))
    before = np.array(grid(model.synthesize(w), columns=3))
    with styles.RuleEdit.load(folder / "rule.safetensors", model).applied(model, strength=0.5):
        after = model.synthesize(w)
    assert np.array_equal(sheet, np.concatenate([before, np.array(grid(after, columns=3))]))
    assert not np.array_equal(sheet[:32], sheet[32:])
    assert torch.equal(styles.load_generator(folder / "new.safetensors").synthesize(w), after)
    pasted = ("--paste", "region.png", "--paste-seed", "9", "-o", "pasted.safetensors")
    assert run(monkeypatch, folder, *common, "--mask", "region.png", *pasted) == 0
    assert styles.RuleEdit.load(folder / "pasted.safetensors").note == "the look of a region pasted"


def test_convert(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert run(monkeypatch, folder, "convert", "g.safetensors", "half.safetensors", "--half") == 0
    half = styles.load_generator(folder / "half.safetensors")
    torch.testing.assert_close(half.state_dict(), tiny().state_dict(), rtol=1e-3, atol=1e-2)


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "empty mask": (("rank", "--mask", "empty.png", "-o", "r.csv"), "is empty"),
    "control of nothing": (("control", "--mask", "empty.png", "-o", "e.json"), "is empty"),
    "control of two things": (
        ("control", "--mask", "mask.png", "-o", "e.json", "--darken", "1", "--size", "2"),
        "one thing at a time",
    ),
    "rewritten into nothing": (
        ("rewrite", "--layer", "b8.conv1", "--mask", "empty.png", "-o", "r"),
        "either --colour or",
    ),
    "rewriting nothing": (
        ("rewrite", "--layer", "b8.conv1", "--mask", "empty.png", "-o", "r", "--colour", "0,0,1"),
        "mask of the keys is empty",
    ),
    "rewriting by a mask of another size": (
        ("rewrite", "--layer", "b8.conv1", "--mask", "mask.png", "-o", "r", "--colour", "0,0,1"),
        "is 1 x 64 x 64; give 32 x 32",
    ),
    "masks": (
        ("rewrite", "--layer", "b8.conv1", "-s", "1-3", *(2 * ("--mask", "empty.png")), "-o", "r", "--colour", "0,0,1"),
        "2 masks for 3 seeds",
    ),
    "colour": (("control", "--mask", "mask.png", "-o", "e.json", "--colour", "red"), "a colour looks like"),
    "no mask file": (("rank", "--mask", "nowhere.png", "-o", "r.csv"), "nowhere.png"),
    "no picture": (("rank", "--mask", "g.safetensors", "-o", "r.csv"), "cannot identify"),
    "layer": (("turn", "-u", "b99.conv1:3=1", "-o", "t.png"), "no layer 'b99.conv1'"),
    "channel": (("turn", "-u", "b16.conv1:300=1", "-o", "t.png"), "channels 0 to 15"),
    "unit": (("turn", "-u", "b16", "-o", "t.png"), "a unit looks like"),
    "nothing turned": (("turn", "-o", "t.png"), "either --unit"),
    "seeds": (("sample", "-s", "a", "-o", "t.png"), "no seed; write whole numbers"),
    "suffix": (("sweep", "-u", "b16.conv1:3", "--frames", "2", "-o", "t.webm"), ".gif, .mp4 or .png"),
    "class": (("sample", "--class", "1", "-o", "t.png"), "unconditional"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=list(REFUSED))
def test_bad_input_ends_with_code_2(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert run(monkeypatch, folder, *words, "-m", "g.safetensors") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told


def test_words() -> None:
    assert seeds_of("0,3,8-10") == (0, 3, 8, 9, 10)
    assert unit_of("b32.conv1:12=-10") == ("b32.conv1", 12, -10.0)


def test_dissect_reports_a_layer_and_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["styles", "dissect", "--layer", "b32.conv1", "--seeds", "0-39", "--out", str(tmp_path / "d.html")]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "units of b32.conv1 detect something" in capsys.readouterr().out
    assert "pendant" in (tmp_path / "d.html").read_text()
    marks = tmp_path / "marks" / "lamp"
    marks.mkdir(parents=True)
    Image.new("L", (64, 64), 255).save(marks / "0.png")
    for options, told in (
        (
            ["--layer", "b32.conv1", "--seeds", "5-9", "--masks", str(tmp_path / "marks")],
            "has no CONCEPT/SEED.png for these seeds",
        ),
        (["--layer", "b99.conv1", "--seeds", "0-3"], "no layer 'b99.conv1' in this generator"),
        (["--layer", "b32.conv1", "--seeds", "0-3", "--out", str(tmp_path / "d.txt")], "is written as .html or .png"),
    ):
        monkeypatch.setattr("sys.argv", ["styles", "dissect", "--out", str(tmp_path / "e.png"), *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert told in capsys.readouterr().err
