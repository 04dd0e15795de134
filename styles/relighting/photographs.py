"""Photographs: read with their orientation and a bound on their pixels, and pairs of them in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.reading import mask_of, open_picture, sentence
from styles.relighting.batches import Batch, fractions_of, mirrored, mixed_light, resized

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def open_photo(path: str | Path) -> Picture:
    """A photograph in RGB (RGBA where it is transparent somewhere), turned as its EXIF says.

    Raises:
        ValueError: too many pixels, a format that is not read, a damaged file.
        OSError: there is no such file.
    """
    from PIL import ImageOps

    with open_picture(path) as picture:
        try:
            ImageOps.exif_transpose(picture, in_place=True)
        except Exception as error:  # EXIF comes from strangers
            raise ValueError(f"{Path(path).name} has damaged EXIF data ({sentence(error)}); save it anew.") from None
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        return picture if picture.mode == mode else picture.convert(mode)


def tensor_of(picture: Picture) -> Float[Tensor, "rgb h w"]:
    """A picture as display values in [-1, 1]."""
    levels = torch.from_numpy(np.array(picture.convert("RGB")))
    return levels.permute(2, 0, 1).float() / 127.5 - 1


class FolderPairs:
    """Aligned photographs `off/NAME.png` and `on/NAME.png` (also .jpg, .jpeg, .webp), one lamp or all of a room.

    What lies between off and on is mixed in linear light, which is where light adds up. An optional `mask/NAME.png` is
    white on the lamp. Pictures are cropped to squares at random places.
    """

    ENDINGS = (".png", ".jpg", ".jpeg", ".webp")

    def __init__(self, folder: str | Path, *, longest: int = 256) -> None:
        """Read all pairs, shrunk to a longer side of at most `longest` pixels.

        Raises:
            ValueError: no such folders, a photograph without its other, pictures of two sizes, or a damaged one.
        """
        root = Path(folder)
        sides = [self._listed(root / side) for side in ("off", "on")]
        lonely = sorted(set(sides[0]) ^ set(sides[1]))
        if lonely:
            raise ValueError(f"{root} has {lonely[0]} only in one of off/ and on/; every photograph needs its other.")
        if not sides[0]:
            raise ValueError(
                f"{root} has no off/NAME.png with an on/NAME.png beside it; put pairs of photographs there."
            )
        marks = self._listed(root / "mask") if (root / "mask").is_dir() else {}
        self.note = f"{len(sides[0])} pairs of photographs"
        self._pairs = [
            _photographs(sides[0][name], sides[1][name], marks.get(name), longest) for name in sorted(sides[0])
        ]

    def _listed(self, folder: Path) -> dict[str, Path]:
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder; pairs are read from off/NAME.png and on/NAME.png.")
        return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in self.ENDINGS}

    def __len__(self) -> int:
        return len(self._pairs)

    def draw(self, count: int, size: int, generator: torch.Generator) -> Batch:
        """Random squares of random pairs."""
        which = torch.randint(len(self), (count,), generator=generator)
        parts = torch.cat([self._square(self._pairs[i], size, generator) for i in which.tolist()])
        off, on, masks = parts[:, :3], parts[:, 3:6], parts[:, 6:]
        fractions = fractions_of(count, generator)
        dim, whole = torch.rand(2, count, generator=generator)[:, :, None, None, None] < 0.5
        empty = masks.amax((1, 2, 3), keepdim=True) == 0
        masks = torch.where(whole | empty, torch.ones_like(masks), masks)
        truth = mixed_light(off, on, fractions)
        return mirrored(Batch(torch.where(dim, on, off), fractions, masks, truth), generator)

    @staticmethod
    def _square(pair: Tensor, size: int, generator: torch.Generator) -> Float[Tensor, "1 planes size size"]:
        """Between three quarters of the shorter side and all of it."""
        height, width = pair.shape[-2:]
        share, x, y = torch.rand(3, generator=generator).tolist()
        side = max(1, round(min(height, width) * (0.75 + 0.25 * share)))
        top, left = round(y * (height - side)), round(x * (width - side))
        return resized(pair[None, :, top : top + side, left : left + side], size)


def _photographs(off: Path, on: Path, mark: Path | None, longest: int) -> Float[Tensor, "planes h w"]:
    """Off, on and mask of one pair as planes over each other; the mask is empty where nothing is marked."""
    with open_photo(off) as first, open_photo(on) as second:
        if first.size != second.size:
            sizes = " and ".join("x".join(map(str, picture.size)) for picture in (first, second))
            raise ValueError(f"off/{off.name} and on/{on.name} are {sizes} pixels; aligned pairs have one size.")
        for picture in (first, second):
            picture.thumbnail((longest, longest))
        planes = [tensor_of(first), tensor_of(second)]
    region = torch.zeros_like(planes[0][:1]) if mark is None else mask_of(mark)[None]
    region = nnf.interpolate(region[None], size=planes[0].shape[-2:], mode="bilinear", antialias=True)[0]
    return torch.cat([*planes, region])
