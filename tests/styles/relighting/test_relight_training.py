"""Learning to relight: what is drawn, runs that go on, the file, and damaged inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import styles
from styles.generator import Generator
from styles.relighting.batches import Batch, mixed_light
from styles.relighting.training import pairs_from

SMALL = (8, 16)
PLAN = styles.Schedule(steps=6, batch=2, sizes=(16, 24), save_every=2, warmup=2)


def drawn(pairs: object, count: int = 12, size: int = 16, seed: int = 0) -> Batch:
    return pairs.draw(count, size, torch.Generator().manual_seed(seed))  # type: ignore[attr-defined]


def fits(batch: Batch, count: int, size: int) -> None:
    assert batch.photos.shape == batch.truth.shape == (count, 3, size, size)
    assert (batch.masks.shape, batch.fractions.shape) == ((count, 1, size, size), (count,))
    for part, low in ((batch.photos, -1), (batch.truth, -1), (batch.masks, 0), (batch.fractions, 0)):
        assert low <= float(part.min()) <= float(part.max()) <= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for side, level in (("off", 40), ("on", 200)):
        (tmp_path / side).mkdir()
        for name in ("a", "b"):
            Image.new("RGB", (40, 30), (level, level, level // 2)).save(tmp_path / side / f"{name}.png")
    return tmp_path


def test_rendered_pairs_are_the_same_rooms_at_another_fraction() -> None:
    pairs = styles.RenderedPairs()
    batch = drawn(pairs, 60, 32)
    fits(batch, 60, 32)
    for mine, again in zip(vars(batch).values(), vars(drawn(pairs, 60, 32)).values(), strict=True):
        assert torch.equal(mine, again)
    brighter = (batch.truth - batch.photos).mean((1, 2, 3))
    assert (brighter > 0.01).any()
    assert (brighter < -0.01).any()
    lit_stays = (batch.fractions == 1) & (brighter < 0.01)
    assert lit_stays.any()
    torch.testing.assert_close(batch.truth[lit_stays], batch.photos[lit_stays])
    assert {0.0, 1.0} <= set(batch.fractions.tolist())
    whole = batch.masks.amin((1, 2, 3)) == 1
    assert 0.2 < float(whole.float().mean()) < 0.8


def test_a_mask_means_its_own_lamp_only() -> None:
    """Where the shade is marked the pendant's light stays, and the other way round."""
    batch = drawn(styles.RenderedPairs(), 200, 32)
    marked = batch.masks.amin((1, 2, 3)) < 1
    change = (batch.truth - batch.photos).abs().mean(1, keepdim=True)
    asked = change.amax((1, 2, 3)) > 0.1
    other = (1 - batch.masks) * (batch.photos.amax(1, keepdim=True) > 0.9)
    inside = (change * batch.masks).sum((1, 2, 3)) / batch.masks.sum((1, 2, 3))
    outside = (change * other).sum((1, 2, 3)) / other.sum((1, 2, 3)).clamp_min(1)
    assert (inside > outside)[marked & asked].float().mean() > 0.9


def test_switched_pairs(lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor) -> None:
    switch = styles.solve_control(lamp_model, lit[:1], place)
    batch = drawn(styles.SwitchedPairs(lamp_model, switch))
    fits(batch, 12, 16)
    fits(drawn(styles.SwitchedPairs(lamp_model, switch), 3, 24), 3, 24)
    change = (batch.truth - batch.photos).abs().amax((1, 2, 3))
    assert float(change.max()) > 0.2
    assert not lamp_model.edited
    up = styles.UnitEdit(tuple((a, b, -c) for a, b, c in switch.units), "shift", "style", "", (("place", -1e6),))
    with pytest.raises(ValueError, match="moves none"):
        styles.SwitchedPairs(lamp_model, up)


