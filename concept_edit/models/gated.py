"""A gate before a live denoiser: its text inputs are changed on the way in, whatever pipeline calls it.

Where norms or fusions stand between the denoiser's door and its readers, the gate stands at the readers. Z-Image's
reader gets the rows of all prompts as one list: there each row is answered by itself (all of them in one product), and
the rows that are near no concept do not move with those of their prompt that are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from concept_edit.models.contract import Model, Site

if TYPE_CHECKING:
    from concept_edit.memory.gate import Gate

_TEXT = "encoder_hidden_states"
_POOLED = "pooled_projections"
_ADDED, _EMBEDS = "added_cond_kwargs", "text_embeds"

_REMEMBERED = 4
"""Answers that a door keeps: with true guidance the rows of the prompt and of its negative come in turn."""

Through = Callable[[str, Tensor | None], Tensor | None]


@contextmanager
def gated(model: Model, gates: Mapping[str, Gate], strength: float) -> Iterator[None]:
    """Inside the block, each stream of `gates` reaches the denoiser of `model` changed; weights stay as they are.

    Blocks nest: the outer gate acts first. Without gates nothing is loaded and nothing happens.
    """
    if not gates or strength == 0:
        yield
        return
    denoiser = getattr(model.pipeline, model.family.denoiser)
    doors = {stream: _Door(gate, strength) for stream, gate in gates.items()}

    def through(stream: str, rows: Tensor | None) -> Tensor | None:
        return rows if rows is None or stream not in doors else doors[stream](rows)

    def at_reader(site: Site) -> Any:
        def before(_: Any, given: tuple[Tensor, ...]) -> tuple[Any, ...]:
            rows, rest = given[0][..., : site.columns], given[0][..., site.columns or given[0].shape[-1] :]
            changed = through(site.stream, rows)
            return (changed if changed is None or not site.columns else torch.cat([changed, rest], -1), *given[1:])

        return before

    def before(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return _positional(given, through), _named(named, through)

    if model.family.route is None:
        handles = [denoiser.register_forward_pre_hook(before, with_kwargs=True)]
    else:
        readers = [(denoiser.get_submodule(site.name.removesuffix(".weight")), site) for site in model.sites]
        handles = [reader.register_forward_pre_hook(at_reader(site)) for reader, site in readers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Door:
    """A stream's gate, which answers the same rows once and not at every denoising step."""

    def __init__(self, gate: Gate, strength: float) -> None:
        self.gate, self.strength = gate, strength
        self.answers: deque[tuple[Tensor, Tensor]] = deque(maxlen=_REMEMBERED)

    def __call__(self, rows: Tensor) -> Tensor:
        for asked, answer in self.answers:
            if _like(asked) == _like(rows) and torch.equal(asked, rows):
                return answer
        if self.gate.ways.device != rows.device:
            self.gate = self.gate.to(rows.device)
        answer = self.gate(rows, self.strength)
        self.answers.append((rows.clone(), answer))
        return answer


def _like(rows: Tensor) -> tuple[Any, ...]:
    return rows.shape, rows.dtype, rows.device


def _named(named: dict[str, Any], through: Through) -> dict[str, Any]:
    streams = {_TEXT: "text", _POOLED: "pooled"}
    changed: dict[str, Any] = {
        key: through(streams[key], value) if key in streams else value for key, value in named.items()
    }
    added = changed.get(_ADDED)
    if added and _EMBEDS in added:
        changed[_ADDED] = {**added, _EMBEDS: through("pooled", added[_EMBEDS])}
    return changed


def _positional(given: tuple[Any, ...], through: Through) -> tuple[Any, ...]:
    """A UNet's third positional input is the text (sample, timestep, text)."""
    return given if len(given) < 3 else (*given[:2], through("text", given[2]), *given[3:])
