"""Tiny generators: a random one, and one whose light units are planted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from styles.generator import Generator
from styles.layers import GeneratorConfig

VECTORS = Path(__file__).parents[3] / "shared" / "data" / "stylegan"
LAMP, WARM, FLOOR = 1, 2, 3
"""Channels of the planted model."""


def tiny(seed: int = 0, **changes: object) -> Generator:
    """A random 32 px generator whose noise and biases matter."""
    torch.manual_seed(seed)
    options = {"z_dim": 16, "w_dim": 16, "mapping_layers": 2, **changes}
    model = Generator(GeneratorConfig(32, (24, 20, 16, 12), **options)).eval().requires_grad_(False)  # type: ignore[arg-type]
    for layer in model.layers:
        module = model.module(layer.name)
        module.bias.normal_(0, 0.1)
        if layer.kind != "torgb":
            module.noise_strength.fill_(0.1)  # type: ignore[union-attr]
    model.mapping.w_avg.normal_(0, 0.1)  # type: ignore[operator]
    return model


def planted() -> Generator:
    """A 16 px generator wired by hand: channel 1 is a white lamp, 2 a warm tint there, 3 a highlight on the floor.

    Convolutions pass every channel on unchanged. Only the styles of the last tRGB layer follow w; all others are
    constant, so that intensity, warmth and gloss hang on three scalars.
    """
    torch.manual_seed(1)
    model = Generator(GeneratorConfig(16, (6, 6, 6), z_dim=8, w_dim=8, mapping_layers=1)).eval().requires_grad_(False)
    const = torch.full((6, 4, 4), 0.05)
    const[LAMP, 1, 2], const[WARM, 1, 2], const[FLOOR, 3, 2] = 2.0, 1.0, 1.5
    model.synthesis.b4.const.copy_(const)  # type: ignore[operator, union-attr]
    for layer in model.layers:
        module = model.module(layer.name)
        module.affine.weight.zero_()
        module.affine.bias.fill_(1.0)
        module.weight.zero_()
        if layer.kind == "torgb":
            continue
        for channel in range(6):
            module.weight[channel, channel, 1, 1] = 1.0
    last = model.module("b16.torgb")
    for channel, colour in (
        (0, (0.3, 0.3, 0.3)),
        (LAMP, (1.0, 1.0, 1.0)),
        (WARM, (1.0, 0.0, -1.0)),
        (FLOOR, (0.8, 0.8, 0.8)),
    ):
        last.weight[:, channel, 0, 0] = torch.tensor(colour)
    for channel in (LAMP, WARM, FLOOR):
        last.affine.weight[channel, channel] = 1.0
    return model


def vectors(name: str) -> Path:
    """A file of test vectors, or a skip that says which one is missing."""
    path = VECTORS / name
    if not path.is_file():
        pytest.skip(f"test vectors {name} are not beside the repository")
    return path
