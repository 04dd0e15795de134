"""The closed form behind a control: what is kept, what else can be asked, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from planted import LAMP, WARM

import styles
from styles.generator import Generator
from styles.units.goals import ALL, coloured, colours, darker, region_mean, resized
from styles.units.natural import Natural, latents
from styles.units.solving import Solve, Weights


@pytest.fixture(scope="module")
def lit(lit: torch.Tensor) -> torch.Tensor:
    """Two of the lit pictures."""
    return lit[:2]


@pytest.fixture(scope="module")
def dim(lamp_model: Generator) -> Generator:
    """The planted generator with colours inside the display's range."""
    model = copy.deepcopy(lamp_model)
    model.module("b16.torgb").weight.mul_(0.2)
    return model


def test_natural_directions_are_those_of_w(model: Generator) -> None:
    natural = Natural.of(model)
    w = next(latents(model, 3000, truncation=1.0, seed=9, batch=3000))
    y = natural.place(w[:, None].expand(-1, model.num_ws, -1))
    torch.testing.assert_close(torch.cov(y.T), torch.eye(len(natural)), atol=0.15, rtol=0)
    move = torch.randn(len(natural), generator=torch.Generator().manual_seed(0))
    shift = natural.shift(model, move)
    torch.testing.assert_close(natural.move(model, shift), move, atol=1e-3, rtol=0)
    moved = model.styles(w[:1] + natural.directions @ move)
    for name, value in model.styles(w[:1]).items():
        torch.testing.assert_close(value[0] + shift[name], moved[name][0], atol=1e-4, rtol=1e-4)


def test_the_solution_is_the_minimum_of_the_written_sum(
    lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor
) -> None:
    """Any other move makes mean_M ‖Jy - t‖² + o mean_out ‖Jy‖² + λ‖y‖² larger, computed from its definition."""
    weights = Weights(outside=0.3, prior=0.01)
    job = Solve(lamp_model, lit[:1], place)
    goal = darker(job.before, job.masks, 1.0, job.own)
    start = torch.zeros(len(job.natural))
    normal, right, kept = job.normal(goal, weights, 0, start)
    assert kept.shape == (0, len(job.natural))
    j, _ = job.differences(0, start)
    inside, outside = job.masks[0], 1 - job.masks[0]

    wanted = goal.wanted[0, 0]
    wanted = 0.8 * wanted / ((wanted.square() * inside).sum() / inside.sum()).sqrt()

    def total(y: torch.Tensor) -> float:
        change = torch.einsum("k,kchw->chw", y, j)
        seen = torch.einsum("chw,c->hw", change, torch.tensor([0.2126, 0.7152, 0.0722])) / 2 - wanted
        seen = seen.square()
        rest = (change / 2).square().mean(0)
        held = 0.3 * (rest * outside).sum() / outside.sum()
        return float((seen * inside).sum() / inside.sum() + held + 0.01 * y.square().sum())

    best = torch.linalg.solve(normal, right)
    random = torch.Generator().manual_seed(1)
    for _ in range(20):
        other = best + 0.05 * torch.randn(len(best), generator=random)
        assert total(best) < total(other)


def test_what_is_kept_does_not_move(lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor) -> None:
    """The mark lies on lamp and highlight, so that both would go dark: kept, the highlight stays."""
    floor = torch.zeros(16, 16)
    floor[10:, 6:12] = 1
    both = (place + floor).clamp(0, 1)
    corner = region_mean(colours(lamp_model.synthesize(lit[:1])), floor[None])

    def fall(keep: object) -> float:
        edit = styles.solve_control(lamp_model, lit[:1], both, darken=0.5, keep_named=keep)  # type: ignore[arg-type]
        with edit.applied(lamp_model):
            return float((region_mean(colours(lamp_model.synthesize(lit[:1])), floor[None]) - corner).abs().max())

    free = fall(None)
    assert free > 0.02
    assert fall({"floor": floor}) < 0.1 * free
    assert fall({"floor": lambda pictures: region_mean(pictures, floor[None])}) < 0.1 * free


def test_another_control_is_kept(dim: Generator, lit: torch.Tensor, place: torch.Tensor) -> None:
    first = styles.solve_control(dim, lit[:1], place, darken=0.5)
    natural = Natural.of(dim)
    other = styles.solve_control(dim, lit[:1], place, colour=warmer(dim, lit, place), keep_named={"lamp": first})
    one, two = (natural.move(dim, edit.shifts(dim)) for edit in (first, other))
    assert abs(float(torch.nn.functional.cosine_similarity(one, two, dim=0))) < 1e-3


def warmer(model: Generator, lit: torch.Tensor, place: torch.Tensor) -> tuple[float, float, float]:
    """The region's colour with some red more and some blue less."""
    red, green, blue = region_mean(colours(model.synthesize(lit[:1])) + 0.5, place[None])[0].tolist()
    return red + 0.05, green, blue - 0.05


