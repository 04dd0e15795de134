"""Statistics to an answer: factors or gates for every text stream, by the recipe's method. Float64, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from concept_edit.memory.cut import cut
from concept_edit.memory.gate import Gate, solve_gate
from concept_edit.memory.guard import Bounds, Surroundings, foretold, refuse_noise, solve_guarded
from concept_edit.memory.solve import Factors, Problem, empty_factors, solve_problem
from concept_edit.prompts.common import beside
from concept_edit.prompts.stats import Statistics, Stream


class Answer(NamedTuple):
    """Fields of the `Edit` of these names."""

    factors: Mapping[str, Factors]
    counts: Mapping[str, tuple[int, ...] | None]
    gates: Mapping[str, Gate]
    predicted: Mapping[str, Mapping[str, float]]


def answer(statistics: Statistics) -> Answer:
    """One factorisation per text stream for method `uce`, `rounds + 1` for `guarded`, none for `gated`.

    Raises:
        ValueError: a ridge too small for the rows, statistics without surroundings where the method needs them, or a
            guarded solve that foretells pictures of noise.
    """
    if statistics.recipe.method == "gated":
        return _gates(statistics)
    if statistics.recipe.method == "guarded":
        return _guarded(statistics)
    factors = {name: solve_problem(s.problem(statistics.recipe)).float() for name, s in statistics.streams.items()}
    return Answer(factors, _counts(statistics), {}, {})


def _guarded(statistics: Statistics) -> Answer:
    bounds, asked = Bounds.of(statistics.recipe), {name: placed(statistics, name) for name in statistics.streams}
    found = {name: solve_guarded(*asked[name], bounds) for name in asked}
    told = {name: foretold(guarded) for name, guarded in found.items()}
    refuse_noise(told)
    counts = _counts(statistics) | {name: None for name, guarded in found.items() if guarded.groups}
    parts = {name: cut(guarded.factors, counts[name], *asked[name]) for name, guarded in found.items()}
    whole = {name: factors.float() for name, (factors, _) in parts.items()}
    return Answer(whole, {name: left for name, (_, left) in parts.items()}, {}, told)


def _gates(statistics: Statistics) -> Answer:
    none = {name: empty_factors(stream.width) for name, stream in statistics.streams.items()}
    return Answer(none, dict.fromkeys(none, ()), {name: _gate(statistics, name) for name in none}, {})


def _gate(statistics: Statistics, name: str) -> Gate:
    """A stream's gate."""
    recipe, stream, (problem, around) = statistics.recipe, statistics.streams[name], placed(statistics, name)
    return solve_gate(
        problem, around, recipe.false_alarm, caption_alarm=recipe.caption_alarm,
        bounds=Bounds.of(recipe), prompts=stream.kept.owner, concepts=stream.pairs.owner, whole=stream.pairs.whole,
    )  # fmt: skip


def placed(statistics: Statistics, name: str) -> tuple[Problem, Surroundings]:
    """A stream's least squares and what surrounds it."""
    stream = statistics.streams[name]
    if stream.around is None:
        raise ValueError(
            f"the statistics were collected for method 'uce'; collect the recipe with method "
            f"{statistics.recipe.method!r}"
        )
    return stream.problem(statistics.recipe), stream.around.holding(beside(statistics.common, statistics.recipe))


def _counts(statistics: Statistics) -> dict[str, tuple[int, ...] | None]:
    """Stream -> rank rows of each concept."""
    return {name: _counted(stream, len(statistics.recipe.edits)) for name, stream in statistics.streams.items()}


def _counted(stream: Stream, edits: int) -> tuple[int, ...] | None:
    if stream.pairs.summed or len(stream.pairs.owner) > stream.width:
        return None
    return tuple(stream.pairs.owner.bincount(minlength=edits).tolist())
