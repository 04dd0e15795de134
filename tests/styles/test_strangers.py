"""Files from strangers: each is read, or refused in one sentence; what is written is whole or absent."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from planted import tiny

import styles
from styles.__main__ import app
from styles.files import whole
from styles.reading import MOST_PIXELS, mask_of, parse_json
from styles.units.modulate import UnitEdit

CASES = 50
EDIT = UnitEdit((("b8.conv1", 3, -10.0), ("b8.conv0", 1, 2.5)), "shift", note="a lamp")
NASTY: tuple[Any, ...] = (
    None, True, -1, 1 << 70, 0.5, float("inf"), float("nan"), "", "x", "\ud800", [], {}, [None], {"x": {"x": 1}},
    json.loads("[" * 100 + "]" * 100),
)  # fmt: skip


def told(read: Callable[[], Any]) -> str:
    """'' where something is read, else the sentence it is refused with."""
    try:
        read()
    except ValueError as error:
        text = str(error)
        assert 12 < len(text) < 700, text[:2000]
        assert "\n" not in text, text
        return text
    return ""


def damaged(data: bytes, rng: random.Random, reach: int) -> bytes:
    """Bytes flipped, cut out or doubled among the first `reach`, or the rest cut off."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 2, 5))):
        at, kind = rng.randrange(min(reach, len(made)) or 1), rng.randrange(8)
        if kind == 0:
            del made[at : at + rng.randrange(1, 30)]
        elif kind == 1:
            made[at:at] = made[at : at + rng.randrange(1, 30)]
        elif kind == 2 and rng.random() < 0.3:
            del made[at:]
        elif made:
            made[at % len(made)] = rng.randrange(256)
    return bytes(made)


def with_nasty(value: Any, rng: random.Random) -> Any:
    """The same data with something nasty in one place."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {name: part for name, part in value.items() if name != key}
        return value | {key: with_nasty(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], with_nasty(value[at], rng), *value[at + 1 :]]
    return rng.choice(NASTY)


def test_unit_edits(tmp_path: Path) -> None:
    EDIT.save(tmp_path / "whole.json")
    assert UnitEdit.load(tmp_path / "whole.json") == EDIT
    data, path, rng = (tmp_path / "whole.json").read_bytes(), tmp_path / "f.json", random.Random(1)
    refused = 0
    for i in range(4 * CASES):
        nasty = json.dumps(with_nasty(json.loads(data), rng)).encode()
        path.write_bytes(nasty if i % 2 else damaged(data, rng, len(data)))
        refused += bool(told(lambda: UnitEdit.load(path)))
    assert refused > 2 * CASES


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"units": [{"layer": "b8.conv1", "channel": 1e400, "value": 1}]}, "not JSON|channel"),
        ({"units": [{"layer": "b8.conv1", "channel": -1, "value": 1}]}, "channel"),
        ({"units": [{"layer": "b8.conv1", "channel": "1", "value": 1}]}, "channel"),
        ({"units": [{"layer": "b8.conv1", "channel": 1, "value": "1"}]}, "value"),
        ({"units": []}, "units"),
        ({"how": ["set"]}, "how"),
        ({"surprise": 1}, "surprise"),
        ({"format": "other"}, "is no unit edit"),
    ],
)
def test_unit_edits_by_name(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    EDIT.save(tmp_path / "e.json")
    path = tmp_path / "e.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"e\.json.*({words})"):
        UnitEdit.load(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 40 + "]" * 40, "NaN", "9" * 5000])
def test_json_is_bounded(text: str) -> None:
    with pytest.raises(ValueError, match="it is"):
        parse_json(text, "it")


def checkpoints(folder: Path) -> dict[str, Path]:
    """A tiny generator in each container, and a state dict of names nobody knows."""
    model = tiny()
    styles.save_generator(model, folder / "g.safetensors")
    content = {"g_ema": {f"style.{i}.weight": torch.ones(3) for i in range(4)}, "latent_avg": torch.ones(3)}
    torch.save(content, folder / "zip.pt")
    torch.save(content, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    return {path.name: path for path in folder.iterdir()}


def test_checkpoints(tmp_path: Path) -> None:
    for name, whole_file in checkpoints(tmp_path).items():
        data, path, rng = whole_file.read_bytes(), tmp_path / "f", random.Random(name)
        refused = 0
        for _ in range(CASES):
            path.write_bytes(damaged(data, rng, 3000))
            refused += bool(told(lambda path=path: styles.load_generator(path)))  # type: ignore[misc]
        assert refused > CASES // 4, name


def test_configurations(tmp_path: Path) -> None:
    styles.save_generator(tiny(), tmp_path / "g.safetensors")
    data, rng = (tmp_path / "g.safetensors").read_bytes(), random.Random(2)
    length = struct.unpack("<Q", data[:8])[0]
    table = json.loads(data[8 : 8 + length])
    config, refused = json.loads(table["__metadata__"]["config"]), 0
    for _ in range(2 * CASES):
        table["__metadata__"]["config"] = json.dumps(with_nasty(config, rng))
        head = json.dumps(table).encode()
        (tmp_path / "f").write_bytes(struct.pack("<Q", len(head)) + head + data[8 + length :])
        refused += bool(told(lambda: styles.load_generator(tmp_path / "f")))
    assert refused > CASES


def test_two_thousand_tensors_that_share_their_numbers(tmp_path: Path) -> None:
    """Counted once a storage, so that the limit is met after a few of them, in a zip as in the older layout."""
    numbers = torch.zeros(20_000)
    views = {f"style.{i}.weight": numbers[i : i + 10_000] for i in range(2000)}
    torch.save({"g_ema": views}, tmp_path / "shared.pt")
    with pytest.raises(ValueError, match="share the same numbers"):
        styles.load_generator(tmp_path / "shared.pt")


def png(width: int, height: int) -> bytes:
    """A PNG of any size that holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 14_000, 30_000, 1 << 30])
