"""Units of a generator removed and inserted: planted detectors change the area of their own thing and no other's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from planted import FLOOR, LAMP
from torch import Tensor
from verbs import run

import styles
from styles.dissection.activations import maps_of
from styles.dissection.intervention import forced, present_levels
from styles.dissection.segmenter import Segments
from styles.generator import Generator

LAYER, IDLE = "b16.torgb", 5
"""The planted layer, and a channel of it that paints nothing."""


class Bright:
    """A lamp is what is bright in the upper half, a highlight what is bright at the bottom; a moon is never seen."""

    classes = ("lamp", "highlight", "moon")

    def masks(self, pictures: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        bright = pictures.mean(1) > 0.8
        row = torch.arange(bright.shape[1], device=bright.device)[:, None] / bright.shape[1]
        found = {"lamp": bright & (row < 0.5), "highlight": bright & (row > 0.7), "moon": torch.zeros_like(bright)}
        return {name: found[name] for name in names or self.classes}


@pytest.fixture(scope="module")
def w(lamp_model: Generator) -> Tensor:
    """w vectors of pictures with a lamp and a highlight."""
    w = lamp_model.map(lamp_model.sample_z(range(200)))
    found = Bright().masks(lamp_model.synthesize(w))
    both = found["lamp"].flatten(1).any(1) & found["highlight"].flatten(1).any(1)
    return w[both][:12]


def test_dissection_by_a_segmenter_finds_the_planted_units(lamp_model: Generator, w: Tensor) -> None:
    assert isinstance(Bright(), Segments)
    found = styles.dissect(lamp_model, LAYER, w, Bright(), share=0.05)
    assert found.units[LAMP].label == "lamp"
    assert found.units[FLOOR].label == "highlight"
    assert "moon" not in found.counts()


def test_removing_a_planted_unit_takes_its_thing_alone(lamp_model: Generator, w: Tensor) -> None:
    lamp, floor, both, idle = styles.area_changes(
        lamp_model, LAYER, [[LAMP], [FLOOR], [LAMP, FLOOR], [IDLE]], w, Bright(), concept="lamp"
    )
    assert lamp.whole["lamp"] > 0.01
    assert lamp.removed["lamp"] == 0
    assert lamp.removed["highlight"] > 0.75 * lamp.whole["highlight"]  # each shines a little on the other
    assert floor.removed["highlight"] == 0
    assert floor.removed["lamp"] > 0.75 * floor.whole["lamp"]
    assert both.removed["lamp"] == both.removed["highlight"] == 0
    assert idle.removed == idle.whole == idle.inserted


def test_inserting_a_planted_unit_lights_its_thing_where_it_was_not(lamp_model: Generator, w: Tensor) -> None:
    where = torch.zeros(len(w), 16, 16)
    where[:, 1:5, 1:5] = 1
    lamp, idle = styles.area_changes(lamp_model, LAYER, [[LAMP], [IDLE]], w, Bright(), concept="lamp", where=where)
    assert lamp.inserted["lamp"] > lamp.whole["lamp"] + 0.5 * 16 / 256
    assert lamp.effect("lamp") == lamp.inserted["lamp"] - lamp.removed["lamp"] > 0.5 * 16 / 256
    assert idle.effect("lamp") == 0
    mirrored, *_ = styles.area_changes(lamp_model, LAYER, [[LAMP]], w, Bright(), concept="lamp")
    assert mirrored.inserted["lamp"] > mirrored.whole["lamp"]


def test_forced_to_nothing_is_feature_zeroing(model: Generator) -> None:
    w = model.map(model.sample_z([3, 4]))
    before = model.synthesize(w)
    for layer in ("b8.conv0", "b16.conv1", "b32.torgb"):
        with forced(model, layer, [2, 5]):
            mine = model.synthesize(w)
        with styles.turned(model, {(layer, 2): 0.0, (layer, 5): 0.0}, mode="feature"):
            theirs = model.synthesize(w)
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
        assert not torch.equal(mine, before)
    assert torch.equal(model.synthesize(w), before)


def test_forced_to_its_own_value_changes_nothing_and_holds_what_is_asked(model: Generator) -> None:
    w, layer = model.map(model.sample_z([3, 4])), "b16.conv1"
    before = model.synthesize(w)
    with forced(model, layer, [1, 4], torch.tensor([0.7, -0.2]), where=torch.zeros(2, 8, 8)):
        torch.testing.assert_close(model.synthesize(w), before, atol=1e-5, rtol=1e-4)
    half = torch.zeros(2, 16, 16)
    half[:, :, :8] = 1
    plain, seen = maps_of(model, layer, w), []
    hook = model.module(layer).register_forward_pre_hook(  # before `forced`, so it sees what was there
        lambda _, given: seen.append((given[0] * given[1][:, :, None, None]).clone())
    )
    with forced(model, layer, [1], 0.7, where=half):
        model.module(layer).register_forward_pre_hook(
            lambda _, given: seen.append((given[0] * given[1][:, :, None, None]).clone())
        )
        model.synthesize(w)
    hook.remove()
    own, held = seen[0], seen[-1]
    torch.testing.assert_close(own, plain)
    torch.testing.assert_close(held[:, 1, :, :8], torch.full((2, 16, 8), 0.7))
    torch.testing.assert_close(held[:, 1, :, 8:], plain[:, 1, :, 8:])
    torch.testing.assert_close(held[:, 2:], plain[:, 2:])
    model.module(layer)._forward_pre_hooks.clear()


def test_levels_are_means_where_the_thing_stands() -> None:
    maps, masks = torch.zeros(2, 1, 2, 2), torch.zeros(2, 4, 4)
    maps[0, 0, 0, 0], maps[1, 0, 0, 0] = 3.0, 1.0
    masks[:, :2, :2] = 1
    assert present_levels(maps, masks).tolist() == [2.0]


def test_bad_requests_are_sentences(lamp_model: Generator, w: Tensor) -> None:
    ask = styles.area_changes
    with pytest.raises(ValueError, match="knows no 'cat'; it knows lamp, highlight, moon"):
        ask(lamp_model, LAYER, [[LAMP]], w, Bright(), concept="cat")
    with pytest.raises(ValueError, match="sees no moon in these 12 pictures"):
        ask(lamp_model, LAYER, [[LAMP]], w, Bright(), concept="moon")
    with pytest.raises(ValueError, match="has units 0 to 5, no 9"):
        ask(lamp_model, LAYER, [[9]], w, Bright(), concept="lamp")
    with pytest.raises(ValueError, match="no layer"):
        ask(lamp_model, "b99.conv1", [[0]], w, Bright(), concept="lamp")
    with pytest.raises(ValueError, match="masks for 3 pictures and 12"):
        ask(lamp_model, LAYER, [[LAMP]], w, Bright(), concept="lamp", where=torch.ones(3, 16, 16))
    with pytest.raises(ValueError, match="3 levels for 1 units"), forced(lamp_model, LAYER, [1], torch.ones(3)):
        pass


def test_the_verb_labels_by_a_segmenter_and_tells_areas(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = styles.load_generator("demo", device="cpu")
    layer = next(each.name for each in reversed(model.layers) if each.kind != "torgb")
    seer = styles.load_segmenter("demo", device="cpu")
    concept = next(iter(styles.dissect(model, layer, model.map(model.sample_z(range(16))), seer).counts()))
    ask = ("dissect", "--layer", layer, "--seeds", "0-15", "--segmenter", "demo")
    assert run(monkeypatch, tmp_path, *ask, "--change", concept, "--out", "r.html") == 0
    told = capsys.readouterr().out
    assert f"units of {layer} detect something" in told
    assert "removed 1" in told
    assert "inserted 1" in told
    assert (tmp_path / "r.html").is_file()
    for words, said in (
        ((*ask, "--concepts", "shade,tree", "--out", "x.html"), "knows no 'tree'"),
        ((*ask, "--change", "tree", "--out", "x.html"), "knows no 'tree'"),
        ((*ask, "--masks", ".", "--out", "x.html"), "--masks or --segmenter"),
        ((*ask[:5], "--change", "bed", "--out", "x.html"), "need --segmenter"),
        ((*ask[:-1], "nowhere.safetensors", "--out", "x.html"), "no file 'nowhere.safetensors'"),
    ):
        assert run(monkeypatch, tmp_path, *words) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "x.html").exists()
