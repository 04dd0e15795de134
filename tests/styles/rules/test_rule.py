"""A rule rewritten: its algebra against plain oracles, its effect on pictures nobody marked, undoing and refusals."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from planted import tiny

import styles
from styles.demo.measure import HELD_OUT, lit_latents
from styles.demo.renderer import SIDE, factors_of, render
from styles.generator import Generator
from styles.rules.keys import Arrival, as_matrix, as_weight, convolution, unfolded
from styles.rules.solving import rank_update
from styles.rules.wanted import coloured_shift, mean_value, places_of
from styles.units.goals import region_mean
from styles.units.natural import latents

BLUE = (0.25, 0.4, 0.95)
LAYER = "b16.conv1"


@pytest.fixture
def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    rows = torch.randn(200, 12, dtype=torch.float64) * torch.linspace(0.2, 3, 12, dtype=torch.float64)
    return torch.randn(12, 5).double(), torch.randn(4, 5).double(), rows.T @ rows / 200


def test_at_full_rank_it_is_the_hard_rule_and_the_least_change(
    problem: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    k, r, c = problem
    left, right = rank_update(k, r, c, 99)
    change, inverse = left @ right, torch.linalg.inv(c)
    torch.testing.assert_close(change, r @ torch.linalg.inv(k.T @ inverse @ k) @ k.T @ inverse)
    torch.testing.assert_close(change @ k, r)
    free = torch.randn(4, 12).double() @ (torch.eye(12) - k @ torch.linalg.pinv(k))
    assert torch.trace((change + free) @ c @ (change + free).T) > torch.trace(change @ c @ change.T)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_at_low_rank_it_is_least_squares_over_the_main_directions(
    rank: int, problem: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> None:
    """The oracle takes the symmetric root of C and solves for Λ numerically."""
    k, r, c = problem
    values, axes = torch.linalg.eigh(c)
    root = axes @ torch.diag(values.rsqrt()) @ axes.T
    directions = root @ torch.linalg.eigh(root @ k @ k.T @ root).eigenvectors[:, -rank:]
    weights = torch.linalg.lstsq(k.T @ directions, r.T).solution.T
    left, right = rank_update(k, r, c, rank)
    assert left.shape == (4, rank)
    torch.testing.assert_close(left @ right, weights @ directions.T)


@pytest.mark.parametrize("layer", ["b16.conv0", "b16.conv1"])
def test_a_convolution_is_a_matrix_over_its_keys(layer: str, model: Generator) -> None:
    module = convolution(model, layer)
    x = torch.randn(2, module.weight.shape[1], 8, 8)
    plain = module.linear(x, module.weight)
    torch.testing.assert_close(
        (as_matrix(module, module.weight) @ unfolded(module, x)).unflatten(2, plain.shape[2:]), plain
    )
    assert torch.equal(as_weight(module, as_matrix(module, module.weight)), module.weight)


@pytest.mark.parametrize("layer", ["b4.conv1", "b16.conv0", "b32.conv1"])
def test_the_layers_after_it_paint_the_picture(layer: str, model: Generator, w: torch.Tensor) -> None:
    arrival = Arrival.at(model, layer, w)
    torch.testing.assert_close(arrival.painted(arrival.values()), model.synthesize(w), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [3, 7])
def test_the_moment_is_that_of_all_keys(batch: int, model: Generator) -> None:
    found = styles.key_moment(model, LAYER, samples=7, batch=batch)
    w = torch.cat(list(latents(model, 7, truncation=1.0, seed=0, batch=batch)))
    keys = Arrival.at(model, LAYER, w).keys.transpose(1, 2).flatten(0, 1).double()
    torch.testing.assert_close(found.moment, keys.T @ keys / len(keys), rtol=1e-4, atol=1e-4)
    even = torch.eye(len(keys.T), dtype=torch.float64) * found.moment.diagonal().mean()
    torch.testing.assert_close(found.shrunk(1), even)
    torch.testing.assert_close(found.shrunk(0.25), 0.75 * found.moment + 0.25 * even)


@pytest.fixture
def rule(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> styles.RuleEdit:
    few = styles.key_moment(model, LAYER, samples=8)
    values = torch.linspace(-1, 1, 16)
    return styles.rewrite_rule(model, LAYER, keys=(w[:2], mask), values=values, rank=3, statistics=few)


def test_it_comes_back_bit_for_bit(rule: styles.RuleEdit, model: Generator, w: torch.Tensor) -> None:
    weights, image = {k: v.clone() for k, v in model.state_dict().items()}, model.synthesize(w)
    with suppress(RuntimeError), rule.applied(model), rule.applied(model, strength=-0.5):
        assert not torch.equal(model.synthesize(w), image)
        raise RuntimeError("inside")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.synthesize(w), image)
    with rule.applied(model, strength=0):
        assert torch.equal(model.synthesize(w), image)


def test_merged_is_applied(rule: styles.RuleEdit, w: torch.Tensor, model: Generator) -> None:
    other = tiny()
    with rule.applied(model, strength=0.7):
        shown = model.synthesize(w)
    rule.merge_into(other, strength=0.7)
    assert torch.equal(other.synthesize(w), shown)


@pytest.mark.parametrize("layer", ["b16.conv0", "b16.conv1"])
def test_values_arrive_at_the_marked_places(layer: str, model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    """At full rank the marked places' values before demodulation move exactly as wanted."""
    few = styles.key_moment(model, layer, samples=8)
    arrival, places = Arrival.at(model, layer, w), places_of(mask[None].expand(3, -1, -1), 16)
    goal = mean_value(arrival, places) + 0.01 * torch.linspace(-1, 1, 16)
    edit = styles.rewrite_rule(model, layer, keys=(w, mask), values=goal, rank=999, statistics=few)
    change = as_matrix(convolution(model, layer), edit.delta(model))
    moved = (arrival.gain * (change @ arrival.keys)).transpose(1, 2)[places]
    torch.testing.assert_close(moved, (0.01 * torch.linspace(-1, 1, 16)).expand_as(moved), rtol=5e-2, atol=5e-4)
    assert dict(edit.measured)["values"] == pytest.approx(1, abs=0.1)


