"""Dissection on networks whose detectors are known: all of them are found, controls are not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import styles
from styles.dissection.activations import maps_of, maps_while
from styles.dissection.removal import importance, removed, without
from styles.dissection.report import save_report, sheet
from styles.dissection.units import dissect, labelled, overlaps, soft_wpmi

SIDE, COUNT = 16, 60
COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}


@pytest.fixture(scope="module")
def scene():
    """Grey noise with one patch of each of some colours; where each is, and which there are."""
    draw = torch.Generator().manual_seed(0)
    pictures = 0.1 * torch.randn(COUNT, 3, SIDE, SIDE, generator=draw)
    masks = {name: torch.zeros(COUNT, SIDE, SIDE) for name in COLOURS}
    labels = torch.randint(0, 3, (COUNT,), generator=draw)
    for i, label in enumerate(labels.tolist()):
        name = list(COLOURS)[label]
        y, x = torch.randint(0, SIDE - 4, (2,), generator=draw).tolist()
        pictures[i, :, y : y + 3, x : x + 3] = torch.tensor(COLOURS[name])[:, None, None]
        masks[name][i, y : y + 3, x : x + 3] = 1
    return pictures, masks, labels


class Planted(nn.Module):
    """Units 1, 3, 5 see one colour each; 0, 2, 4 see noise; the head names the colour by the three alone."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(6, 3)
        with torch.no_grad():
            self.look.weight.copy_(0.5 * torch.randn(6, 3, 1, 1, generator=torch.Generator().manual_seed(1)))
            self.look.weight[0::2] = torch.tensor([1.0, 1.0, 1.0])[:, None, None] * 0.01
            self.head.weight.zero_()
            for k, colour in enumerate(COLOURS.values()):
                self.look.weight[2 * k + 1, :, 0, 0] = torch.tensor(colour)
                self.head.weight[k, 2 * k + 1] = 1.0
            self.look.bias.zero_()
            self.head.bias.zero_()

    def forward(self, pictures):
        return self.head(self.look(pictures).amax(dim=(2, 3)))


@pytest.fixture(scope="module")
def network():
    return Planted().eval()


def test_every_planted_detector_is_found_and_nothing_else(network, scene):
    pictures, masks, _ = scene
    found = dissect(network, "look", pictures, masks)
    assert {unit.channel: unit.label for unit in found.units if unit.channel % 2} == {1: "red", 3: "green", 5: "blue"}
    assert all(unit.iou > 0.5 for unit in found.units if unit.channel % 2)
    assert max(unit.iou for unit in found.units if unit.channel % 2 == 0) < 0.1
    assert [unit.label for unit in found.detectors()][:3].count("red") == 1
    assert "of look detect something" in found.sentence()


def test_shuffled_masks_are_no_detectors(network, scene):
    pictures, masks, _ = scene
    turned = {name: mask.roll(1, dims=0).flip(1).flip(2) for name, mask in masks.items()}
    assert dissect(network, "look", pictures, turned, least=0.2).counts() == {}


def test_the_threshold_leaves_the_asked_share_above(network, scene):
    pictures, masks, _ = scene
    found = dissect(network, "look", pictures, masks, share=0.02)
    maps = maps_of(network, "look", pictures)
    for unit in found.units[0::2]:  # the noise; the others rest at one value on every patch
        above = (maps[:, unit.channel] > unit.threshold).float().mean()
        assert float(above) == pytest.approx(0.02, abs=2e-4)


def test_overlap_is_intersection_over_union():
    maps = torch.zeros(2, 1, 4, 4)
    maps[0, 0, :2] = 1
    mask = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    mask[0, 0, 1:3] = True
    assert float(overlaps(maps, torch.tensor([0.5]), mask)) == pytest.approx(4 / 12)


def test_a_generators_unit_is_found_by_its_own_map():
    """A concept made of one unit's own highest places is what that unit detects, with its style in the map."""
    model = styles.load_generator("demo")
    w = model.map(model.sample_z(range(24)))
    layer = model.layers[4].name
    maps = maps_of(model, layer, w)
    assert maps.shape[1] == model.layer(layer).channels
    masks = {}
    for channel in (3, 7, 11):
        values = maps[:, channel]
        masks[f"unit {channel}"] = values > values.flatten().kthvalue(round(0.99 * values.numel())).values
    found = dissect(model, layer, w, masks)
    for channel in (3, 7, 11):
        assert found.units[channel].scores[0][0] == f"unit {channel}"
        assert found.units[channel].iou > 0.99


class Stand:
    """Colours as directions: a text is its colour's, a picture's is the mean of its brightest place."""

    def texts(self, prompts):
        return nn.functional.normalize(torch.tensor([COLOURS[prompt] for prompt in prompts]), dim=1)

    def images(self, images):
        rows = []
        for image in images:
            flat = image.flatten(1)
            rows.append(flat[:, flat.abs().sum(0).argmax()])
        return nn.functional.normalize(torch.stack(rows), dim=1)


