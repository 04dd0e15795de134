"""Relight one photograph of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.reading import MOST_PIXELS
from styles.relighting.network import Relighter
from styles.relighting.photographs import tensor_of

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

RADIUS, EPSILON = 2, 2e-3
"""The guided filter: half a window in pixels of the network's picture, and what keeps flat windows flat (display², for
values in [-1, 1])."""
EDGE = 2
"""Pixels of the network's picture by which shrinking the mask and enlarging the change spread it."""
STRIP = 1 << 19
"""Pixels that are painted at a time."""


@torch.no_grad()
def relight(
    net: Relighter,
    photo: Picture,
    fraction: float,
    mask: Tensor | None = None,
    *,
    reach: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> Picture:
    """The photograph with its lamps at a fraction of their light; a new picture of the same size.

    `fraction`: 0 is off. Where a lamp burns, 1 is as it is and what lies between dims it; where none burns, 1 lights
    it. The network paints at 1 too: what comes out of a lit photograph is near it, not equal to it.

    `mask` (h x w of any size, floats in [0, 1]) marks the one lamp that is meant. The change fades away from it: at
    more than `reach` times the longer side from the mask (across and down) every pixel is as it was, bit for bit.
    Without a mask all lamps are meant and any pixel may change.

    A photograph no larger than the network's `side` is painted as the network paints it. A larger one is shrunk to
    that side; what the network does there is written as a linear function of the photograph's own colours around each
    place (the fast guided filter of He and Sun, 2015), and this function is applied to the full picture strip by
    strip. So the change of light is coarse, the detail is the photograph's, and memory grows with the picture by its
    copy alone (4 bytes a pixel). `seen_at` says which of the two it is. `progress(done, rows)` is called after each
    strip with the rows that are done; what it raises ends the work. Transparency is kept.

    Raises:
        ValueError: a fraction outside [0, 1], a mask that is empty or no h x w, a reach outside [0.05, 1], or a
            photograph of more than 64 megapixels.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is a number from 0 (off) to 1 (fully lit), got {fraction}.")
    if photo.width * photo.height > MOST_PIXELS:
        raise ValueError(f"the photograph has more than {MOST_PIXELS >> 20} megapixels; shrink it first.")
    device = next(net.parameters()).device
    small = _shrunk(photo, seen_at(net, photo.size))
    seen = tensor_of(small)[None].to(device)
    region = torch.ones_like(seen[:, :1]) if mask is None else _marked(mask, seen.shape[-2:]).to(device)
    painted = net(seen, torch.full((1,), float(fraction), device=device), region).clamp(-1, 1)
    window = None if mask is None else _window(region, reach)
    if small.size == photo.size:
        change = painted - seen if window is None else (painted - seen) * window
        return _finished(photo, _picture(seen + change))
    gain, added = guided(seen, painted)
    if window is not None:
        gain, added = 1 + (gain - 1) * window, added * window
    return _finished(photo, _enlarged(photo, torch.cat([gain, added], 1)[0].cpu(), progress))


def seen_at(net: Relighter, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height at which the network sees a photograph of this size: its own, or shrunk to the network's."""
    scale = net.side / max(size)
    if scale >= 1:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def guided(
    guide: Float[Tensor, "batch rgb h w"], wanted: Float[Tensor, "batch rgb h w"]
) -> tuple[Float[Tensor, "batch rgb h w"], Float[Tensor, "batch rgb h w"]]:
    """gain and offset with wanted ≈ gain · guide + offset around every pixel, colour by colour.

    He, Sun and Tang, "Guided Image Filtering" (2013), equations 5, 6 and 8.
    """
    mean, target = _box(guide), _box(wanted)
    spread = _box(guide * guide) - mean.square()
    both = _box(guide * wanted) - mean * target
    gain = both / (spread + EPSILON)
    return _box(gain), _box(target - gain * mean)


def _box(images: Tensor) -> Tensor:
    return nnf.avg_pool2d(images, 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)


def _shrunk(photo: Picture, size: tuple[int, int]) -> Picture:
    """The photograph at this size; a copy in RGB is made of one in another mode alone."""
    from PIL import Image

    if size == photo.size:
        return photo
    plain = photo if photo.mode == "RGB" else photo.convert("RGB")
    return plain.resize(size, Image.Resampling.BOX)


def _marked(mask: Tensor, size: tuple[int, int] | torch.Size) -> Float[Tensor, "1 1 h w"]:
    if mask.ndim != 2:
        raise ValueError(f"the mask must be h x w, got {tuple(mask.shape)}.")
    region = nnf.interpolate(mask.float()[None, None], size=tuple(size), mode="bilinear", antialias=True)
    if not bool(region.isfinite().all()) or not float(region.max()) > 0.02:
        raise ValueError("the mask marks nothing of the photograph; paint white on the lamp.")
    return region.clamp(0, 1)


def _window(region: Float[Tensor, "1 1 h w"], reach: float) -> Float[Tensor, "1 1 h w"]:
    """1 near the mask, exactly 0 farther than `reach` times the longer side, smooth between."""
    if not 0.05 <= reach <= 1:
        raise ValueError(f"reach is a share of the longer side, from 0.05 to 1, got {reach}.")
    far = max(0, int(reach * max(region.shape[-2:])) - EDGE)
    fade = far // 4
    near = _spread(region.gt(0.02).float(), far - 2 * fade)
    for _ in range(2):
        near = nnf.avg_pool2d(near, 2 * fade + 1, 1, fade, count_include_pad=False)
    return near


def _spread(region: Tensor, pixels: int) -> Tensor:
    """The mask grown by so many pixels, along each side in turn."""
    across = nnf.max_pool2d(region, (1, 2 * pixels + 1), 1, (0, pixels))
    return nnf.max_pool2d(across, (2 * pixels + 1, 1), 1, (pixels, 0))


def _enlarged(photo: Picture, fields: Float[Tensor, "6 h w"], progress: Callable[[int, int], None] | None) -> Picture:
    """gain · photo + offset at full size, strip by strip."""
    from PIL import Image

    width, height = photo.size
    wide = nnf.interpolate(fields[None], size=(fields.shape[1], width), mode="bilinear")[0]
    made, rows = Image.new("RGB", photo.size), max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        strip = tensor_of(photo.crop((0, top, width, bottom)))
        gain, added = _rows(wide, top, bottom, height).chunk(2)
        made.paste(_picture((gain * strip + added)[None]), (0, top))
        if progress is not None:
            progress(bottom, height)
    return made


def _rows(fields: Float[Tensor, "planes h w"], top: int, bottom: int, height: int) -> Float[Tensor, "planes rows w"]:
    """Some rows of the fields stretched to a height, as bilinear interpolation has them."""
    at = ((torch.arange(top, bottom) + 0.5) * fields.shape[1] / height - 0.5).clamp(0, fields.shape[1] - 1)
    low = at.floor().long()
    high = (low + 1).clamp_max(fields.shape[1] - 1)
    return torch.lerp(fields[:, low], fields[:, high], (at - low)[:, None])


def _picture(images: Float[Tensor, "1 rgb h w"]) -> Picture:
    """Display values as an 8-bit picture."""
    from PIL import Image

    return Image.fromarray(((images[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())


def _finished(photo: Picture, made: Picture) -> Picture:
    if "A" in photo.getbands():
        made.putalpha(photo.getchannel("A"))
    return made