def test_a_pasted_region_brings_its_mean_values(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    few = styles.key_moment(model, LAYER, samples=8)
    other = mask.flip(0, 1)
    arrival, there = Arrival.at(model, LAYER, w[2:]), places_of(other[None], 16)
    common = {"rank": 2, "statistics": few}
    pasted = styles.rewrite_rule(
        model, LAYER, keys=(w[:2], mask), values=styles.Region(w[2:], other), **common  # type: ignore[arg-type]
    )  # fmt: skip
    told = styles.rewrite_rule(
        model, LAYER, keys=(w[:2], mask), values=mean_value(arrival, there), **common  # type: ignore[arg-type]
    )  # fmt: skip
    assert torch.equal(pasted.left, told.left)
    assert float(pasted.left.abs().max()) > 0


def shades(model: Generator, seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    z = lit_latents(count, seed=seed)
    return model.map(z), render(factors_of(z)).masks["shade"]


def way(model: Generator, edit: styles.RuleEdit, w: torch.Tensor, shade: torch.Tensor) -> tuple[float, float]:
    """Mean share of the way to blue, and the mean change outside, at strength 2."""
    before = model.synthesize(w)
    with edit.applied(model, strength=2.0):
        after = model.synthesize(w)
    start, end = region_mean(before, shade), region_mean(after, shade)
    goal = 2 * torch.tensor(BLUE) - 1 - start
    outside = ((after - before).abs().mean(1) / 2 * (1 - shade)).sum() / (1 - shade).sum()
    return float((((end - start) * goal).sum(1) / goal.square().sum(1)).mean()), float(outside)


def test_it_holds_in_rooms_nobody_marked() -> None:
    """Marked shades turn others blue; the same goal for a piece of wall, or values that shift nothing, do not."""
    model = styles.load_generator("demo", device="cpu")
    (w, shade), (others, seen) = shades(model, HELD_OUT + 7, 4), shades(model, HELD_OUT + 13, 12)
    few = styles.key_moment(model, "b32.conv0", samples=30)
    edit = styles.rewrite_rule(model, "b32.conv0", keys=(w, shade), values=BLUE, rank=4, statistics=few)
    wall = torch.zeros(SIDE, SIDE)
    wall[SIDE // 16 : SIDE // 5, SIDE // 2 - SIDE // 16 : SIDE // 2 + SIDE // 16] = 1
    arrival, places = Arrival.at(model, "b32.conv0", w), places_of(shade, 32)
    goal = coloured_shift(arrival, shade, places, BLUE)
    there = mean_value(arrival, places_of(wall[None].expand(4, -1, -1), 32))
    control = styles.rewrite_rule(model, "b32.conv0", keys=(w, wall), values=there + goal, rank=4, statistics=few)
    share, outside = way(model, edit, others, seen)
    assert share > 0.4
    assert outside < 0.03
    assert way(model, control, others, seen)[0] < 0.5 * share
    assert dict(edit.measured)["reached"] > 0.3


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "empty": ({"mask": torch.zeros(32, 32)}, "is empty; mark the region"),
    "everything": ({"mask": torch.ones(32, 32)}, "covers the whole picture"),
    "size": ({"mask": torch.ones(10, 32)}, "is 10 x 32; give 32 x 32, or 3 x 32 x 32"),
    "number": ({"mask": torch.ones(2, 32, 32)}, "is 2 x 32 x 32; give"),
    "range": ({"mask": torch.full((32, 32), 2.0)}, "numbers from 0 to 1"),
    "nan": ({"mask": torch.full((32, 32), float("nan"))}, "NaN"),
    "torgb": ({"layer": "b16.torgb"}, "holds no rule"),
    "layer": ({"layer": "b99.conv1"}, "no layer 'b99.conv1'"),
    "rank": ({"rank": 0}, "rank must be at least 1"),
    "width": ({"values": torch.ones(5)}, "16 output channels, values are"),
    "colour": ({"values": (0.1, 2.0, 0.3)}, "numbers from 0 to 1"),
    "pasted": ({"values": "empty"}, "mask of the values is empty"),
    "shrinkage": ({"shrinkage": 1.5}, "share from 0"),
    "statistics": ({"statistics": "b8.conv1"}, "statistics are of b8.conv1"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=list(REFUSED))
def test_it_is_refused_in_one_sentence(
    given: dict[str, Any], message: str, model: Generator, w: torch.Tensor, mask: torch.Tensor
) -> None:
    asked = {"values": torch.ones(16), "layer": LAYER, **given}
    if isinstance(asked["values"], str):
        asked["values"] = styles.Region(w, torch.zeros(32, 32))
    asked["statistics"] = styles.key_moment(model, asked.get("statistics", LAYER), samples=3)
    layer, marked = asked.pop("layer"), asked.pop("mask", mask)
    with pytest.raises(ValueError, match=message) as error:
        styles.rewrite_rule(model, layer, keys=(w, marked), **asked)
    assert "\n" not in str(error.value)


def test_a_turned_generator_and_foreign_statistics_are_refused(
    model: Generator, w: torch.Tensor, mask: torch.Tensor
) -> None:
    other = styles.key_moment(tiny(seed=1), LAYER, samples=3)
    with pytest.raises(ValueError, match="another generator; count them"):
        styles.rewrite_rule(model, LAYER, keys=(w, mask), values=torch.ones(16), statistics=other)
    with styles.turned(model, {("b16.conv1", 3): 0.0}), pytest.raises(ValueError, match="outside the with block"):
        styles.key_moment(model, LAYER, samples=3)