def test_without_masks_clip_names_the_planted_ones(network, scene):
    pictures, _, _ = scene
    found = dissect(network, "look", pictures, list(COLOURS), clip=Stand(), pictures=list(pictures))
    assert [found.units[channel].label for channel in (1, 3, 5)] == list(COLOURS)
    assert found.by == "CLIP"


def test_a_network_that_paints_is_read_while_it_does(network, scene):
    """Two runs a picture, the row of a batch that counts last: the planted units are found by what they saw."""
    pictures, masks, _ = scene

    def paint(index):
        for _ in range(2):
            network(torch.stack([torch.zeros_like(pictures[index]), pictures[index]]))
        return index

    maps, painted = maps_while(network, "look", paint, len(pictures))
    assert painted == list(range(len(pictures)))
    torch.testing.assert_close(maps, maps_of(network, "look", pictures))
    found = labelled("look", maps, masks)
    assert {unit.channel: unit.label for unit in found.units if unit.channel % 2} == {1: "red", 3: "green", 5: "blue"}
    with pytest.raises(ValueError, match="painted without look"):
        maps_while(network, "look", lambda index: index, 1)
    with pytest.raises(ValueError, match="nothing to paint"):
        maps_while(network, "look", paint, 0)


def test_soft_wpmi_is_nothing_for_concepts_that_every_picture_has():
    highest = torch.rand(40, 5, generator=torch.Generator().manual_seed(0))
    score = soft_wpmi(highest, torch.zeros(40, 3))
    torch.testing.assert_close(score, torch.zeros_like(score), atol=1e-9, rtol=0)


def test_removing_a_detector_takes_its_class_alone(network, scene):
    pictures, _, labels = scene
    whole, red, noise, kept = removed(network, "look", [(), (1,), (0, 2, 4), (1, 3, 5)], pictures, labels, classes=3)
    assert whole.accuracy == 1.0
    assert red.by_class[0] < 0.5
    assert red.by_class[1:] == (1.0, 1.0)
    assert {flip[0] for flip in red.flips} == {0}
    assert noise.accuracy == 1.0
    (only,) = removed(network, "look", [(1, 3, 5)], pictures, labels, classes=3, keep=True)
    assert only.accuracy == 1.0
    assert kept.accuracy < 1.0
    assert importance(network, "look", pictures[labels == 1], 1, units=6)[0] == 3


def test_the_network_is_whole_again_after_a_removal(network, scene):
    pictures, _, _ = scene
    before = network(pictures)
    with without(network, "look", [1]):
        assert not torch.equal(network(pictures), before)
    assert torch.equal(network(pictures), before)


def test_a_report_shows_the_units_and_asks_for_nothing(network, scene, tmp_path):
    pictures, masks, _ = scene
    found = dissect(network, "look", pictures, masks)
    save_report(found, maps_of(network, "look", pictures), pictures, tmp_path / "r.html", title="<b>colours</b>")
    text = (tmp_path / "r.html").read_text()
    assert "&lt;b&gt;colours&lt;/b&gt;" in text
    assert "<script" not in text
    assert "http" not in text
    assert text.count("data:image/png;base64,") == len([u for u in found.units if u.label])
    picture = sheet(found, maps_of(network, "look", pictures), pictures, units=3)
    assert picture.width > picture.height / 4
    save_report(found, maps_of(network, "look", pictures), pictures, tmp_path / "r.png", title="colours")
    assert (tmp_path / "r.png").stat().st_size > 500


def test_bad_requests_are_sentences(network, scene):
    pictures, masks, labels = scene
    with pytest.raises(ValueError, match="no layer 'nose' in this network, which has look, head"):
        dissect(network, "nose", pictures, masks)
    with pytest.raises(ValueError, match="the probe set is empty"):
        dissect(network, "look", pictures[:0], masks)
    with pytest.raises(ValueError, match="gives no map of units"):
        dissect(network, "head", pictures, masks)
    with pytest.raises(ValueError, match="no picture shows red"):
        dissect(network, "look", pictures, masks | {"red": torch.zeros(COUNT, SIDE, SIDE)})
    with pytest.raises(ValueError, match="masks are 60 x h x w"):
        dissect(network, "look", pictures, {"red": masks["red"][:5]})
    with pytest.raises(ValueError, match="scored by CLIP"):
        dissect(network, "look", pictures, ["red"])
    with pytest.raises(ValueError, match="there is no concept"):
        dissect(network, "look", pictures, {})
    with pytest.raises(ValueError, match="has units 0 to 5, no 9"):
        removed(network, "look", [(9,)], pictures, labels, classes=3)
    with pytest.raises(ValueError, match="3 labels for 60 pictures"):
        removed(network, "look", [()], pictures, labels[:3], classes=3)
    assert math.isnan(removed(network, "look", [()], pictures, labels, classes=4)[0].by_class[3])
