"""Generators shared by the tests of `styles`."""

from __future__ import annotations

import pytest
import torch
from planted import planted, tiny

from styles.generator import Generator


@pytest.fixture(scope="session")
def model() -> Generator:
    return tiny()


@pytest.fixture(scope="session")
def lamp_model() -> Generator:
    return planted()


@pytest.fixture(scope="session")
def w(model: Generator) -> torch.Tensor:
    return model.map(model.sample_z([3, 4, 5]))


@pytest.fixture
def mask() -> torch.Tensor:
    made = torch.zeros(32, 32)
    made[8:20, 4:16] = 1
    return made
