"""The embedded rooms against what the renderer knows about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import styles
from styles.demo import weights_file
from styles.demo.measure import FactorReader, draw, explained, lit_latents, main_factor, precisions, rooms
from styles.demo.measure import attribute as attributed
from styles.demo.measure import directions as basis_of
from styles.demo.renderer import FACTORS, MASKS, factors_of, render
from styles.generator import Generator
from styles.units.ranking import Ranking

LAMP = FACTORS.index("lamp")


@pytest.fixture(scope="module")
def demo() -> Generator:
    return styles.load_generator("demo")


@pytest.fixture(scope="module")
def reader() -> FactorReader:
    return FactorReader.fit(rooms_seen=500)


@pytest.fixture(scope="module")
def z() -> torch.Tensor:
    return lit_latents(8)


@pytest.fixture(scope="module")
def ranking(demo: Generator, z: torch.Tensor) -> Ranking:
    """Eight lit rooms with the renderer's own masks, screened."""
    masks = {name: mask for name, mask in render(factors_of(z)).masks.items() if name in ("shade", "reflection")}
    return styles.rank_units(demo, demo.map(z), masks, confirm=60, probes=2)


def test_each_factor_changes_what_it_names() -> None:
    factors = torch.full((len(FACTORS), len(FACTORS)), 0.6)
    more = factors + 0.3 * torch.eye(len(FACTORS))
    before, after = render(factors), render(more)
    change = (after.images - before.images).abs().mean(1)
    assert bool((change.flatten(1).amax(1) > 0.02).all())
    places = {"warmth": "shade", "gloss": "floor", "window_width": "window", "picture_a": "picture", "bed_a": "bed"}
    for name, mask in places.items():
        k = FACTORS.index(name)
        inside, outside = before.masks[mask][k] > 0.9, before.masks[mask][k] < 0.1
        assert float(change[k][inside].mean()) > float(change[k][outside].mean())


def test_a_lamp_that_is_off_gives_no_light() -> None:
    off = torch.full((1, len(FACTORS)), 0.5)
    off[0, LAMP] = 0.1
    other = off.clone()
    other[0, FACTORS.index("warmth")] = 0.9
    assert torch.equal(render(off).images, render(other).images)
    lit = off.clone()
    lit[0, LAMP] = 0.9
    gain = (render(lit).images - render(off).images)[0].mean(0)
    masks = render(off).masks
    assert float(gain[masks["shade"][0] > 0.9].mean()) > 0.3
    assert float(gain[masks["reflection"][0] > 0.5].mean()) > float(gain[masks["window"][0] > 0.9].mean())


def test_masks_are_soft_and_disjoint() -> None:
    rendering = render(factors_of(draw(5, 8)))
    assert tuple(rendering.masks) == MASKS
    for mask in rendering.masks.values():
        assert float(mask.min()) >= 0
        assert float(mask.max()) <= 1
        assert bool((mask.amax((1, 2)) > 0.5).all())
    masks = rendering.masks
    assert float((masks["shade"] * masks["floor"]).max()) < 0.5
    assert float((masks["reflection"] * (1 - masks["floor"])).max()) < 0.6


def test_factors_are_even_and_bad_input_is_refused() -> None:
    factors = factors_of(draw(1, 4000))
    torch.testing.assert_close(factors.mean(0), torch.full((len(FACTORS),), 0.5), atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="z must be"):
        factors_of(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="factors must be"):
        render(torch.zeros(1, 5))


def test_the_shipped_file_is_whole_and_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights_file()
    assert path.stat().st_size < 12e6
    assert json.loads(path.with_name("rooms.json").read_text())["config"]["resolution"] >= 64
    (tmp_path / "rooms.safetensors").write_bytes(path.read_bytes()[:-1] + b"x")
    (tmp_path / "rooms.json").write_bytes(path.with_name("rooms.json").read_bytes())
    monkeypatch.setattr("styles.demo.FOLDER", tmp_path)
    with pytest.raises(ValueError, match="does not match its checksum"):
        styles.load_generator("demo")


def test_light_follows_its_factors(demo: Generator, reader: FactorReader) -> None:
    """The factors read off generated pictures, with the reader's error on rendered ones as the yardstick."""
    latents = draw(10_000_500, 96)
    factors = factors_of(latents)
    truth, painted = (explained(factors, reader.read(p)) for p in (rooms(factors), demo.synthesize(demo.map(latents))))
    card = json.loads(weights_file().with_name("rooms.json").read_text())["factor_r2"]
    for name in ("lamp", "day", "pendant"):
        assert painted[name] > 0.8
        assert painted[name] > truth[name] - 0.15
        assert painted[name] == pytest.approx(card[name], abs=0.1)


