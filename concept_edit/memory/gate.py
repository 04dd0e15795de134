"""The gate: rows near an erased one are moved to its goal, all others stay to the last bit of what counts.

    h ← h + ρ (t_i − c_i)        ρ = sigmoid((cos_i − β_i) / width), or 0 below a thousandth

cos_i is the cosine of h − μ and c_i − μ, and i the erased row for which cos_i − β_i is greatest. It is measured where
two things are pressed down: what all captions share, so that a few directions in which all prompts lie near each other
no longer make unlike things alike; and what the wordings of one concept differ in, so that another wording is near the
same concept. Rows are multiplied by (M/a + I)^(−1/2) for each of both moments M, a ten times its mean eigenvalue: the
second is the within-class covariance normalisation of speaker recognition (Hatch et al., Interspeech 2006). Only rows
that have read the whole concept open the gate: of "red apple" that of "apple" and what follows, not that of "red". One
matrix can hold about d_text rows; a gate holds any number, since rows far from each other share nothing. It acts on the
text embedding while the model is served: it is not a change of weights, cannot be a LoRA or a checkpoint, and whoever
holds the pipeline can take it off.

Wordings that are near no row, such as a style told of a thing, are told by the guarded map A of the same rows, where
it stays short of noise: ‖A h‖ is small for all that should stay, and near a whole way for a concept in whatever words.
A row of which ‖A h‖, less what it lacks in nearness, is past a second threshold goes that whole way in A h's direction;
below it nothing moves, which no matrix can promise. What A was made to leave alone says nothing of things nobody named,
so that threshold is set by kept prompts on which A was not made: maps are solved without a quarter of them in turn, and
looked at on that quarter. Things nobody named that A moves far lie far from all that goes, and other wordings less far:
hence both together.

In a causal encoder the rows after a concept carry it too, mixed with all that was said before: those of "a cat in the
style of X" are not near those of "in the style of X". So a prompt of which any row is moved is edited whole, as the
guarded solve would: its other rows move by A h. A prompt of which none is stays bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from concept_edit.memory.guard import Bounds, Guarded, Surroundings, solve_guarded
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
_WEAK = 0.65
"""Rows that lie nearer to the mean than this share of the erased rows' median tell little of what goes: they open at
the latest threshold."""
_FOLDS = 4
"""Maps that are solved to set the second threshold, each without so great a part of what is kept."""
_LACK = 0.25
"""What a cosine below a row's threshold takes off the share of a way that the map moves the row."""
_NEVER = 2.0
_PRESS = 10.0
"""Eigenvalues of a moment as great as this many times their mean are pressed down to a share of 1/√2."""
_PRESSED, _UNPRESSED = 64, 0.02
"""At most so many directions are pressed, and none by less than this share."""
_SHUT = 1e-3
"""Opened less than this, the gate is shut: the row stays as it is, bit for bit."""
_BLOCK = 2048


