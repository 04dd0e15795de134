"""Devices of generators: which one `auto` is, said once, and names that are none."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch

from styles import __main__ as program
from styles import load_generator, placement


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (False, True, "mps"), (True, False, "cuda"), (False, False, "cpu")],
)
def test_auto_is_cuda_then_mps_then_the_cpu(monkeypatch, cuda, mps, device):
    placement._tell.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [placement.placed("auto").type for _ in range(3)] == [device] * 3
    assert [str(w.message).split(",")[0] for w in told] == [f"running on {device}"] * (device != "cpu")


@pytest.mark.parametrize(("name", "words"), [("abacus", "is no device"), ("cuda:99", "is not here")])
def test_a_device_that_is_not_here_is_named(name, words):
    with pytest.raises(ValueError, match=words):
        load_generator("demo", device=name)


def test_the_loader_and_every_command_choose_by_default():
    found = {"load_generator": inspect.signature(load_generator)}
    found |= {c.callback.__name__: inspect.signature(c.callback) for c in program.app.registered_commands}
    chosen = {name: taken.parameters["device"].default for name, taken in found.items() if "device" in taken.parameters}
    assert {"load_generator", "sample", "rank", "turn", "sweep", "pairs"} <= set(chosen)
    assert set(chosen.values()) == {"auto"}
