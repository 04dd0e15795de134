"""Sliders: the goal against the formula, row by row; both ends by the sign of the strength; YAML, LoRA, refusals."""

from __future__ import annotations

import pytest
import tiny
import torch

import concept_edit as ce

SLIDER = ce.Steer("doctor", towards="old doctor", away="young doctor", wordings=("a {}", "photo of {}"))


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


def rows(model, prompt):
    """BOS to the last pad, and where EOS stands."""
    stream = model.encode([prompt])["text"]
    return stream.rows[0].double(), int(stream.eos[0])


def test_the_goal_of_every_row_is_moved_by_the_difference_of_the_ends_in_place(model):
    found = ce.collect(model, ce.Recipe(edits=[SLIDER], method="uce", tokens="subject")).streams["text"].pairs
    assert found.goals is not None
    place = 0
    for template in SLIDER.templates():
        source, eos = rows(model, template.replace("{}", "doctor"))
        (high, high_eos), (low, low_eos) = (rows(model, end) for end in SLIDER.ends(template))
        head = len(template.replace("{}", "").split())
        pads = sorted({eos + 1, (eos + len(source)) // 2, len(source) - 1})
        own = [*range(1 + head, eos), eos, *pads]
        for row in [*range(1, 1 + head), *own]:
            if row <= head:
                moved = torch.zeros(source.shape[1])
            elif row < eos:
                moved = high[high_eos - 1] - low[low_eos - 1]
            else:
                last = len(source) - 1
                moved = high[min(high_eos + row - eos, last)] - low[min(low_eos + row - eos, last)]
            torch.testing.assert_close(found.sources[place].double(), source[row])
            torch.testing.assert_close(found.goals[place].double(), source[row] + moved, atol=1e-5, rtol=1e-5)
            place += 1
    assert place == len(found.sources)


def test_without_a_lower_end_it_is_the_concept_itself(model):
    slider = ce.Steer("doctor", towards="old doctor")
    outright = ce.Erase("doctor", guide="old doctor")
    goals = [
        ce.collect(model, ce.Recipe(edits=[e], method="uce")).streams["text"].pairs.goals for e in (slider, outright)
    ]
    torch.testing.assert_close(goals[0], goals[1])


def test_the_strength_slides_both_ways_and_the_weights_come_back(model):
    edit = ce.solve(model, ce.Recipe(edits=[SLIDER], preserve=["apple"], method="guarded"))
    before = {name: weight.clone() for name, weight in model.weights().items()}
    deltas = edit.delta(model)
    for strength in (-2.0, -0.5, 1.5):
        with edit.applied(model, strength):
            for name, weight in model.weights().items():
                torch.testing.assert_close(weight - before[name], strength * deltas[name], atol=1e-5, rtol=1e-4)
    assert all(bool((weight == before[name]).all()) for name, weight in model.weights().items())


def test_two_sliders_in_one_edit_come_apart_again(model):
    other = ce.Steer("teacher", towards="old teacher", away="young teacher")
    both = ce.solve(model, ce.Recipe(edits=[SLIDER, other], preserve=["apple"], method="uce"))
    alone = ce.solve(model, ce.Recipe(edits=[SLIDER], preserve=["apple"], method="uce"))
    assert both.concepts == ("doctor", "teacher")
    without = both.without("teacher").delta(model)
    assert all(torch.equal(without[name], delta) for name, delta in alone.delta(model).items())


def test_a_slider_travels_in_yaml_and_edit_files(model, tmp_path):
    asked = ce.Recipe(edits=[SLIDER], preserve=["apple"], method="guarded")
    assert "steer: doctor" in asked.to_yaml()
    assert ce.Recipe.from_yaml(asked.to_yaml()) == asked
    ce.solve(model, asked).save(tmp_path / "s.safetensors")
    assert ce.Edit.load(tmp_path / "s.safetensors").recipe == asked


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"towards": ""}, "name two ends"),
        ({"towards": "Doctor "}, "name two ends"),
        ({"towards": "old doctor", "away": "old  doctor"}, "name two ends"),
        ({"towards": "old doctor", "range": (1, 1)}, "lower strength first"),
        ({"towards": "old doctor", "wordings": ("a portrait",)}, r"write \{\}"),
    ],
)
def test_bad_sliders_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ce.Steer("doctor", **fields)


def acting(model):
    """Every matrix with the adapters that diffusers has put around it."""
    denoiser, found = getattr(model.pipeline, model.family.denoiser), {}
    for site in model.sites:
        layer = denoiser.get_submodule(site.name.removesuffix(".weight"))
        found[site.name] = layer.weight.detach().float().clone()
        for adapter in layer.active_adapters:
            found[site.name] += layer.get_delta_weight(adapter).detach().float()
    return found


def test_a_lora_at_a_weight_is_the_slider_at_that_strength(model, tmp_path):
    edit = ce.solve(model, ce.Recipe(edits=[SLIDER], preserve=["apple"], method="guarded"))
    wanted = {}
    for strength in (-2.0, -0.5, 1.5):
        with edit.applied(model, strength):
            wanted[strength] = {name: weight.float().clone() for name, weight in model.weights().items()}
    ce.export_lora(edit, model, tmp_path / "slider.safetensors", dtype="fp32")
    pipeline = model.pipeline
    pipeline.load_lora_weights(tmp_path / "slider.safetensors", adapter_name="slider")
    try:
        for strength, weights in wanted.items():
            pipeline.set_adapters(["slider"], [strength])
            got = acting(model)
            for name, delta in edit.delta(model).items():
                assert (got[name] - weights[name]).norm() <= 1e-5 * delta.norm(), (strength, name)
    finally:
        pipeline.unload_lora_weights()


def test_sliders_in_files_of_their_own_add_up(model, tmp_path):
    other = ce.Steer("teacher", towards="old teacher", away="young teacher")
    edits = [ce.solve(model, ce.Recipe(edits=[s], preserve=["apple"], method="guarded")) for s in (SLIDER, other)]
    before = {name: weight.float().clone() for name, weight in model.weights().items()}
    pipeline = model.pipeline
    for number, edit in enumerate(edits):
        ce.export_lora(edit, model, tmp_path / f"{number}.safetensors", dtype="fp32")
        pipeline.load_lora_weights(tmp_path / f"{number}.safetensors", adapter_name=f"s{number}")
    try:
        pipeline.set_adapters(["s0", "s1"], [1.5, -0.5])
        got = acting(model)
    finally:
        pipeline.unload_lora_weights()
    first, second = (edit.delta(model) for edit in edits)
    for name, weight in before.items():
        change = 1.5 * first[name] - 0.5 * second[name]
        assert change.norm() > 0
        assert (got[name] - weight - change).norm() <= 1e-5 * change.norm()
    with edits[0].applied(model, 1.5), edits[1].applied(model, -0.5):
        inner = {name: weight.float().clone() for name, weight in model.weights().items()}
    # A slider inside another acts on what that one made: the product of both is what the two files leave out.
    for name, weight in inner.items():
        product = 1.5 * -0.5 * first[name] @ edits[1].factors["text"].dense().float()
        torch.testing.assert_close(weight, got[name] + product, atol=1e-4, rtol=1e-4)