def test_a_colour_is_asked(dim: Generator, lit: torch.Tensor, place: torch.Tensor) -> None:
    before = region_mean(colours(dim.synthesize(lit[:1])), place[None])[0]
    edit = styles.solve_control(dim, lit[:1], place, colour=warmer(dim, lit, place))
    with edit.applied(dim):
        after = region_mean(colours(dim.synthesize(lit[:1])), place[None])[0]
    assert dict(edit.measured)["reached"] == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(after - before, torch.tensor([0.05, 0.0, -0.05]), atol=0.02, rtol=0)
    assert int(edit.shifts(dim)["b16.torgb"].abs().argmax()) == WARM


def test_the_goals_measure_what_they_name() -> None:
    picture = torch.full((1, 3, 32, 32), -0.6)
    picture[:, :, 12:20, 12:20] = 0.6
    mask = torch.zeros(1, 32, 32)
    mask[:, 12:20, 12:20] = 1
    own = torch.full((8, 3, 32, 32), -0.6)
    dark = darker(picture, mask, 1.0, own)
    half = picture.clone()
    half[:, :, 12:20, 12:20] = 0.0
    assert float(dark.share(picture, ALL)) == pytest.approx(0)
    assert float(dark.share(half, 0)) == pytest.approx(0.5)
    assert float(dark.share(own[:1], 0)) == pytest.approx(1)
    large = torch.full((1, 3, 32, 32), -0.6)
    large[:, :, 10:22, 10:22] = 0.6
    grown = resized(picture, mask, 1.5)
    assert float(grown.share(large, 0)) == pytest.approx(1, abs=0.15)
    assert float(grown.share(picture, 0)) == 0
    assert float(resized(picture, mask, 0.7).share(large, 0)) <= 0
    red = coloured(picture, mask, (0.8, 0.8, 0.2))
    tinted = picture.clone()
    tinted[:, 2, 12:20, 12:20] = -0.6
    assert float(red.share(tinted, 0)) == pytest.approx(1, abs=1e-4)


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "two things": ({"darken": 1.0, "size": 2.0}, "one thing at a time, got darken and size"),
    "nothing dark": ({"darken": 0.0}, "from -2 to 2 and not 0"),
    "nan": ({"darken": float("nan")}, "from -2 to 2 and not 0"),
    "colour": ({"colour": (2.0, 0.0, 0.0)}, "numbers from 0 to 1"),
    "size": ({"size": 1.0}, "a factor from 0.3 to 3 and not 1"),
    "many units": ({"units": 40}, "1 to 12, got 40"),
    "no units": ({"units": []}, "units is empty"),
    "unknown unit": ({"units": [("b99.conv1", 1)]}, "no layer 'b99.conv1'"),
    "reader": ({"keep_named": {"x": lambda pictures: torch.zeros(3)}}, "numbers for each picture"),
    "kept": ({"keep_named": {"x": 3}}, "masks, unit edits or functions"),
    "all kept": (
        {"keep_named": {"x": lambda pictures: pictures[:, :, ::4, ::4].flatten(1)}},
        "cannot make the region darker",
    ),
    "steps": ({"steps": 0}, "at least 1"),
    "noise": ({"noise": "random"}, "noise const or none"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=list(REFUSED))
def test_settings_that_are_refused(
    lamp_model: Generator, lit: torch.Tensor, place: torch.Tensor, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        styles.solve_control(lamp_model, lit[:1], place, **options)  # type: ignore[arg-type]


def test_masks_that_are_refused(lamp_model: Generator, lit: torch.Tensor) -> None:
    for mask, message in ((torch.zeros(16, 16), "is empty"), (torch.ones(16, 16), "covers the whole image")):
        with pytest.raises(ValueError, match=message):
            styles.solve_control(lamp_model, lit[:1], mask)
    nearly = torch.ones(16, 16)
    nearly[0, 0] = 0
    with pytest.raises(ValueError, match="nothing surrounds the mask"):
        styles.solve_control(lamp_model, lit[:1], nearly)
    dark = torch.zeros(16, 16)
    dark[1:4, 12:15] = 1
    with pytest.raises(ValueError, match=r"picture 0 is dark: it stands"):
        styles.solve_control(lamp_model, lit[:1], dark)
    with (
        styles.turned(lamp_model, {("b16.torgb", LAMP): 1.0}),
        pytest.raises(ValueError, match="outside the with block"),
    ):
        styles.solve_control(lamp_model, lit[:1], dark)


def test_it_tells_how_far_it_came(dim: Generator, lit: torch.Tensor, place: torch.Tensor) -> None:
    """The planted lamp is brighter or warmer; green it can become a little way at most."""
    with pytest.warns(UserWarning, match=r"came \d+% of the way"):
        edit = styles.solve_control(dim, lit[:1], place, colour=(0.2, 1.0, 0.2))
    assert dict(edit.measured)["reached"] < 0.7
