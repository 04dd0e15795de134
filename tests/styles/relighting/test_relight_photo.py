"""Photographs relit: any size, the neighbourhood of a mask, detail, memory, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lit_rooms import rooms
from PIL import Image

import styles
from styles.relighting.photo import guided, seen_at
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


def test_memory_grows_with_the_photograph_by_it_and_its_copy(net: styles.Relighter, tmp_path: Path) -> None:
    """Read, relit and written in a process of its own: 8 bytes a pixel, and what the strips take whatever its size.
    The encoder's buffers and a margin for the allocator are in the last term."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("the kernel tells no peak of resident memory here")
    net.save(tmp_path / "net.safetensors")
    small, large = (300, 200), (4000, 3000)
    for name, size in (("small", small), ("large", large)):
        Image.radial_gradient("L").resize(size).convert("RGB").save(tmp_path / f"{name}.png", compress_level=1)
    code = """
import sys
import subprocess
import sys
from pathlib import Path
import styles
from styles.pictures import save_picture
from styles.relighting.photographs import open_photo
net = styles.load_relighter(sys.argv[1], device="cpu")
for name in sys.argv[2:]:
    save_picture(styles.relight(net, open_photo(name), 0.4), Path(name).with_suffix(".jpg"))
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    words = [str(tmp_path / name) for name in ("net.safetensors", "small.png", "large.png")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    before, after = (1024 * int(peak) for peak in done.stdout.split())
    assert after - before > 4 * large[0] * large[1]  # the photograph was really there
    assert after - before < 8 * large[0] * large[1] + 150e6


def test_progress_counts_rows_and_what_it_raises_ends_the_work(net: styles.Relighter) -> None:
    photo, told = noise(2000, 600), []
    styles.relight(net, photo, 0.3, progress=lambda done, rows: told.append((done, rows)))
    assert told[-1] == (600, 600)
    assert len(told) > 1
    assert told == sorted(told)

    def stop(done: int, rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        styles.relight(net, photo, 0.3, progress=stop)


@pytest.mark.parametrize(("size", "seen"), [((64, 48), (64, 48)), ((640, 480), (64, 48)), ((9000, 10), (64, 1))])
def test_at_which_size_the_network_sees_a_photograph(
    net: styles.Relighter, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    assert seen_at(net, size) == seen
