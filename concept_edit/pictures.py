"""Pictures pasted onto one sheet, and PNG files that say what they show."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from concept_edit.files import replace_file

if TYPE_CHECKING:
    from PIL.Image import Image

_LINE = 16
"""Height of a line of text in pixels."""


def contact_sheet(
    images: Sequence[Image],
    *,
    columns: int,
    side: int | None = None,
    gap: int = 2,
    title: str = "",
    captions: Sequence[str] = (),
) -> Image:
    """Pictures in rows on white, `gap` pixels between them, a title above and a caption under each where given.

    `side` makes every picture a square of so many pixels; None keeps the size of the first.

    Raises:
        ValueError: no picture, or no column.
    """
    from PIL import Image, ImageDraw

    if not images or columns < 1:
        raise ValueError(f"a sheet needs pictures and columns, got {len(images)} and {columns}")
    width, height = (side, side) if side else images[0].size
    line, top = _LINE if captions else 0, _LINE + gap if title else 0
    rows = -(-len(images) // columns)
    size = (columns * (width + gap) - gap, top + rows * (height + line + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((0, 0), title, fill="black")
    for i, image in enumerate(images):
        left, upper = i % columns * (width + gap), top + i // columns * (height + line + gap)
        fitted = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(fitted.convert("RGB"), (left, upper))
        if captions:
            draw.text((left, upper + height + 1), captions[i], fill="#444444")
    return sheet


def stacked(sheets: Sequence[Image], *, gap: int = 8) -> Image:
    """Sheets under each other on white, with a margin of `gap` pixels.

    Raises:
        ValueError: no sheet.
    """
    from PIL import Image

    if not sheets:
        raise ValueError("no sheet to stack")
    width, height = max(s.width for s in sheets), sum(s.height + gap for s in sheets)
    page = Image.new("RGB", (width + 2 * gap, height + gap), "white")
    top = gap
    for sheet in sheets:
        page.paste(sheet, (gap, top))
        top += sheet.height + gap
    return page


def write_png(path: str | os.PathLike[str], image: Image, about: Mapping[str, str]) -> None:
    """A PNG with text fields; the old file stays until the new one is whole.

    Raises:
        OSError: the file cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    for key, value in about.items():
        text.add_itxt(key, value)
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    replace_file(path, buffer.getvalue())


def write_strip(
    path: str | os.PathLike[str], columns: Sequence[Sequence[Image]], names: Sequence[str], about: Mapping[str, str]
) -> None:
    """A sweep: `.png` is a film strip, a row a prompt and a named column a step; `.gif` shows the steps there and back.

    Raises:
        ValueError: no step, or another ending.
        OSError: the file cannot be written.
    """
    if not columns or os.fspath(path)[-4:].lower() not in (".png", ".gif"):
        raise ValueError(f"{os.fspath(path)}: a strip of {len(columns)} steps is written as .png or .gif")
    if os.fspath(path).lower().endswith(".png"):
        rows = [image for row in zip(*columns, strict=True) for image in row]
        return write_png(path, contact_sheet(rows, columns=len(columns), captions=[*names] * len(columns[0])), about)
    there = [contact_sheet(column, columns=len(column), captions=[name] * len(column)) for column, name in
             zip(columns, names, strict=True)]  # fmt: skip
    frames, buffer = [*there, *there[-2:0:-1]], BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=160, loop=0)
    return replace_file(path, buffer.getvalue())
