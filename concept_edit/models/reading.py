"""Text encoders as a solve reads them: in float32 on the CPU, so that an edit has the same bits whatever paints."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch

_COPIES: WeakKeyDictionary[torch.nn.Module, tuple[Any, torch.nn.Module]] = WeakKeyDictionary()
"""Encoder -> what its weights were when it was copied, and the copy; both go with the encoder."""
_THERE: ContextVar[bool] = ContextVar("_THERE", default=False)


@contextmanager
def where_it_is() -> Iterator[None]:
    """Inside the block encoders run on their own device in their own precision: faster on a GPU, with other last bits.
    For what is kept in a file of its own and never read again, as a corpus is."""
    token = _THERE.set(True)
    try:
        yield
    finally:
        _THERE.reset(token)


def for_reading(encoder: Any) -> Any:
    """The encoder itself where it runs in float32 on the CPU, else a copy that does; made anew when weights change.

    An encoder without weights in memory is left as it is: whoever took them away brings them.
    """
    if _as_it_is(encoder):
        return encoder
    parts = list(encoder.parameters())
    state = [(part.data_ptr(), None if part.is_inference() else part._version) for part in parts]
    held = _COPIES.get(encoder)
    if held is None or held[0] != state:
        held = _COPIES[encoder] = state, _copied(encoder)
    return held[1]


def read_in(encoder: Any) -> tuple[torch.device, torch.dtype]:
    """Where and in what precision `for_reading` would run it; no copy is made."""
    return (encoder.device, encoder.dtype) if _as_it_is(encoder) else (torch.device("cpu"), torch.float32)


def _as_it_is(encoder: Any) -> bool:
    parts = list(encoder.parameters())
    if _THERE.get() or any(part.is_meta for part in parts):
        return True
    return not _hooked(encoder) and all(map(_plain, parts))


def _plain(part: torch.Tensor) -> bool:
    return part.device.type == "cpu" and part.dtype == torch.float32


def _hooked(encoder: torch.nn.Module) -> bool:
    """Whether accelerate moves it elsewhere to run it (CPU offload)."""
    return any(hasattr(part, "_hf_hook") for part in encoder.modules())


def _copied(encoder: torch.nn.Module) -> torch.nn.Module:
    found = copy.deepcopy(encoder)
    if _hooked(found):
        from accelerate.hooks import remove_hook_from_module

        remove_hook_from_module(found, recurse=True)
    return found.to("cpu", torch.float32)
