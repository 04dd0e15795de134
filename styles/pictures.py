"""Images out: PIL pictures, grids, sweeps as GIF, MP4 or PNG strip, and the contact sheet of a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.files import whole
from styles.generator import Generator
from styles.units.modulate import turned
from styles.units.ranking import Ranking, Row

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

THUMBNAIL = 96
"""Side of a contact sheet's pictures in pixels."""


def to_pil(images: Float[Tensor, "batch rgb h w"]) -> list[Picture]:
    """Display values in [-1, 1] as 8-bit pictures."""
    from PIL import Image

    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must be batch x 1 or 3 x h x w, got {tuple(images.shape)}.")
    levels = ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu()
    levels = levels.expand(-1, -1, -1, 3)
    return [Image.fromarray(row.contiguous().numpy()) for row in levels]


def grid(images: Float[Tensor, "batch rgb h w"], *, columns: int) -> Picture:
    """Pictures in rows."""
    from PIL import Image

    pictures = to_pil(images)
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}.")
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def save_picture(picture: Picture, path: str | Path) -> None:
    """Write a picture in the format that the name's ending says, a lossy one at quality 95; a half-written one never
    stands under the name.

    Raises:
        ValueError: an ending that is no picture's.
        OSError: the folder is missing or cannot be written.
    """
    with whole(path) as part:
        picture.save(part, quality=95)


def save_sweep(
    frames: Sequence[Float[Tensor, "batch rgb h w"]], path: str | Path, *, fps: float = 12.0, side: int | None = None
) -> None:
    """Write a sweep: .gif and .mp4 move (several images side by side), .png is a strip with one row per image.

    `side` is that of a picture in pixels; None keeps the images' own.
    """
    target = Path(path)
    writers = {".gif": _save_gif, ".mp4": _save_mp4, ".png": _save_strip}
    if target.suffix not in writers:
        raise ValueError(f"a sweep is saved as .gif, .mp4 or .png, got {target.name!r}.")
    if not frames:
        raise ValueError("the sweep has no frames.")
    if side is not None:
        frames = [nnf.interpolate(frame, size=(side, side), mode="bicubic", antialias=True) for frame in frames]
    with whole(target) as part:
        writers[target.suffix](frames, part, fps)


def _save_gif(frames: Sequence[Tensor], path: Path, fps: float) -> None:
    pictures = [grid(frame, columns=len(frame)) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0)


def _save_strip(frames: Sequence[Tensor], path: Path, fps: float) -> None:
    grid(torch.stack(list(frames), 1).flatten(0, 1), columns=len(frames)).save(path)


def _save_mp4(frames: Sequence[Tensor], path: Path, fps: float) -> None:
    try:
        import av
    except ImportError:
        raise ValueError("MP4 needs PyAV: `pip install av`; or save the sweep as .gif or .png.") from None
    from fractions import Fraction

    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1000))
        pictures = [grid(frame, columns=len(frame)) for frame in frames]
        stream.width, stream.height = (side + side % 2 for side in pictures[0].size)
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            even = picture.resize((stream.width, stream.height))
            container.mux(stream.encode(av.VideoFrame.from_image(even)))
        container.mux(stream.encode(None))


@torch.no_grad()
def contact_sheet(
    model: Generator,
    w: Tensor,
    ranking: Ranking,
    *,
    count: int = 20,
    mask: str | None = None,
    columns: int = 4,
    by: str = "score",
) -> Picture:
    """The top units on one page (in the order `by`): an image with each unit zeroed, the signed difference, its scores.

    `w` is what was ranked; the image is the one on which the top units do most. In the difference grey means
    unchanged, brighter that zeroing brightens; the strongest change of each unit spans the whole scale.
    """
    from PIL import Image, ImageDraw

    if len(w) != ranking.sums.shape[1]:
        raise ValueError(
            f"the ranking is of {ranking.sums.shape[1]} images, w has {len(w)}; give the w that was ranked."
        )
    image = int(ranking.score(mask)[ranking.order(mask, by=by)[:count]].sum(0).argmax())
    w = w[image : image + 1]
    base = model.synthesize(w)
    rows = ranking.top(count, mask=mask, by=by)
    wide, high = 2 * THUMBNAIL + 8, THUMBNAIL + 34
    sheet = Image.new("RGB", (columns * wide, (1 + -(-len(rows) // columns)) * high), "white")
    draw = ImageDraw.Draw(sheet)
    sheet.paste(to_pil(base)[0].resize((THUMBNAIL, THUMBNAIL)), (4, 4))
    draw.text((4, THUMBNAIL + 6), f"unchanged; mask: {mask or ranking.masks[0]}", fill="black")
    for i, row in enumerate(rows):
        x, y = i % columns * wide + 4, (1 + i // columns) * high + 4
        for k, picture in enumerate(unit_pictures(model, w, row, mode=ranking.mode, base=base)):
            sheet.paste(picture.resize((THUMBNAIL, THUMBNAIL)), (x + k * THUMBNAIL, y))
        draw.text((x, y + THUMBNAIL + 2), f"{i + 1}. {row.layer}:{row.channel}  {row.label}", fill="black")
        sign = "=" if row.exact else "~"
        draw.text((x, y + THUMBNAIL + 14), f"score {sign} {row.score:.4f}  darkens {row.darkens:+.3f}", fill="black")
    return sheet


@torch.no_grad()
def unit_pictures(
    model: Generator, w: Tensor, row: Row, *, mode: str = "style", base: Tensor | None = None
) -> tuple[Picture, Picture]:
    """One image (`w` of batch 1) with a unit zeroed as the ranking's `mode` says, and the signed difference this makes.

    `base` is the unchanged image where it is at hand. In the difference grey means unchanged, brighter that zeroing
    brightens; the strongest change spans the whole scale.
    """
    if len(w) != 1:
        raise ValueError(f"the pictures of a unit are made from one image, w has {len(w)}.")
    after = _zeroed(model, w, row, mode)
    change = after - (model.synthesize(w) if base is None else base)
    zeroed, difference = to_pil(torch.cat([after, change / change.abs().amax().clamp_min(1e-6)]))
    return zeroed, difference


def _zeroed(model: Generator, w: Tensor, row: Row, mode: str) -> Tensor:
    """The image with a unit zeroed in the ranking's sense."""
    value = 0.0
    if mode == "mean":
        value = float(model.styles(model.mapping.w_avg[None])[row.layer][0, row.channel])  # type: ignore[index]
    with turned(model, {(row.layer, row.channel): value}, mode="feature" if mode == "feature" else "style"):
        return model.synthesize(w)
