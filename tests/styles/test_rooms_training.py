"""The embedded rooms' two stages of training: runs that go on, and what the second one starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from styles.demo import adversarial, train

PLAN: dict[str, Any] = {"steps": 4, "batch": 2, "seed": 0, "device": "cpu", "every": 2}


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure and no sheet at checkpoints."""
    monkeypatch.setattr(train, "psnr", lambda model: 0.0)
    monkeypatch.setattr(train, "sheet", lambda model, path: None)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["ema"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether all weights are equal; noise pictures and the centre of truncation are not trained."""
    return all(torch.equal(one[name], other[name]) for name in one if name.endswith(("weight", "bias", "const")))


def test_a_run_broken_off_makes_the_steps_of_one_that_was_not(tmp_path: Path) -> None:
    for until in (2, 4):
        train.train(tmp_path / "broken", until=until, lr=4e-3, **PLAN)
    train.train(tmp_path / "whole", until=4, lr=4e-3, **PLAN)
    assert same(weights(tmp_path / "broken"), weights(tmp_path / "whole"))


def test_the_second_stage_goes_on_from_the_first(tmp_path: Path) -> None:
    train.train(tmp_path / "first", until=2, lr=4e-3, **PLAN)
    start = tmp_path / "first" / "last.pt"
    settings = {"lr": 1e-3, "anchor": 30.0, "gamma": 1.0, **PLAN}
    adversarial.sharpen(start, tmp_path / "still", until=2, **{**settings, "lr": 0.0})
    assert same(weights(tmp_path / "still"), weights(tmp_path / "first"))
    adversarial.sharpen(start, tmp_path / "second", until=2, **settings)
    assert not same(weights(tmp_path / "second"), weights(tmp_path / "first"))


def test_the_penalty_is_the_slope_of_the_discriminator() -> None:
    """R1 of a discriminator by central differences along its own gradient."""
    torch.manual_seed(0)
    judge = adversarial.Discriminator().double()
    real = torch.rand(1, 3, 128, 128, dtype=torch.float64) * 2 - 1
    told = float(adversarial.penalty(judge, real.clone(), 2.0).detach())
    given = real.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(judge(given).sum(), given)
    along = slope / slope.norm()
    with torch.no_grad():
        steep = float((judge(real + 1e-5 * along) - judge(real - 1e-5 * along)).sum() / 2e-5)
    assert told == pytest.approx(steep**2, rel=1e-3)
