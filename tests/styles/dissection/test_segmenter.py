"""The segmenter: the embedded one on unseen rooms, with and without each thing; its file; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import styles
from styles.demo import segmenter_file
from styles.demo.furnished import THINGS, drawn, furnished, some_missing
from styles.demo.measure import HELD_OUT, draw
from styles.demo.renderer import FACTORS, MASKS, factors_of, render
from styles.demo.train_segmenter import iou, loss_of, train
from styles.dissection.segmenter import FORMAT, seen_in


@pytest.fixture(scope="module")
def net() -> styles.Segmenter:
    return styles.load_segmenter("demo", device="cpu")


@pytest.fixture(scope="module")
def factors() -> torch.Tensor:
    return factors_of(draw(HELD_OUT + 83, 40))


def test_it_is_small(net: styles.Segmenter) -> None:
    assert net.classes == MASKS
    assert segmenter_file().stat().st_size <= 300_000


@pytest.mark.parametrize(("size", "least"), [(64, 0.55), (128, 0.65)])
def test_it_finds_everything_in_unseen_rooms(
    net: styles.Segmenter, factors: torch.Tensor, size: int, least: float
) -> None:
    truth = furnished(factors, size=size)
    found = iou(net.masks(truth.images), truth.masks)
    assert min(found.values()) > least
    assert sum(found.values()) / len(found) > 0.75


@pytest.mark.parametrize("thing", ["shade", "pendant", "window", "picture", "bed"])
def test_what_was_taken_out_is_not_seen(net: styles.Segmenter, factors: torch.Tensor, thing: str) -> None:
    """Though it stands in the same place in every room that has one."""
    gone = furnished(factors, present={thing: torch.zeros(len(factors))})
    there = furnished(factors)
    assert not bool((gone.masks[thing] > 0.5).any())
    areas = [float(net.masks(rooms.images)[thing].float().mean()) for rooms in (there, gone)]
    assert areas[1] < 0.1 * areas[0]


def test_a_mirrored_room_is_found_too(net: styles.Segmenter, factors: torch.Tensor) -> None:
    truth = furnished(factors)
    found = net.masks(truth.images.flip(-1))
    mirrored = {name: mask.flip(-1) for name, mask in truth.masks.items()}
    assert iou(found, mirrored)["bed"] > 0.7


def test_sizes_that_are_no_multiple_and_batches_change_nothing(net: styles.Segmenter, factors: torch.Tensor) -> None:
    pictures = furnished(factors[:5], size=70).images[..., :67]
    found = net.masks(pictures)
    assert all(mask.shape == (5, 70, 67) for mask in found.values())
    for name, mask in net.masks(pictures, ["bed", "shade"], batch=2).items():
        assert float((mask != found[name]).float().mean()) < 1e-3


def test_a_complete_room_is_the_renderers(factors: torch.Tensor) -> None:
    assert torch.equal(furnished(factors[:3]).images, render(factors[:3]).images)


def test_masks_say_what_is_seen() -> None:
    off = torch.full((1, len(FACTORS)), 0.5)
    off[:, FACTORS.index("lamp")] = 0.1
    rooms = furnished(off)
    assert not bool(rooms.masks["glow"].any())
    assert not bool(rooms.masks["reflection"].any())
    assert bool(rooms.masks["shade"].any())
    lit = off.clone()
    lit[:, [FACTORS.index("lamp"), FACTORS.index("gloss")]] = 0.9
    assert bool(furnished(lit).masks["reflection"].any())


def test_what_is_learnt_from_is_drawn_anew_and_repeatable() -> None:
    first, second, other = (drawn(4, 48, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (4, 3, 48, 48)
    assert first[1].shape == (4, len(MASKS), 48, 48)
    present = some_missing(2000, torch.Generator().manual_seed(0))
    assert set(present) == set(THINGS)
    assert all(0.8 < float(here.mean()) < 0.95 for here in present.values())


def test_training_learns() -> None:
    pictures, masks = drawn(8, 64, torch.Generator().manual_seed(99))
    first, later = (float(loss_of(train(steps=steps)(pictures), masks)) for steps in (1, 30))
    assert later < 0.7 * first


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = styles.Segmenter(["cat", "dog"], widths=(8, 16)).eval()
    made.save(tmp_path / "s.safetensors", dtype=torch.float32)
    back = styles.load_segmenter(tmp_path / "s.safetensors", device="cpu")
    pictures = torch.randn(2, 3, 20, 31)
    assert back.classes == ("cat", "dog")
    assert torch.equal(back(pictures), made(pictures))
    with pytest.raises(ValueError, match=r"saved as \.safetensors"):
        made.save(tmp_path / "s.pt")


def test_a_segmenter_of_other_classes_is_a_sentence(net: styles.Segmenter, factors: torch.Tensor) -> None:
    pictures = furnished(factors[:3]).images
    with pytest.raises(ValueError, match="this segmenter knows no 'tree'; it knows shade, reflection"):
        net.masks(pictures, ["bed", "tree"])
    blind = styles.Segmenter(["cat", "dog"], widths=(8, 16)).eval()
    torch.nn.init.zeros_(blind.head.weight)
    torch.nn.init.constant_(blind.head.bias, -3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="none of cat, dog is seen in these 3 pictures: this is a segmenter of other"):
        seen_in(blind, pictures)
    model = styles.load_generator("demo", device="cpu")
    with pytest.raises(ValueError, match="a segmenter of other classes"):
        styles.dissect(model, model.layers[-2].name, model.map(model.sample_z([0])), blind)
    with pytest.raises(ValueError, match="takes pictures x 3 x h x w"):
        net.masks(torch.zeros(3, 64, 64))
    gone = furnished(factors, present={"pendant": torch.zeros(len(factors))}).images
    assert "bed" in seen_in(net, gone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "styles.relighter/1"}, "no segmenter of this toolkit"),
        ({"classes": []}, "classes must be 1 to"),
        ({"classes": ["a", "a"]}, "names a class twice"),
        ({"classes": [3, "b"]}, "classes must be 1 to"),
        ({"widths": [7, 16]}, "widths must be 2 to"),
        ({"widths": [16, 16]}, "do not have the shapes"),
    ],
)
def test_damaged_files_are_sentences(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "s.safetensors"
    styles.Segmenter(["cat", "dog"], widths=(8, 16)).save(path)
    config = {"classes": ["cat", "dog"], "widths": [8, 16], **change}
    metadata = {"format": str(change.get("format", FORMAT)), "config": json.dumps(config)}
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(ValueError, match=said):
        styles.load_segmenter(path)


def test_what_is_no_file_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="give 'demo' or"):
        styles.load_segmenter(tmp_path / "none.safetensors")
    (tmp_path / "s.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="is damaged or no"):
        styles.load_segmenter(tmp_path / "s.safetensors")
    made = styles.Segmenter(["cat"], widths=(8, 16))
    torch.nn.init.constant_(made.head.bias, float("nan"))  # type: ignore[arg-type]
    made.save(tmp_path / "s.safetensors")
    with pytest.raises(ValueError, match="weights that are no numbers"):
        styles.load_segmenter(tmp_path / "s.safetensors")
    monkeypatch.setattr("styles.demo.FOLDER", tmp_path)
    with pytest.raises(ValueError, match="embedded segmenter is missing"):
        styles.load_segmenter("demo")
