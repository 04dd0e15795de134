"""Where the concepts are in the pictures of a probe set: the embedded rooms' own masks, or a folder of marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from styles.demo.renderer import SIDE, factors_of, render
from styles.reading import mask_of


def embedded_masks(z: Float[Tensor, "pictures d_z"], *, size: int = SIDE) -> dict[str, Float[Tensor, "pictures h w"]]:
    """What the renderer says, at size x size pixels, of the rooms that the embedded generator was taught to paint for
    these latents; nearer things are cut out of farther ones."""
    return render(factors_of(z.cpu()), size=size).masks


def masks_in(folder: Path, seeds: Sequence[int]) -> dict[str, Float[Tensor, "pictures h w"]]:
    """CONCEPT/SEED.png: white where the concept is; a picture without a mark does not show it.

    Raises:
        ValueError: no such folder, no marks for these seeds, marks of different sizes.
    """
    places = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found: dict[str, dict[int, Tensor]] = {}
    for place in places:
        marks = {i: mask_of(place / f"{seed}.png") for i, seed in enumerate(seeds) if (place / f"{seed}.png").is_file()}
        if marks:
            found[place.name] = marks
    if not found:
        raise ValueError(f"{folder} has no CONCEPT/SEED.png for these seeds; write a mark such as lamp/0.png")
    sizes = {tuple(mark.shape) for marks in found.values() for mark in marks.values()}
    if len(sizes) > 1:
        raise ValueError(f"the marks in {folder} have different sizes ({', '.join(map(str, sorted(sizes)))}); give one")
    (size,) = sizes
    whole = {}
    for name, marks in found.items():
        whole[name] = torch.zeros(len(seeds), *size)
        for i, mark in marks.items():
            whole[name][i] = mark
    return whole
