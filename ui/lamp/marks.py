"""Marks: what a visitor paints on a picture, or sends as a picture, as a mask; and small jobs on pictures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from concept_edit.pictures import contact_sheet
from ui.lamp.painter import mark_of

Picture = Image.Image
SIDE = 512
"""Side of the canvas and of single pictures on the page, in pixels."""
SMALL = 192
"""Side of pictures in rows."""
LARGEST = 16_000_000
"""Pixels of the largest picture taken as a mark."""
_FAINT = 24
"""Paint of less opacity (of 255) does not count."""


def painted(canvas: str | None, side: int | None) -> Float[torch.Tensor, "h w"] | None:
    """What is painted on a painter as a side x side mask, or (None) one of the canvas's own pixels; None where nothing
    is."""
    mark = mark_of(canvas, largest=LARGEST)
    if mark is None:
        return None
    band = mark.getchannel("A").point(lambda level: 255 if level > _FAINT else 0)
    return _mask(band, side) if band.getbbox() else None


def mask_file(path: str, side: int) -> Float[torch.Tensor, "h w"]:
    """A picture whose white (or opaque) pixels are the mark. Its size is looked at before it is decoded."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > LARGEST:
                size, most = picture.width * picture.height // 1_000_000, LARGEST // 1_000_000
                raise ValueError(f"the picture has {size} megapixels; give one of at most {most}, the room is smaller")
            clear = "A" in picture.getbands() and picture.getchannel("A").getextrema()[0] != 255
            band = picture.getchannel("A") if clear else picture.convert("L")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("the file is no PNG, JPEG or WebP picture that can be read; give another") from error
    if band.getextrema()[1] < 128:  # type: ignore[operator]
        raise ValueError("the picture has nothing white in it; paint white where the light is")
    return _mask(band, side)


def _mask(band: Picture, side: int | None) -> Float[torch.Tensor, "h w"]:
    small = band if side is None else band.resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255)


def layer(mask: Float[torch.Tensor, "h w"]) -> Picture:
    """A mark as paint."""
    band = Image.fromarray((mask.numpy() * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    layer = Image.new("RGBA", band.size, (255, 45, 149, 0))
    layer.putalpha(band.point(lambda level: 255 if level > 127 else 0))
    return layer


def enlarged(picture: Picture, side: int) -> Picture:
    """A picture at another size."""
    return picture.resize((side, side), Image.Resampling.BICUBIC)


def side_by_side(pair: Sequence[Picture]) -> Picture:
    """Pictures in a row with a thin gap."""
    return contact_sheet(pair, columns=len(pair), side=SMALL, gap=4)


def as_html(picture: Picture, alt: str) -> str:
    """A picture inside a page, as wide as its place."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    data = b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(alt)}" style="width: 100%; display: block" src="data:image/png;base64,{data}">'