def test_a_picture_bomb_is_not_decoded(side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether Pillow would only warn, or raise, or try."""
    (tmp_path / "m.png").write_bytes(png(side, side))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=rf"m\.png has more than {MOST_PIXELS >> 20} megapixels"):
        mask_of(tmp_path / "m.png")


def test_masks(tmp_path: Path) -> None:
    rng, path = random.Random(6), tmp_path / "f"
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        Image.radial_gradient("L").resize((24, 24)).save(tmp_path / "whole", form)
        data = (tmp_path / "whole").read_bytes()
        assert mask_of(tmp_path / "whole").shape == (24, 24)
        for _ in range(CASES):
            path.write_bytes(damaged(data, rng, 400))
            told(lambda: mask_of(path))


def test_pictures_that_other_programs_decode_are_refused(tmp_path: Path) -> None:
    """Pillow would hand PostScript to ghostscript."""
    (tmp_path / "m.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nquit\n")
    with pytest.raises(ValueError, match="cannot identify"):
        mask_of(tmp_path / "m.eps")


# Writing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["sample", "turn"])
def test_kill_while_a_picture_is_written(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    styles.save_generator(tiny(), tmp_path / "g.safetensors")
    out = tmp_path / "sheet.png"
    out.write_bytes(b"old")

    def half(_: object, path: Path, **__: object) -> None:
        Path(path).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("PIL.Image.Image.save", half)
    arguments = [verb, "--model", str(tmp_path / "g.safetensors"), "--seeds", "0", "--out", str(out)]
    arguments += ["--unit", "b8.conv1:0=1"] if verb == "turn" else []
    child = os.fork()
    if child == 0:
        try:
            app(arguments, standalone_mode=False)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert out.read_bytes() == b"old"
    assert len(list(tmp_path.glob(f".sheet.png.*-{child}.part.png"))) == 1
    with whole(tmp_path / "next.txt") as part:
        part.write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.safetensors", "next.txt", "sheet.png"]


def test_what_others_may_be_writing_is_not_swept(tmp_path: Path) -> None:
    with whole(tmp_path / "a.txt") as part:
        mark = part.name.split(".")[-3].split("-")[0]
        part.write_text("x")
        names = [f".b.txt.{mark}-{os.getppid()}.part.txt", ".c.txt.0123abcd-1.part.txt", "d.part"]
        for name in names:
            (tmp_path / name).write_text("x")
        with whole(tmp_path / "e.txt") as other:
            other.write_text("y")
        assert part.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "a.txt", "e.txt"])
