"""The shortcuts of exact ablation against whole forward passes: equal to 1e-5."""

from __future__ import annotations

import pytest
import torch
from planted import tiny

from styles.generator import Generator
from styles.units.ablate import Ablation

ATOL = 1e-5


def naive(
    model: Generator, units: dict[str, torch.Tensor], name: str, channel: int, value: float, *, feature: bool
) -> torch.Tensor:
    """The image with one unit set, by running every layer."""
    turned = {key: row.clone() for key, row in units.items()}
    turned[name][0, channel] = value
    state = model.start(1)
    for layer in model.layers:
        held = units[layer.name] if feature else None
        state = model.step(layer.name, state, turned[layer.name], demodulate=held)
    assert state.rgb is not None
    return state.rgb


MODELS = {"skip": {}, "clamped": {"clamp": 1.0}, "orig": {"architecture": "orig"}}


@pytest.fixture(params=MODELS, ids=list(MODELS))
def any_model(request: pytest.FixtureRequest) -> Generator:
    return tiny(**MODELS[request.param])


@pytest.mark.parametrize("feature", [False, True], ids=["style", "feature"])
def test_rank_one_and_dense_suffix_equal_full_passes(any_model: Generator, feature: bool) -> None:
    units = any_model.styles(any_model.map(any_model.sample_z([3])))
    ablation = Ablation(any_model, units, numbers=12_000)  # small, so that batches are cut
    for layer in any_model.layers:
        channels = torch.arange(0, layer.channels, 3)
        values = torch.linspace(-2, 0, len(channels))
        seen = 0
        for change in ablation.changes(layer.name, channels, values, feature=feature):
            for image, at in zip(change.image, range(change.part.start, layer.channels), strict=False):
                held = feature and layer.kind != "torgb"
                full = naive(any_model, units, layer.name, int(channels[at]), float(values[at]), feature=held)
                torch.testing.assert_close(image[None], full, rtol=0, atol=ATOL)
                seen += 1
        assert seen == len(channels)


def test_torgb_in_closed_form(model: Generator) -> None:
    units = model.styles(model.map(model.sample_z([3])))
    ablation = Ablation(model, units)
    for layer in model.layers:
        if layer.kind != "torgb":
            continue
        channels = torch.arange(layer.channels)
        assert not ablation.clamped(layer.name, channels, torch.zeros(len(channels)))
        for change in ablation.rgb_changes(layer.name, channels, torch.zeros(len(channels))):
            made = change.colour[:, :, None, None] * change.map[:, None]
            for at, difference in enumerate(made, start=change.part.start):
                full = naive(model, units, layer.name, at, 0.0, feature=False)
                torch.testing.assert_close(ablation.image[0] + difference, full[0], rtol=0, atol=ATOL)


def test_an_active_clamp_is_noticed() -> None:
    model = tiny(clamp=0.5)
    ablation = Ablation(model, model.styles(model.map(model.sample_z([3]))))
    assert ablation.clamped("b32.torgb", torch.arange(4), torch.zeros(4))


def test_prefix_is_the_forward_pass(model: Generator, w: torch.Tensor) -> None:
    ablation = Ablation(model, model.styles(w[:1]))
    torch.testing.assert_close(ablation.image, model.synthesize(w[:1]), rtol=0, atol=0)
    at = len(ablation.layers) // 2
    for change in ablation.rest(at, ablation.before[ablation.layers[at].name]):
        torch.testing.assert_close(change.image, ablation.image, rtol=0, atol=ATOL)


def test_scoring_at_a_smaller_rgb(model: Generator, w: torch.Tensor) -> None:
    ablation = Ablation(model, model.styles(w[:1]), stop=16)
    assert ablation.image.shape[-1] == 16
    assert max(layer.resolution for layer in ablation.layers) == 16
