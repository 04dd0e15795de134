"""Generators shared by the tests of `styles`."""

from __future__ import annotations

import pytest
import torch
from planted import LAMP, planted, tiny

import styles
from styles.generator import Generator


@pytest.fixture(scope="session")
def model() -> Generator:
    return tiny()


@pytest.fixture(scope="session")
def lamp_model() -> Generator:
    return planted()


@pytest.fixture(scope="module")
def lit(lamp_model: Generator) -> torch.Tensor:
    """w vectors of pictures whose planted lamp burns."""
    w = lamp_model.map(lamp_model.sample_z(range(40)))
    return w[lamp_model.styles(w)["b16.torgb"][:, LAMP] > 1.3][:5]


@pytest.fixture(scope="module")
def place(lamp_model: Generator, lit: torch.Tensor) -> torch.Tensor:
    """Where the lamp's light lands, by planting: the change that its unit makes."""
    with styles.turned(lamp_model, {("b16.torgb", LAMP): 0.0}):
        dark = lamp_model.synthesize(lit[:1])
    change = (lamp_model.synthesize(lit[:1]) - dark).abs().mean(1)[0]
    return (change > 0.5 * change.max()).float()


@pytest.fixture(scope="session")
def w(model: Generator) -> torch.Tensor:
    return model.map(model.sample_z([3, 4, 5]))


@pytest.fixture
def mask() -> torch.Tensor:
    made = torch.zeros(32, 32)
    made[8:20, 4:16] = 1
    return made
