"""What a dissection found, to look at: each detector's top pictures, dimmed where its map is under the threshold."""

from __future__ import annotations

import html
import os
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from styles.dissection.units import Dissection, Unit
from styles.pictures import save_picture, to_pil

_SIDE, _DIM, _ROW = 96, 0.25, 18
_CSS = """
body{font:16px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
figure{margin:0 0 1.2rem}img{max-width:100%}td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #8886}
"""


def strip(
    unit: Unit, maps: Float[Tensor, "pictures units h w"], pictures: Float[Tensor, "pictures 3 H W"], count: int = 8
) -> Image.Image:
    """The unit's top pictures side by side, each as it is where the map is over the threshold and dimmed elsewhere."""
    rows = list(unit.top[:count])
    size = pictures.shape[-2:]
    grown = F.interpolate(maps[rows, unit.channel][:, None], size=size, mode="bilinear", align_corners=False)
    lit = torch.where(grown > unit.threshold, 1.0, _DIM)
    shown = (pictures[rows].clamp(-1, 1) + 1) * lit - 1
    made = Image.new("RGB", (_SIDE * len(rows), _SIDE))
    for at, picture in enumerate(to_pil(shown)):
        made.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), (at * _SIDE, 0))
    return made


def sheet(
    found: Dissection, maps: Tensor, pictures: Tensor, *, units: int = 12, count: int = 8, each: int | None = None
) -> Image.Image:
    """The best detectors one below another, with their labels; `each` at most of one concept.

    Raises:
        ValueError: no unit detects anything.
    """
    chosen = _chosen(found, units, each)
    if not chosen:
        raise ValueError(f"no unit of {found.layer} reaches {found.least:g}, so there is nothing to show")
    made = Image.new("RGB", (_SIDE * count, (_SIDE + _ROW) * len(chosen)), "white")
    pen = ImageDraw.Draw(made)
    for at, unit in enumerate(chosen):
        top = at * (_SIDE + _ROW)
        pen.text((4, top + 3), f"{found.layer}:{unit.channel}  {unit.label}  {_score(found, unit)}", fill="black")
        made.paste(strip(unit, maps, pictures, count), (0, top + _ROW))
    return made


def page(found: Dissection, maps: Tensor, pictures: Tensor, *, title: str) -> str:
    """One HTML page: no script, no outside request."""
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{n}</td></tr>" for name, n in found.counts().items())
    figures = "".join(_figure(found, unit, strip(unit, maps, pictures)) for unit in found.detectors())
    about = (
        f"{found.pictures} pictures; a unit is on where its map is in its highest {found.share:.1%}; "
        f"labelled by {found.by}, from {found.least:g} on."
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_CSS}</style></head><body><h1>{html.escape(title)}</h1><p>{html.escape(found.sentence())}</p>"
        f"<p>{html.escape(about)}</p><table><tr><th>concept</th><th>units</th></tr>{rows}</table>{figures}</body></html>\n"
    )


def save_report(found: Dissection, maps: Tensor, pictures: Tensor, path: str | os.PathLike[str], *, title: str) -> None:
    """Write `.html` (every detector) or `.png` (the best ones).

    Raises:
        ValueError: another ending; a picture of nothing.
        OSError: the file cannot be written.
    """
    kind = Path(path).suffix.lower()
    if kind == ".png":
        save_picture(sheet(found, maps, pictures), Path(path))
    elif kind in (".html", ".htm"):
        Path(path).write_text(page(found, maps, pictures, title=title), encoding="utf-8")
    else:
        raise ValueError(f"{path}: a dissection is written as .html or .png")


def _chosen(found: Dissection, units: int, each: int | None) -> Sequence[Unit]:
    chosen: list[Unit] = []
    for unit in found.detectors():
        if each is None or sum(other.label == unit.label for other in chosen) < each:
            chosen.append(unit)
    return chosen[:units]


def _score(found: Dissection, unit: Unit) -> str:
    return f"IoU {unit.iou:.2f}" if found.by == "masks" else f"score {unit.iou:.2f}"


def _figure(found: Dissection, unit: Unit, picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    text = html.escape(f"unit {unit.channel}: {unit.label}, {_score(found, unit)}")
    data = b64encode(buffer.getvalue()).decode()
    return f'<figure><figcaption>{text}</figcaption><img alt="{text}" src="data:image/png;base64,{data}"></figure>'
