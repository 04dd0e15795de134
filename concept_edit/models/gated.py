"""A gate before a live denoiser: its text inputs are changed on the way in, whatever pipeline calls it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from concept_edit.models.contract import Model

if TYPE_CHECKING:
    from concept_edit.gate import Gate

_TEXT = "encoder_hidden_states"
_POOLED = "pooled_projections"
_ADDED, _EMBEDS = "added_cond_kwargs", "text_embeds"


@contextmanager
def gated(model: Model, gates: Mapping[str, Gate], strength: float) -> Iterator[None]:
    """Inside the block, each stream of `gates` reaches the denoiser of `model` changed; weights stay as they are.

    Blocks nest: the outer gate acts first. Without gates nothing is loaded and nothing happens.
    """
    if not gates or strength == 0:
        yield
        return
    denoiser = getattr(model.pipeline, model.family.denoiser)

    def before(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return _positional(given, gates, strength), _named(named, gates, strength)

    handle = denoiser.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _named(named: dict[str, Any], gates: Mapping[str, Gate], strength: float) -> dict[str, Any]:
    changed = dict(named)
    if "text" in gates and named.get(_TEXT) is not None:
        changed[_TEXT] = gates["text"](named[_TEXT], strength)
    if "pooled" in gates and named.get(_POOLED) is not None:
        changed[_POOLED] = gates["pooled"](named[_POOLED], strength)
    added = named.get(_ADDED) or {}
    if "pooled" in gates and _EMBEDS in added:
        changed[_ADDED] = {**added, _EMBEDS: gates["pooled"](added[_EMBEDS], strength)}
    return changed


def _positional(given: tuple[Any, ...], gates: Mapping[str, Gate], strength: float) -> tuple[Any, ...]:
    """A UNet's third positional input is the text (sample, timestep, text)."""
    if len(given) < 3 or "text" not in gates:
        return given
    return (*given[:2], gates["text"](given[2], strength), *given[3:])