class Gate(NamedTuple):
    """One stream's gate, float32."""

    sources: Float[Tensor, "rows d_text"]
    """c − μ, pressed, at length 1."""
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
    pressed: Float[Tensor, "d_text pressed"]
    """P: rows are compared as (I − P Pᵀ)(h − μ)."""
    lack: Float[Tensor, ""]
    """How much of a way each unit of cosine below the threshold takes off, before the second threshold."""

    @classmethod
    def read(cls, parts: Mapping[str, Tensor]) -> Gate:
        """From its parts by name; older files may lack the second threshold, what is pressed, or what is taken off.

        Raises:
            KeyError: a part that is missing.
        """
        (left, right), reach = _none(len(parts["mean"]))
        plain = torch.zeros(len(parts["mean"]), 0)
        whole = {"left": left, "right": right, "reach": reach, "pressed": plain, "lack": torch.zeros(()), **parts}
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
        over, which = (_unit(_press(rows - self.mean, self.pressed)) @ self.sources.T - self.thresholds).max(dim=-1)
        opened = _opened(over / WIDTH)[..., None]
        moves = opened * self.ways[which]
        if self.right.shape[0]:
            moves += (1 - opened) * self._worded_otherwise(rows, opened, over[..., None])
        return rows + strength * moves

    def _worded_otherwise(self, rows: Tensor, opened: Tensor, over: Tensor) -> Tensor:
        """A h, brought to the length of a way for rows past the second threshold, and as it is for the others of a
        prompt that was let through."""
        moves = (rows @ self.right.T) @ self.left.T
        shares = moves.norm(dim=-1, keepdim=True) / self.reach[0]
        told = _opened((shares + self.lack * over.clamp(max=0) - self.reach[1]) / _EDGE)
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
    prompts: Int[Tensor, " keeps"] | None = None,
    concepts: Int[Tensor, " rows"] | None = None,
    whole: Bool[Tensor, " rows"] | None = None,
) -> Gate:
    """The gate of a problem's pairs.

    The common β lies a little above the (1 − false_alarm) quantile of the kept rows' nearest cosines, and at the
    (1 − caption_alarm) quantile of ordinary rows', between 0.8 and 0.9; a row with kept or ordinary rows (the empty
    prompt's too) beyond that near it opens above them only. With `bounds`, those of a guarded solve, other wordings are
    told by its map: past all but the share `false_alarm` of kept prompts, looked at by maps that were made without
    them, and all but the share `caption_alarm` of ordinary rows. The two thresholds then have half of `false_alarm`
    each. `prompts` says which kept prompt each kept row is of, `concepts` which concept each pair is of; None: each its
    own. `whole` says which pairs have read the whole concept and so may open the gate; None: all.

    Raises:
        ValueError: pairs held as sums.
    """
    if problem.moment is not None or problem.cross is not None:
        raise ValueError("a gate holds its rows one by one, and these are too many; give fewer wordings")
    opens = torch.ones(len(problem.sources), dtype=torch.bool) if whole is None else whole
    of = torch.arange(len(problem.sources)) if concepts is None else concepts
    mean, pressed = around.mean.float(), _directions(problem.sources[opens], around, of[opens])
    placed = _press(problem.sources[opens].float() - mean, pressed)
    alarm = false_alarm if bounds is None else false_alarm / 2
    thresholds = _thresholds(problem, around, placed, pressed, alarm, caption_alarm)
    map_, reach = _none(problem.width)
    if bounds is not None and len(placed):
        own = torch.arange(len(problem.kept)) if prompts is None else prompts
        map_, reach = _second(problem, around, bounds, own, alarm, caption_alarm)
    ways = (problem.goals - problem.sources)[opens].float()
    return Gate(_unit(placed), ways, thresholds, mean, *map_, reach, pressed, torch.tensor(_LACK))


def _directions(sources: Tensor, around: Surroundings, concepts: Tensor) -> Float[Tensor, "d_text pressed"]:
    """P such that rows of I − P Pᵀ have the products of rows pressed twice: where all captions share, and where the
    wordings of one concept differ."""
    shared = _pressing(around.moment, around.floor)
    worded = _pressing(_scatter(sources, concepts), torch.zeros(()))
    basis = torch.linalg.qr(torch.cat([shared, worded], dim=1))[0]
    one, two = (torch.eye(basis.shape[1], dtype=basis.dtype) - _outer(basis.T @ part) for part in (shared, worded))
    values, vectors = torch.linalg.eigh(two @ one @ one @ two)
    return (basis @ vectors * (1 - values.clamp(0, 1).sqrt()).sqrt()).float()


def _scatter(sources: Tensor, concepts: Tensor) -> Float[Tensor, "rows d_text"]:
    """Rows L of which LᵀL is the mean scatter of each concept's rows about their own mean."""
    wide, (_, own) = sources.double(), concepts.unique(return_inverse=True)
    sums = torch.zeros(int(own.max()) + 1 if len(own) else 0, wide.shape[1], dtype=wide.dtype).index_add_(0, own, wide)
    means = sums / own.bincount()[:, None]
    return (wide - means[own]) / math.sqrt(max(1, len(wide)))


def _pressing(moment: Tensor, floor: Tensor | None) -> Float[Tensor, "d_text pressed"]:
    """P of the eigenvectors of a moment M with the greatest eigenvalues, so that I − P Pᵀ = (M/a + I)^(−1/2) on them,
    a ten times the mean eigenvalue. With a `floor`, M is given as rows L: LᵀL + floor · I."""
    width = moment.shape[1]
    if floor is None:
        values, vectors = torch.linalg.eigh(moment.double())
        average = values.sum() / width
    elif len(moment) <= width:
        values, within = torch.linalg.eigh((moment @ moment.T).double())
        vectors = moment.double().T @ within / values.clamp(min=torch.finfo(values.dtype).tiny).sqrt()
        average = values.sum() / width + floor
    else:
        return _pressing(moment.T @ moment + floor * torch.eye(width, dtype=moment.dtype), None)
    shares = 1 - (1 + values.clamp(min=0) / (_PRESS * average).clamp(min=torch.finfo(values.dtype).tiny)).rsqrt()
    most = shares.sort(descending=True).indices[:_PRESSED]
    chosen = most[shares[most] > _UNPRESSED]
    return vectors[:, chosen] * shares[chosen].sqrt()


