"""The gate: rows near an erased one are moved to its goal, all others stay to the last bit of what counts.

    h ← h + ρ (t_i − c_i)        ρ = sigmoid((cos_i − β_i) / width), or 0 below a thousandth

cos_i is the cosine of h − μ and c_i − μ, and i the erased row for which cos_i − β_i is greatest. One matrix can hold
about d_text rows; a gate holds any number, since rows far from each other share nothing. It acts on the text embedding
while the model is served: it is not a change of weights, cannot be a LoRA or a checkpoint, and whoever holds the
pipeline can take it off.

Wordings that nobody gave are not near any row. Where a guarded solve of the same rows stays short of noise, its map A
tells them: ‖A h‖ is small for all that should stay, and near a whole way for a concept in whatever words. A row past a
second threshold goes that whole way in A h's direction; below it nothing moves, which no matrix can promise.

In a causal encoder the rows after a concept carry it too, mixed with all that was said before: those of "a cat in the
style of X" are not near those of "in the style of X". So a prompt of which any row is moved is edited whole, as the
guarded solve would: its other rows move by A h. A prompt of which none is stays bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.memory.guard import Bounds, Surroundings, solve_guarded
from concept_edit.memory.solve import Factors, Problem, empty_factors

WIDTH = 0.02
"""How soft the gate opens, in cosine."""
_EDGE = 0.01
"""How soft it opens past the second threshold, in shares of a way."""
_LOWEST, _HIGHEST = 0.8, 0.9
"""The common threshold lies between: lower, unlike rows would be moved; higher, other wordings would get past."""
_MARGIN, _FAR, _CLOSED = 0.03, 0.14, 0.93
"""A row opens this far above kept and ordinary rows in its neighbourhood, but at the latest so near to itself; and so
far above rows of the empty prompt that the gate is shut to them. A row too near to those for both stays shut."""
_NEVER = 2.0
_SHUT = 1e-3
"""Opened less than this, the gate is shut: the row stays as it is, bit for bit."""
_BLOCK = 2048


class Gate(NamedTuple):
    """One stream's gate, float32."""

    sources: Float[Tensor, "rows d_text"]
    """c − μ at length 1."""
    ways: Float[Tensor, "rows d_text"]
    """t − c."""
    thresholds: Float[Tensor, " rows"]
    """β of each row."""
    mean: Float[Tensor, " d_text"]
    """μ."""
    left: Float[Tensor, "d_text rank"]
    """A = left right, of rank 0 where there is no second threshold."""
    right: Float[Tensor, "rank d_text"]
    reach: Float[Tensor, " 2"]
    """The length of a way, and the share of it that is the second threshold."""

    @classmethod
    def read(cls, parts: Mapping[str, Tensor]) -> Gate:
        """From its parts by name; files from before there was a second threshold have none.

        Raises:
            KeyError: a part that is missing.
        """
        (left, right), reach = _none(len(parts["mean"]))
        whole = {"left": left, "right": right, "reach": reach, **parts}
        return cls(**{name: whole[name] for name in cls._fields})

    def __call__(self, rows: Float[Tensor, "*batch d_text"], strength: float = 1.0) -> Float[Tensor, "*batch d_text"]:
        """The rows after the gate, in their own dtype; computed in float32, on the gate's device.

        Of three axes and more the last but one is a prompt's tokens; fewer are rows without a prompt, each alone.
        """
        if not len(self.thresholds):
            return rows
        prompts = rows.reshape(-1, rows.shape[-2] if rows.ndim > 2 else 1, rows.shape[-1]).float()
        blocks = prompts.split(max(1, _BLOCK // max(1, prompts.shape[1])))
        moved = torch.cat([self._moved(block, strength) for block in blocks])
        return moved.reshape(rows.shape).to(rows.dtype)

    def to(self, device: str | torch.device) -> Gate:
        """The same gate on `device`."""
        return Gate(*(part.to(device) for part in self))

    def _moved(self, rows: Tensor, strength: float) -> Tensor:
        over, which = (_unit(rows - self.mean) @ self.sources.T - self.thresholds).max(dim=-1)
        opened = _opened(over / WIDTH)[..., None]
        moves = opened * self.ways[which]
        if self.right.shape[0]:
            moves += (1 - opened) * self._worded_otherwise(rows, opened)
        return rows + strength * moves

    def _worded_otherwise(self, rows: Tensor, opened: Tensor) -> Tensor:
        """A h, brought to the length of a way for rows past the second threshold, and as it is for the others of a
        prompt that was let through."""
        moves = (rows @ self.right.T) @ self.left.T
        shares = moves.norm(dim=-1, keepdim=True) / self.reach[0]
        told = _opened((shares - self.reach[1]) / _EDGE)
        lengths = told / shares.clamp(min=_SHUT, max=1)
        if rows.shape[1] > 1:
            lengths += (1 - told) * torch.maximum(opened, told).amax(dim=1, keepdim=True)
        return lengths * moves


def _opened(over: Tensor) -> Tensor:
    """How far a gate opens to rows so many widths over its threshold."""
    opened = torch.sigmoid(over)
    return torch.where(opened > _SHUT, opened, 0.0)


def solve_gate(
    problem: Problem,
    around: Surroundings,
    false_alarm: float,
    *,
    caption_alarm: float = 0.0,
    bounds: Bounds | None = None,
) -> Gate:
    """The gate of a problem's pairs.

    The common β is the (1 − false_alarm) quantile of the kept rows' nearest cosines, held between 0.8 and 0.9; a row
    with kept or ordinary rows (the empty prompt's too) beyond that near it opens above them only. With `bounds`, those
    of a guarded solve, other wordings are told by its map: past all but the share `false_alarm` of kept rows and all
    but the share `caption_alarm` of ordinary ones.

    Raises:
        ValueError: pairs held as sums.
    """
    if problem.moment is not None or problem.cross is not None:
        raise ValueError("a gate holds its rows one by one, and these are too many; give fewer wordings")
    mean = around.mean.float()
    sources = _unit(problem.sources.float() - mean)
    ways = (problem.goals - problem.sources).float()
    thresholds = _thresholds(problem, around, sources, false_alarm)
    map_, reach = _none(problem.width)
    if bounds is not None and len(sources):
        map_, reach = _second(problem, around, bounds, false_alarm, caption_alarm)
    return Gate(sources, ways, thresholds, mean, *map_, reach)


def _none(width: int) -> tuple[Factors, Tensor]:
    """No second threshold: a map of rank 0, and a reach that is never met."""
    return empty_factors(width), torch.tensor([1.0, _NEVER])


def _thresholds(problem: Problem, around: Surroundings, sources: Tensor, false_alarm: float) -> Tensor:
    """β of each row."""
    mean = around.mean.float()
    kept = nearest(problem.kept.float(), sources, mean)
    common = _LOWEST
    if len(problem.kept) and len(sources):
        common = float(kept.per_row.quantile(1 - false_alarm).clamp(_LOWEST, _HIGHEST))
    others = nearest(around.ordinary.float(), sources, mean)
    beside = torch.maximum(kept.per_source, others.per_source) + _MARGIN
    null = nearest(around.fixed.float(), sources, mean).per_source + _FAR
    thresholds = torch.maximum(beside.clamp(common, max(common, _CLOSED)), null)
    return torch.where(null > _CLOSED, _NEVER, thresholds)


def _second(
    problem: Problem, around: Surroundings, bounds: Bounds, false_alarm: float, caption_alarm: float
) -> tuple[Factors, Tensor]:
    """The guarded map, float32, with the length of a way and the second threshold; none where it foretells noise."""
    found = solve_guarded(problem, around, bounds, merge=False)
    if found.noise:
        return _none(problem.width)
    factors = found.factors.float()
    way = (problem.goals - problem.sources).float().norm(dim=1).median()

    def shares(rows: Tensor) -> Tensor:
        return ((rows.float() @ factors.right.T) @ factors.left.T).norm(dim=1) / way

    kept, ordinary = shares(problem.kept), shares(around.ordinary)
    second = max(_quantile(kept, 1 - false_alarm), _quantile(ordinary, 1 - caption_alarm))
    return factors, torch.tensor([float(way), second])


def _quantile(values: Tensor, share: float) -> float:
    """Of any number of values; 0 of none."""
    return float(values.sort().values[math.ceil(share * (len(values) - 1))]) if len(values) else 0.0


class Nearest(NamedTuple):
    """Greatest cosines between rows and sources."""

    per_row: Float[Tensor, " rows"]
    per_source: Float[Tensor, " sources"]


def nearest(rows: Tensor, sources: Tensor, mean: Tensor) -> Nearest:
    """The greatest cosine of each row with any source, and of each source with any row; −1 where there is none."""
    per_source = torch.full((len(sources),), -1.0)
    per_row = [per_source[:0]]
    for block in rows.split(_BLOCK) if len(sources) else ():
        cosines = _unit(block - mean) @ sources.T
        per_source = torch.maximum(per_source, cosines.max(dim=0).values if len(block) else per_source)
        per_row.append(cosines.max(dim=1).values)
    return Nearest(torch.cat(per_row), per_source)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)
