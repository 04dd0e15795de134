"""Devices: which one `auto` is, said once; and edits whose bits are the same whatever the encoders run on."""

from __future__ import annotations

import copy
import warnings

import pytest
import tiny
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import Tensor

import concept_edit as ce
from concept_edit.models import placement
from concept_edit.models.reading import for_reading, where_it_is
from concept_edit.notes import DeviceWarning

RECIPE = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art"), ce.Moderate("bomb")], preserve=["Monet"], method="uce")


def machine(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool) -> None:
    placement._tell.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (False, True, "mps"), (True, False, "cuda"), (False, False, "cpu")],
)
def test_auto_is_cuda_then_mps_then_the_cpu(monkeypatch, cuda, mps, device):
    machine(monkeypatch, cuda, mps)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [placement.resolved("auto") for _ in range(3)] == [device] * 3
        assert placement.resolved("cuda:1") == "cuda:1"
    assert [type(w.message) for w in told] == [DeviceWarning] * (device != "cpu")
    assert all(device in str(w.message) for w in told)


def test_open_model_is_asked_for_auto_by_default(monkeypatch):
    machine(monkeypatch, False, True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.warns(DeviceWarning, match="running on mps"), pytest.raises(Exception, match=r"(?i)mps"):
        ce.open_model("demo").weights()
    machine(monkeypatch, False, False)
    assert {w.device.type for w in ce.open_model("demo").weights().values()} == {"cpu"}


def bits(edit: ce.Edit) -> list[Tensor]:
    return [part for factors in edit.factors.values() for part in factors]


def same(a: ce.Edit, b: ce.Edit) -> bool:
    return all(torch.equal(x, y) for x, y in zip(bits(a), bits(b), strict=True))


@pytest.mark.parametrize("method", ["uce", "guarded"])
def test_an_encoder_in_half_precision_gives_the_bits_of_the_cpu(tmp_path, method):
    """As on a GPU: encoders of a half-precision file run in half there, and in float32 on the CPU."""
    pipe = tiny.tiny_pipeline("sd1").to(torch.float16)
    pipe.save_pretrained(tmp_path / "half")
    recipe = ce.Recipe(edits=RECIPE.edits, preserve=RECIPE.preserve, method=method)
    plain = ce.open_model(tmp_path / "half", device="cpu")
    half = ce.open_model(tmp_path / "half", device="cpu", dtype="float16")
    assert {p.dtype for p in half.towers[0].encoder.parameters()} == {torch.float16}
    assert (plain.fingerprint, plain.arithmetic) == (half.fingerprint, half.arithmetic), (
        "a corpus is read once for both"
    )
    assert same(ce.solve(half, recipe), ce.solve(plain, recipe))
    with where_it_is():
        assert plain.arithmetic != half.arithmetic
        assert not same(ce.solve(half, recipe), ce.solve(plain, recipe)), "the encoders' own arithmetic differs"


def test_a_pipeline_on_the_way_to_another_device_gives_the_same_bits():
    """CPU offload, as accelerate hooks it: the encoder lies on the CPU and runs elsewhere; here in half."""
    model = tiny.tiny_model("sdxl")
    before = ce.solve(model, RECIPE)
    moved = []
    for tower in model.towers:
        hook = AlignDevicesHook(execution_device="cpu")
        hook.pre_forward = lambda module, *args, **named: (moved.append(module), (args, named))[1]
        add_hook_to_module(tower.encoder, hook)
    assert same(ce.solve(model, RECIPE), before)
    assert not moved
    assert all(hasattr(tower.encoder, "_hf_hook") for tower in model.towers)


def test_what_is_read_follows_the_weights():
    encoder = tiny.tiny_model("sd1").towers[0].encoder
    assert for_reading(encoder) is encoder
    half = copy.deepcopy(encoder).half()
    read = for_reading(half)
    assert {p.dtype for p in read.parameters()} == {torch.float32}
    assert for_reading(half) is read
    with torch.no_grad():
        next(half.parameters()).mul_(2)
    assert for_reading(half) is not read
    assert torch.equal(next(for_reading(half).parameters()), next(half.parameters()).float())
    assert for_reading(half.to("meta")) is half