def _outer(rows: Tensor) -> Tensor:
    return rows @ rows.T


def _press(rows: Tensor, pressed: Tensor) -> Tensor:
    return rows - (rows @ pressed) @ pressed.T


def _none(width: int) -> tuple[Factors, Tensor]:
    """No second threshold: a map of rank 0, and a reach that is never met."""
    return empty_factors(width), torch.tensor([1.0, _NEVER])


def _thresholds(
    problem: Problem, around: Surroundings, placed: Tensor, pressed: Tensor, false_alarm: float, caption_alarm: float
) -> Tensor:
    """β of each row."""
    if not len(placed):
        return torch.zeros(0)
    sources, lengths = _unit(placed), placed.norm(dim=1)

    def near(rows: Tensor) -> Nearest:
        return nearest(rows.float(), sources, around.mean.float(), pressed)

    kept, ordinary = near(problem.kept), near(around.ordinary)
    alarms = (kept.per_row, false_alarm, _MARGIN), (ordinary.per_row, caption_alarm, 0.0)
    common = max(_quantile(cosines, 1 - share) + margin for cosines, share, margin in alarms)
    common = min(max(common, _LOWEST), _HIGHEST)
    latest = max(common, _CLOSED)
    beside = torch.maximum(kept.per_source, ordinary.per_source) + _MARGIN
    beside = torch.where(lengths < _WEAK * lengths.median(), latest, beside)
    null = near(around.fixed).per_source + _FAR
    return torch.where(null > _CLOSED, _NEVER, torch.maximum(beside.clamp(common, latest), null))


def _second(
    problem: Problem, around: Surroundings, bounds: Bounds, prompts: Tensor, false_alarm: float, caption_alarm: float
) -> tuple[Factors, Tensor]:
    """The guarded map, float32, with the length of a way and the second threshold; none where it foretells noise."""
    found = solve_guarded(problem, around, bounds, merge=False)
    if found.noise:
        return _none(problem.width)
    way = (problem.goals - problem.sources).float().norm(dim=1).median()
    kept = _unnamed(problem, around, bounds, prompts, way)
    ordinary = _shares(found, around.ordinary, way)
    second = max(_quantile(kept, 1 - false_alarm), _quantile(ordinary, 1 - caption_alarm))
    return found.factors.float(), torch.tensor([float(way), second])


def _unnamed(
    problem: Problem, around: Surroundings, bounds: Bounds, prompts: Tensor, way: Tensor
) -> Float[Tensor, " prompts"]:
    """How far each kept prompt's row of the greatest move would go, had nobody named the prompt; in shares of a way."""
    named, own = prompts.unique(return_inverse=True)
    moved = torch.zeros(len(named))
    for fold in range(_FOLDS if len(named) > 1 else 0):
        out = own % _FOLDS == fold
        if not bool(out.any()):
            continue
        others = replace(problem, kept=problem.kept[~out], kept_weights=problem.kept_weights[~out])
        found = solve_guarded(others, around, bounds, merge=False)
        moved.scatter_reduce_(0, own[out], _shares(found, problem.kept[out], way), "amax")
    return moved


def _shares(found: Guarded, rows: Tensor, way: Tensor) -> Tensor:
    """‖A h‖ of each row, in ways."""
    factors = found.factors.float()
    return ((rows.float() @ factors.right.T) @ factors.left.T).norm(dim=1) / way


def _quantile(values: Tensor, share: float) -> float:
    """Of any number of values; 0 of none."""
    return float(values.sort().values[math.ceil(share * (len(values) - 1))]) if len(values) else 0.0


class Nearest(NamedTuple):
    """Greatest cosines between rows and sources."""

    per_row: Float[Tensor, " rows"]
    per_source: Float[Tensor, " sources"]


def nearest(rows: Tensor, sources: Tensor, mean: Tensor, pressed: Tensor) -> Nearest:
    """The greatest cosine of each row, pressed, with any source, and of each source with any row; −1 where there is
    none."""
    per_source = torch.full((len(sources),), -1.0)
    per_row = [per_source[:0]]
    for block in rows.split(_BLOCK) if len(sources) else ():
        cosines = _unit(_press(block - mean, pressed)) @ sources.T
        per_source = torch.maximum(per_source, cosines.max(dim=0).values if len(block) else per_source)
        per_row.append(cosines.max(dim=1).values)
    return Nearest(torch.cat(per_row), per_source)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)
