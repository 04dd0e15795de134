"""Photographs relit: any size, the neighbourhood of a mask, detail, memory, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lit_rooms import rooms
from PIL import Image

import styles
from styles.relighting.photo import guided
from styles.relighting.photographs import open_photo


@pytest.fixture(scope="module")
def net() -> styles.Relighter:
    """A random network that changes everything."""
    torch.manual_seed(5)
    made = styles.Relighter(widths=(8, 16, 16), side=64)
    torch.nn.init.normal_(made.change.weight, std=0.2)
    made.change.bias.data.fill_(-0.4)  # type: ignore[union-attr]
    return made.eval().requires_grad_(False)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    levels = np.random.default_rng(3).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    return Image.fromarray(levels if len(mode) > 1 else levels[..., 0])


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (37, 61), (64, 64), (65, 64), (300, 111), (7, 900)])
def test_any_size(net: styles.Relighter, size: tuple[int, int]) -> None:
    photo = noise(*size)
    made = styles.relight(net, photo, 0.3)
    assert (made.size, made.mode) == (size, "RGB")
    assert made.tobytes() != photo.tobytes()
    assert made.tobytes() == styles.relight(net, photo, 0.3).tobytes()


def test_grey_and_transparent_photographs(net: styles.Relighter) -> None:
    assert styles.relight(net, noise(40, 30, "L"), 0.5).mode == "RGB"
    clear = noise(200, 100, "RGBA")
    made = styles.relight(net, clear, 0.5)
    assert made.getchannel("A").tobytes() == clear.getchannel("A").tobytes()


@pytest.mark.parametrize(("size", "reach"), [((64, 48), 0.25), ((640, 480), 0.25), ((640, 480), 0.05), ((64, 64), 0.4)])
def test_nothing_changes_far_from_the_mask(net: styles.Relighter, size: tuple[int, int], reach: float) -> None:
    photo, (width, height) = noise(*size), size
    mask = torch.zeros(height, width)
    mask[: height // 8, : width // 8] = 1
    before, after = (np.asarray(p).astype(int) for p in (photo, styles.relight(net, photo, 0.0, mask, reach=reach)))
    changed = np.abs(after - before).max(2) > 0
    across, down = width // 8 + round(reach * max(size)), height // 8 + round(reach * max(size))
    if reach > 0.1:
        assert changed[: height // 8, : width // 8].mean() > 0.9
    assert not changed[:, across + 1 :].any()
    assert not changed[down + 1 :].any()
    assert (np.abs(np.asarray(styles.relight(net, photo, 0.0)).astype(int) - before).max(2) > 0).mean() > 0.9


def test_a_network_that_does_nothing_leaves_large_photographs_nearly_as_they_are() -> None:
    """The guided filter's own error: gain is below 1 where the photograph is flat, and the offset makes up for it."""
    still = styles.Relighter(widths=(8, 16), side=64).eval()
    photo = styles.to_pil(rooms(1, 1.0, size=256)[0])[0]
    made = styles.relight(still, photo, 0.2)
    assert np.abs(np.asarray(made).astype(int) - np.asarray(photo)).mean() < 2
    small = photo.resize((64, 64))
    assert styles.relight(still, small, 0.2).tobytes() == small.tobytes()


def test_the_guided_filter_finds_a_linear_change() -> None:
    torch.manual_seed(0)
    guide = torch.rand(1, 3, 32, 32) * 2 - 1
    gain, added = guided(guide, 0.4 * guide - 0.3)
    torch.testing.assert_close(gain, torch.full_like(gain, 0.4), atol=0.01, rtol=0)
    torch.testing.assert_close(gain * guide + added, 0.4 * guide - 0.3, atol=0.01, rtol=0)


def test_detail_of_a_large_photograph_stays(net: styles.Relighter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine stripes that the network never saw are still there, and strips join without a seam."""
    levels = np.full((256, 256, 3), 110, np.uint8)
    levels[::2] = 150
    levels[:, 128:] //= 2
    photo = Image.fromarray(levels)
    whole = styles.relight(net, photo, 0.3)
    monkeypatch.setattr("styles.relighting.photo.STRIP", 1000)
    assert styles.relight(net, photo, 0.3).tobytes() == whole.tobytes()
    rows = np.asarray(whole).astype(int)
    assert np.abs(rows[::2] - rows[1::2])[:, 100:156].max() > 5


@pytest.mark.parametrize(
    ("fraction", "mask", "reach", "said"),
    [
        (1.2, None, 0.5, "fraction is a number from 0"),
        (float("nan"), None, 0.5, "fraction is a number from 0"),
        (0.5, torch.zeros(8, 8), 0.5, "marks nothing"),
        (0.5, torch.full((8, 8), float("nan")), 0.5, "marks nothing"),
        (0.5, torch.ones(1, 8, 8), 0.5, "must be h x w"),
        (0.5, torch.ones(8, 8), -1.0, "reach is a share"),
    ],
)
def test_what_is_refused(
    net: styles.Relighter, fraction: float, mask: torch.Tensor | None, reach: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        styles.relight(net, noise(20, 20), fraction, mask, reach=reach)


def test_too_large_a_photograph_is_refused_before_work(net: styles.Relighter) -> None:
    with pytest.raises(ValueError, match="more than 64 megapixels; shrink it first"):
        styles.relight(net, Image.new("1", (9000, 9000)), 0.5)


def test_photographs_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), "red").save(tmp_path / "p.jpg", exif=exif)
    assert open_photo(tmp_path / "p.jpg").size == (20, 30)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"cut\.png"):
        open_photo(tmp_path / "cut.png")
