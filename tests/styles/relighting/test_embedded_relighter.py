"""The embedded relighter on rooms that it never saw, and the verbs that use and train relighters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lit_rooms import rooms
from PIL import Image
from verbs import run

import styles
from styles.demo import relighter_file
from styles.demo.ship_relighter import ship
from styles.relighting.measures import lmse, mse, scaled, ssim


@pytest.fixture(scope="module")
def net() -> styles.Relighter:
    return styles.load_relighter("demo", device="cpu")


def painted(net: styles.Relighter, photos: torch.Tensor, fraction: float) -> torch.Tensor:
    return net(photos, torch.full((len(photos),), fraction), torch.ones_like(photos[:, :1])).clamp(-1, 1)


def test_it_is_small(net: styles.Relighter) -> None:
    assert sum(value.numel() for value in net.parameters()) < 1_000_000
    assert relighter_file().stat().st_size < 2_000_000


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5])
def test_it_beats_no_change_and_the_best_brightness(net: styles.Relighter, fraction: float) -> None:
    """By every measure, on average and in nine rooms of ten."""
    on, truth = rooms(40, fraction)
    made = painted(net, on, fraction)
    for measure, sign in ((mse, 1), (lmse, 1), (ssim, -1)):
        mine = sign * measure(made, truth)
        for other in (on, scaled(on, truth)):
            gain = sign * measure(other, truth) - mine
            assert float(gain.mean()) > 0, measure.__name__
            assert float((gain > 0).float().mean()) >= 0.9, measure.__name__


def test_the_lamps_go_dark_in_steps(net: styles.Relighter) -> None:
    on, _ = rooms(20, 1.0)
    light = torch.stack([painted(net, on, step).mean((1, 2, 3)) for step in (0.0, 0.25, 0.5, 0.75, 1.0)])
    assert bool((light.diff(dim=0) > 0).all())


def test_a_lit_room_at_1_stays_nearly_as_it_is(net: styles.Relighter) -> None:
    on, _ = rooms(20, 1.0)
    assert float(mse(painted(net, on, 1.0), on).max()) < 1e-3


def test_a_dark_room_is_lit(net: styles.Relighter) -> None:
    on, off = rooms(20, 0.0)
    assert float(mse(painted(net, off, 1.0), on).mean()) < 0.5 * float(mse(off, on).mean())


def test_a_damaged_installation_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("styles.demo.FOLDER", tmp_path)
    with pytest.raises(ValueError, match="embedded relighter is missing"):
        styles.load_relighter("demo")
    (tmp_path / "relighter.json").write_text('{"sha256": "0"}')
    (tmp_path / "relighter.safetensors").write_bytes(b"0")
    with pytest.raises(ValueError, match="does not match its checksum"):
        styles.load_relighter("demo")


def test_the_verb_relights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = styles.to_pil(rooms(1, 1.0, size=160)[0])[0]
    photo.save(tmp_path / "photo.png")
    mark = np.zeros((160, 160), np.uint8)
    mark[:20, :20] = 255
    Image.fromarray(mark).save(tmp_path / "mask.png")
    ask = ("relight", "photo.png", "--fraction", "0.3")
    assert run(monkeypatch, tmp_path, *ask, "--out", "x.png") == 0
    side = styles.load_relighter("demo", device="cpu").side
    told = capsys.readouterr().out
    assert "photo.png with its lamps at 0.3 of their light" in told
    assert f"the network saw it at {side} x {side} pixels, the change of light is laid over all 160 x 160" in told
    made = Image.open(tmp_path / "x.png")
    assert made.size == photo.size
    assert np.asarray(made).mean() < np.asarray(photo).mean() - 3
    assert run(monkeypatch, tmp_path, *ask, "--mask", "mask.png", "--reach", "0.1", "--out", "y.png") == 0
    there = np.asarray(Image.open(tmp_path / "y.png"))
    assert (there[60:] == np.asarray(photo)[60:]).all()
    for words, said in (
        (("relight", "photo.png", "--fraction", "2", "--out", "z.png"), "fraction is a number from 0"),
        (("relight", "photo.png", "--fraction", "1", "--out", "z.pnk"), "unknown file extension"),
        (("relight", "mask.json", "--fraction", "1", "--out", "z.png"), "No such file"),
        (("relight", "photo.png", "--fraction", "1", "--net", "photo.png", "--out", "z.png"), "damaged or no"),
    ):
        assert run(monkeypatch, tmp_path, *words) == 2
        assert said in capsys.readouterr().err
        assert not list(tmp_path.glob("*z.p*"))


def test_the_verb_trains_and_its_net_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    styles.to_pil(rooms(1, 1.0)[0])[0].save(tmp_path / "photo.png")
    words = ("train-relighter", "--steps", "1", "--out", "run")
    assert run(monkeypatch, tmp_path, *words) == 0
    assert "weights written to run/relighter.safetensors" in capsys.readouterr().out
    assert run(monkeypatch, tmp_path, *words) == 0
    assert "nothing left to do" in capsys.readouterr().out
    net = ("--net", "run/relighter.safetensors")
    assert run(monkeypatch, tmp_path, "relight", "photo.png", "-f", "0", *net, "--out", "x.png") == 0
    assert run(monkeypatch, tmp_path, "train-relighter", "--pairs", "nowhere", "--out", "other") == 2
    assert "is no folder; pairs are read from" in capsys.readouterr().err
    ship(tmp_path / "run", tmp_path)
    shipped = styles.load_relighter(tmp_path / "relighter.safetensors", device="cpu")
    assert shipped.side == 96
    assert "rooms of styles.demo.renderer" in (tmp_path / "relighter.json").read_text()