def test_the_attribution_knows_its_own_factors() -> None:
    factors = factors_of(lit_latents(6))
    basis = basis_of(factors)
    for name in ("lamp", "warmth", "gloss", "wall_light"):
        k = FACTORS.index(name)
        less = factors.clone()
        less[:, k] *= 0.6
        assert main_factor(attributed(rooms(less) - rooms(factors), basis)) == name


def test_marked_light_and_reflection_find_the_lamp(demo: Generator, ranking: Ranking, z: torch.Tensor) -> None:
    found = precisions(demo, ranking, z, every=25)
    for name in ("light", "reflection"):
        assert found[name]["@5"] >= 0.4
        assert found[name]["@10"] > 2 * found[name]["chance"]


def test_the_screen_finds_what_exact_ablation_finds(demo: Generator, z: torch.Tensor) -> None:
    w, masks = demo.map(z[:1]), render(factors_of(z[:1])).masks
    exact = styles.rank_units(demo, w, masks["shade"], screen="none")
    quick = styles.rank_units(demo, w, masks["shade"], confirm=100)
    confirmed = set(quick.exact.nonzero()[:, 0].tolist())
    assert len(confirmed) < 0.5 * len(quick)
    assert len(set(exact.order()[:20]) & confirmed) / 20 >= 0.95
    assert quick.order()[:10] == exact.order()[:10]


def test_turning_the_top_light_unit_dims_the_lamp(
    demo: Generator, ranking: Ranking, reader: FactorReader, z: torch.Tensor
) -> None:
    top = ranking.top(1, mask="shade", label="light")[0]
    unit, w = (top.layer, top.channel), demo.map(z)
    before = demo.synthesize(w)
    region = render(factors_of(z)).masks
    place = torch.maximum(region["shade"], torch.maximum(region["glow"], region["reflection"]))
    with styles.turned(demo, {unit: 0.0}):
        everywhere = demo.synthesize(w)
    with styles.turned(demo, {unit: 0.0}, mask=place):
        inside = demo.synthesize(w)
    change = (reader.read(everywhere) - reader.read(before))[:, LAMP]
    assert float(change.abs().mean()) > 0.02  # one unit of many that light the lamp
    assert float((change.sign() == change.mean().sign()).float().mean()) > 0.7
    assert outside(inside - before, place) < 0.5 * outside(everywhere - before, place)


def test_a_switch_from_one_marked_room_darkens_others(demo: Generator, reader: FactorReader, z: torch.Tensor) -> None:
    """The mask of one room alone; the lamps of seven others go off, their mirror images too, and the day stays."""
    w, masks = demo.map(z), render(factors_of(z)).masks
    brightness = factors_of(z)[:, LAMP]
    typical = int(brightness.argsort()[len(z) // 2])
    switch = styles.solve_control(demo, w[typical : typical + 1], masks["shade"][typical])
    strengths = styles.even_strengths(demo, w, switch)
    before = demo.synthesize(w)
    with switch.applied(demo, strength=0):
        assert torch.equal(demo.synthesize(w), before)
    with switch.applied(demo, strength=strengths):
        after = demo.synthesize(w)
    moved = reader.read(after) - reader.read(before)
    assert float(moved[:, LAMP].mean()) < -0.4
    assert float((reader.read(after)[:, LAMP] < 0.35).float().mean()) > 0.9
    assert abs(float(moved[:, FACTORS.index("day")].mean())) < 0.15
    fall = (before - after).mean(1) * masks["reflection"]
    assert bool((fall.sum((1, 2)) / masks["reflection"].sum((1, 2)) > 0.05).float().mean() > 0.8)


def outside(change: torch.Tensor, place: torch.Tensor) -> float:
    """Share of a change that lies outside a region."""
    size = change.abs().mean(1)
    return float((size * (1 - place)).sum() / size.sum())


def test_the_slider_at_its_own_value(demo: Generator, ranking: Ranking, z: torch.Tensor) -> None:
    top = ranking.top(1)[0]
    w = demo.map(z[:2])
    own = demo.styles(w)[top.layer][:, top.channel]
    with styles.turned(demo, {(top.layer, top.channel): own}):
        assert torch.equal(demo.synthesize(w), demo.synthesize_styles(demo.styles(w)))
        turned = demo.synthesize(w)
    assert torch.equal(turned, demo.synthesize(w))
