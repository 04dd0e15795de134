"""A control solved from a mask: it does what is asked where a lamp is planted, and tells what it reached."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import FLOOR, LAMP, WARM

import styles
from styles.generator import Generator
from styles.units.goals import luminance, region_mean
from styles.units.natural import Natural


@pytest.fixture(scope="module")
def switch(lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor) -> styles.UnitEdit:
    return styles.solve_control(lamp_model, lit[:1], place)


def light(model: Generator, w: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return region_mean(luminance(model.synthesize(w)) + 0.5, place[None])[:, 0]


def test_the_switch_turns_the_planted_unit_and_hardly_the_others(
    switch: styles.UnitEdit, lamp_model: Generator
) -> None:
    shift = switch.shifts(lamp_model)["b16.torgb"]
    assert float(shift[LAMP]) < 0
    assert float(shift[[WARM, FLOOR]].abs().max()) < 0.3 * float(shift[LAMP].abs())


def test_its_effect_is_measured_not_extrapolated(
    switch: styles.UnitEdit, lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor
) -> None:
    told = dict(switch.measured)
    assert 0.7 < told["reached"] < 1.1
    before = lamp_model.synthesize(lit[:1])
    with switch.applied(lamp_model):
        after = lamp_model.synthesize(lit[:1])
    rest = 1 - place
    outside = ((after - before).abs().mean(1)[0] / 2 * rest).sum() / rest.sum()
    assert told["outside"] == pytest.approx(float(outside), abs=2e-4)
    y = Natural.of(lamp_model).move(lamp_model, switch.shifts(lamp_model))
    assert told["distance"] == pytest.approx(float(y.norm()), abs=1e-3)


def test_zero_is_the_picture_and_minus_one_brightens_also_elsewhere(
    switch: styles.UnitEdit, lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor, tmp_path: Path
) -> None:
    image, own = lamp_model.synthesize(lit), light(lamp_model, lit, place)
    switch.save(tmp_path / "switch.json")
    loaded = styles.UnitEdit.load(tmp_path / "switch.json")
    assert loaded == switch
    with loaded.applied(lamp_model, strength=0):
        assert torch.equal(lamp_model.synthesize(lit), image)
    with loaded.applied(lamp_model):
        assert bool((light(lamp_model, lit, place) < own - 0.05).all())
    with loaded.applied(lamp_model, strength=-1):
        assert bool((light(lamp_model, lit, place) > own + 0.05).all())
    with loaded.applied(lamp_model, strength=[0.0, 1.0, 0.0, 1.0, 0.0]):
        mixed = lamp_model.synthesize(lit)
    assert torch.equal(mixed[::2], image[::2])
    assert not torch.equal(mixed[1::2], image[1::2])
    assert torch.equal(lamp_model.synthesize(lit), image)


def test_half_is_asked_and_half_is_reached(lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor) -> None:
    half = styles.solve_control(lamp_model, lit[:1], place, darken=0.5)
    more = styles.solve_control(lamp_model, lit[:1], place, darken=-0.5)
    assert dict(half.measured)["reached"] == pytest.approx(1, abs=0.05)
    own = light(lamp_model, lit[:1], place)
    for edit, sign in ((half, -1), (more, 1)):
        with edit.applied(lamp_model):
            assert float((light(lamp_model, lit[:1], place) - own) * sign) > 0.03


def test_one_neuron_is_the_planted_one(lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor) -> None:
    one = styles.solve_control(lamp_model, lit[:2], place, units=1)
    assert [(layer, channel) for layer, channel, _ in one.units] == [("b16.torgb", LAMP)]
    assert dict(one.measured)["kept"] > 0.9
    other = styles.solve_control(lamp_model, lit[:2], place, units=[("b16.torgb", FLOOR)])
    assert dict(other.measured)["kept"] < 0.2


def test_even_strengths_end_where_the_marked_picture_did(
    switch: styles.UnitEdit, lamp_model: Generator, lit: torch.Tensor
) -> None:
    strengths = styles.even_strengths(lamp_model, lit, switch)
    assert float(strengths[0]) == pytest.approx(1, abs=0.1)
    assert float(strengths.std()) > 0.05
    y = Natural.of(lamp_model).move(lamp_model, switch.shifts(lamp_model))
    natural = Natural.of(lamp_model)
    ends = natural.place(lamp_model.full_w(lit)) @ y / y.norm() + strengths * y.norm()
    torch.testing.assert_close(ends, torch.full_like(ends, dict(switch.measured)["place"]), atol=2e-3, rtol=0)
    with switch.applied(lamp_model):
        pass
    with pytest.raises(ValueError, match="does not tell where it ends"):
        styles.even_strengths(lamp_model, lit, styles.UnitEdit(switch.units, "shift"))