def test_photographs_are_mixed_in_linear_light(folder: Path) -> None:
    batch = drawn(styles.FolderPairs(folder))
    fits(batch, 12, 16)
    off, on = (torch.tensor([level, level, level // 2]) / 127.5 - 1 for level in (40, 200))
    expected = mixed_light(*(side[None, :, None, None].expand(12, 3, 16, 16) for side in (off, on)), batch.fractions)
    torch.testing.assert_close(batch.truth, expected, atol=1e-5, rtol=0)
    assert torch.equal(batch.masks, torch.ones_like(batch.masks))
    (folder / "mask").mkdir()
    Image.new("L", (20, 15), 255).crop((0, 0, 40, 15)).save(folder / "mask" / "a.png")
    assert float(drawn(styles.FolderPairs(folder), 40).masks.min()) == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "on" / "b.png").unlink(), "b only in one of off/ and on/"),
        (lambda root: (root / "on" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n123"), r"b\.png"),
        (lambda root: Image.new("RGB", (30, 40)).save(root / "on" / "b.png"), "40x30 and 30x40 pixels"),
        (lambda root: [path.unlink() for path in root.rglob("*.png")], "has no off/NAME.png"),
        (lambda root: (root / "on").rename(root / "lit"), "is no folder; pairs are read from"),
    ],
)
def test_a_damaged_folder_is_one_sentence(folder: Path, damage: object, said: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ValueError, match=said) as told:
        styles.train_relighter(folder, folder / "run", schedule=PLAN, widths=SMALL)
    assert "\n" not in str(told.value)
    assert not (folder / "run" / "relighter.safetensors").exists()


class BrokenOffError(Exception):
    """A run is killed."""


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path: Path) -> None:
    def killed(done: int, total: int, loss: float) -> None:
        if done == 3:
            raise BrokenOffError

    whole = styles.train_relighter("rooms", tmp_path / "whole", schedule=PLAN, widths=SMALL)
    with pytest.raises(BrokenOffError):
        styles.train_relighter("rooms", tmp_path / "parts", schedule=PLAN, widths=SMALL, progress=killed)
    styles.train_relighter("rooms", tmp_path / "parts", schedule=PLAN, widths=SMALL, until=4)
    seen: list[int] = []
    parts = styles.train_relighter(
        "rooms", tmp_path / "parts", schedule=PLAN, widths=SMALL, progress=lambda done, *_: seen.append(done)
    )
    assert seen == [5, 6]
    files = [load_file(tmp_path / run / "relighter.safetensors") for run in ("whole", "parts")]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
        assert torch.equal(files[0][name], files[1][name]), name


def test_a_trained_network_learns_on(tmp_path: Path) -> None:
    first = styles.train_relighter("rooms", tmp_path / "first", schedule=PLAN, widths=SMALL)
    still = styles.Schedule(**{**vars(PLAN), "rate": 0.0})
    again = styles.train_relighter("rooms", tmp_path / "again", schedule=still, start=first)
    assert again.widths == SMALL
    for name, value in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)
    with pytest.raises(ValueError, match="another start"):
        styles.train_relighter("rooms", tmp_path / "again", schedule=still, widths=SMALL)


def test_training_learns(tmp_path: Path) -> None:
    losses: list[float] = []
    plan = styles.Schedule(steps=60, batch=8, sizes=(16,), warmup=5, save_every=60)
    styles.train_relighter(
        "rooms", tmp_path, schedule=plan, widths=SMALL, progress=lambda _, __, loss: losses.append(loss)
    )
    assert sum(losses[-15:]) < 0.8 * sum(losses[:15])


def test_a_folder_of_another_run_or_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    styles.train_relighter("rooms", tmp_path, schedule=PLAN, widths=SMALL, until=2)
    other = styles.Schedule(**{**vars(PLAN), "seed": 1})
    with pytest.raises(ValueError, match=r"another run \(another seed\); name another folder"):
        styles.train_relighter("rooms", tmp_path, schedule=other, widths=SMALL)
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    torch.save({"settings": "[]", "step": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="is damaged"):
        styles.train_relighter("rooms", tmp_path, schedule=PLAN, widths=SMALL)
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged .*; delete it"):
        styles.train_relighter("rooms", tmp_path, schedule=PLAN, widths=SMALL)
    with pytest.raises(ValueError, match="must be at least 1"):
        styles.Schedule(steps=0)


def test_sources_by_name() -> None:
    assert isinstance(pairs_from("rooms"), styles.RenderedPairs)
    own = styles.RenderedPairs()
    assert pairs_from(own) is own
    switched = pairs_from("switch")
    fits(drawn(switched, 2, 64), 2, 64)


def test_the_file_brings_the_network_back(tmp_path: Path) -> None:
    net = styles.Relighter(widths=SMALL, side=40)
    torch.nn.init.normal_(net.change.weight)
    net.save(tmp_path / "n.safetensors", dtype=torch.float32)
    again = styles.load_relighter(tmp_path / "n.safetensors", device="cpu")
    batch = drawn(styles.RenderedPairs(), 2, 16)
    asked = (batch.photos, batch.fractions, batch.masks)
    assert torch.equal(again(*asked), net(*asked))
    assert (again.side, again.widths) == (40, SMALL)
    with pytest.raises(ValueError, match="saved as"):
        net.save(tmp_path / "n.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    with pytest.raises(ValueError, match="no file"):
        styles.load_relighter(path)
    styles.Relighter(widths=SMALL).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="damaged"):
        styles.load_relighter(path)
    path.write_bytes(whole.replace(b"[8, 16]", b"[8, 24]"))
    with pytest.raises(ValueError, match="do not have the shapes"):
        styles.load_relighter(path)
    path.write_bytes(whole.replace(b"[8, 16]", b"[8,999]"))
    with pytest.raises(ValueError, match="widths must be"):
        styles.load_relighter(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="no relighter of this toolkit"):
        styles.load_relighter(path)
    broken = styles.Relighter(widths=SMALL)
    broken.change.bias.data.fill_(float("nan"))  # type: ignore[union-attr]
    broken.save(path)
    with pytest.raises(ValueError, match="no numbers"):
        styles.load_relighter(path)
