"""Small files from strangers: bounded text, JSON and pictures; every complaint is one sentence that names the file."""

from __future__ import annotations

import json
import os
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from pydantic import BaseModel
    from torch import Tensor

    Schema = TypeVar("Schema", bound=BaseModel)

MOST_BYTES = 16 << 20
"""Largest text that is read."""
DEEPEST = 32
"""Lists and objects within each other."""
MOST_PIXELS = 1 << 26
"""Largest picture that is decoded: 8,192 x 8,192."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""Pictures that are read; others are decoded by programs outside Pillow, or are no pictures."""
_SENTENCE = 200


def sentence(error: object) -> str:
    """Another library's complaint on one line, cut at 200 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= _SENTENCE else text[: _SENTENCE - 3] + "..."


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file that is not too large.

    Raises:
        ValueError: it is too large, or no UTF-8.
        OSError: there is no such file, or it cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{Path(path).name} is larger than {MOST_BYTES >> 20} MB; it was not read.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{Path(path).name} is not UTF-8 text ({error.reason} at byte {error.start}).") from None


def parse_json(text: str, name: str) -> Any:
    """The value of a JSON text; `name` is how messages call it.

    Raises:
        ValueError: too deep, not JSON, NaN or infinite numbers.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"{name} is nested more than {DEEPEST} levels deep; refused.") from None
    except ValueError as error:
        raise ValueError(f"{name} is not JSON ({sentence(error)}).") from None
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [part for whole in level if isinstance(whole, dict | list) for part in _parts(whole)]
    if level:
        raise ValueError(f"{name} is nested more than {DEEPEST} levels deep; refused.")
    return value


def checked(schema: type[Schema], value: Any, name: str) -> Schema:
    """The value as its schema describes it.

    Raises:
        ValueError: the first thing that does not fit.
    """
    from pydantic import ValidationError

    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = sentence(".".join(map(str, first["loc"]))) or "its content"
        got = sentence(reprlib.repr(first["input"]))
        raise ValueError(f"{name}: {where}: {sentence(first['msg'])} (got {got}).") from None


def open_picture(path: str | os.PathLike[str]) -> Picture:
    """A picture, decoded; its size is looked at first.

    Raises:
        ValueError: too many pixels, a format that is not read, a damaged file.
        OSError: there is no such file.
    """
    from PIL import Image, UnidentifiedImageError

    name = Path(path).name
    with Path(path).open("rb") as file:
        try:
            picture = Image.open(file, formats=FORMATS)
            pixels = picture.width * picture.height
            if pixels <= MOST_PIXELS:
                picture.load()
                return picture
        except Image.DecompressionBombError:
            pixels = MOST_PIXELS + 1
        except UnidentifiedImageError:
            raise ValueError(f"cannot identify {name} as a picture; give a PNG or JPEG.") from None
        except Exception as error:  # Pillow's decoders raise whatever comes
            raise ValueError(f"{name} is no whole picture ({sentence(error)}); give a PNG or JPEG.") from None
    raise ValueError(f"{name} has more than {MOST_PIXELS >> 20} megapixels; it was not decoded, give a smaller one.")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _parts(whole: dict[str, Any] | list[Any]) -> list[Any]:
    return list(whole.values()) if isinstance(whole, dict) else whole


def mask_of(path: Path) -> Tensor:
    """A picture as a mask: brightness, or opacity when the picture has it."""
    import numpy as np
    import torch

    with open_picture(path) as picture:
        clear = "A" in picture.getbands() and picture.getchannel("A").getextrema()[0] < 255  # type: ignore[operator]
        band = picture.getchannel("A") if clear else picture.convert("L")
        return torch.from_numpy(np.array(band, dtype=np.float32) / 255)
