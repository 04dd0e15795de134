"""Record what modules pass on, and put other values in their place: for any torch model, undone at the end.

    with recorded(model, [Place("layers.3"), Place("layers.3.mlp.down", "input")]) as seen:
        model(x)
    with changed(model, {Place("layers.3"): lambda state: state + 1}):
        model(x)

A module may return a tensor or a tuple that begins with one; both are understood. An intervention that was not reached,
or that left every value as it was, is an error: silence would be read as "no effect".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]
"""From a module's value to the value that takes its place; given a copy."""


class Place(NamedTuple):
    """What a module takes in, or what it passes on."""

    module: str
    """As `named_modules` names it."""
    side: Literal["input", "output"] = "output"


class Recording(dict[Place, Tensor]):
    """Place -> its value in the last call."""

    tuples: set[str]
    """Modules that returned a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.tuples = set()


@contextmanager
def recorded(model: nn.Module, places: Sequence[Place], *, graph: bool = False) -> Iterator[Recording]:
    """Inside the block, every forward pass leaves the values of `places` in the recording.

    Args:
        graph: Keep the values in autograd's graph; otherwise they are detached.

    Raises:
        ValueError: the model has no such module, it holds no tensor first, or it was not reached.
    """
    seen = Recording()

    def keep(place: Place, value: Any) -> None:
        seen.pop(place, None)
        seen[place] = _first(place, value) if graph else _first(place, value).detach()
        if place.side == "output" and isinstance(value, tuple):
            seen.tuples.add(place.module)

    with _hooked(model, places, keep):
        yield seen
    missed = [place.module for place in places if place not in seen]
    if missed:
        raise ValueError(f"{missed[0]} was not reached by the forward pass, so nothing was recorded there")


@contextmanager
def changed(model: nn.Module, changes: Mapping[Place, Change], *, idle: bool = False) -> Iterator[None]:
    """Inside the block, each place passes on what its change makes of its value.

    Args:
        idle: Whether it is no error that the model was not run at all.

    Raises:
        ValueError: at the end, a place was never reached, or no change altered any value in any call.
    """
    reached: set[Place] = set()
    altered: set[Place] = set()

    def put(place: Place, value: Any) -> Any:
        before = _first(place, value)
        after = changes[place](before.clone())
        if after.shape != before.shape:
            raise ValueError(f"{place.module}: {tuple(after.shape)} cannot take the place of {tuple(before.shape)}")
        reached.add(place)
        if place not in altered and not torch.equal(before, after):
            altered.add(place)
        return (after, *value[1:]) if isinstance(value, tuple) else after

    with _hooked(model, list(changes), put):
        yield
    missed = [place.module for place in changes if place not in reached]
    if idle and not reached:
        return
    if missed:
        raise ValueError(f"{missed[0]} was not reached by the forward pass, so nothing was changed there")
    if changes and not altered:
        where = ", ".join(sorted({place.module for place in changes})[:3])
        raise ValueError(
            f"the intervention at {where} changed nothing: the values put there are those that stood there"
        )


@contextmanager
def skipped(model: nn.Module, values: Mapping[str, Tensor], tuples: set[str]) -> Iterator[None]:
    """Inside the block the modules are not run; each passes on its given value.

    Args:
        tuples: Modules whose callers expect a tuple; `Recording.tuples` knows.
    """
    modules = {name: _module(model, name) for name in values}
    try:
        for name, module in modules.items():
            value: Any = (values[name],) if name in tuples else values[name]
            module.forward = lambda *_, value=value, **__: value
        yield
    finally:
        for module in modules.values():
            module.__dict__.pop("forward", None)


@contextmanager
def _hooked(model: nn.Module, places: Sequence[Place], function: Callable[[Place, Any], Any]) -> Iterator[None]:
    """Every value at a place goes through `function(place, value)`; what it returns, if anything, takes its place."""
    handles = []
    try:
        for place in places:
            module = _module(model, place.module)
            if place.side == "input":
                handles.append(module.register_forward_pre_hook(lambda _, given, p=place: function(p, given)))
            else:
                handles.append(module.register_forward_hook(lambda _, __, value, p=place: function(p, value)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise ValueError(f"{type(model).__name__} has no module {name}") from None


def _first(place: Place, value: Any) -> Tensor:
    first = value[0] if isinstance(value, tuple) and value else value
    if not isinstance(first, Tensor):
        what = "takes in" if place.side == "input" else "passes on"
        raise ValueError(f"{place.module} {what} {type(first).__name__} first; only tensors can be read and replaced")
    return first
