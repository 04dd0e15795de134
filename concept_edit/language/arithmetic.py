"""Sums of function vectors: does v(first, map) + v(last, copy) - v(first, copy) do what v(last, map) does?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concept_edit.language.answering import first_tokens
from concept_edit.language.tasks import Task
from concept_edit.language.trials import Share
from concept_edit.language.vectors import FunctionVector, function_vector

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

SQUARE = {
    "last map": ("first map", "last copy", "first copy"),
    "first map": ("last map", "first copy", "last copy"),
    "last copy": ("first copy", "last map", "first map"),
    "first copy": ("last copy", "first map", "last map"),
}
"""Each corner as the sum of its two neighbours less the corner opposite."""


@dataclass(frozen=True)
class Corner:
    """One task, done by its own vector and by a sum of the others'."""

    target: str
    terms: tuple[str, str, str]
    """a, b, c of a + b - c."""
    cosine: float
    """Between the sum and the task's own vector."""
    plain: Share
    own: Share
    sum: Share
    parts: tuple[Share, Share]
    """What a and b alone do for the target: a sum should do better than these."""

    @property
    def holds(self) -> bool:
        """The sum reaches 0.8 of the own vector, which does the task, and more than either part."""
        enough = self.own.hits > 0 and self.sum.hits >= 0.8 * self.own.hits and self.own.value >= 0.5
        return enough and self.sum.hits > max(part.hits for part in self.parts)


def arithmetic(
    lm: LanguageModel,
    tasks: Mapping[str, Task],
    heads: Sequence[tuple[int, int]],
    layer: int,
    strength: float = 1.0,
    *,
    count: int = 50,
    shots: int = 10,
    seed: int = 0,
    prompts: int = 40,
) -> list[Corner]:
    """Try all four corners of {first, last} x {copy, map}, zero-shot, on lists the vectors were not made of.

    Args:
        tasks: As `list_tasks` makes them.
        prompts: With examples, that each vector is made of.

    Raises:
        ValueError: a corner is missing.
    """
    missing = [name for name in SQUARE if name not in tasks]
    if missing:
        raise ValueError(f"arithmetic needs the tasks {', '.join(SQUARE)}; {', '.join(missing)} is missing")
    halves = {name: tasks[name].split(held_out=0.4, seed=seed) for name in SQUARE}
    vectors = {
        name: function_vector(lm, made, heads, prompts=prompts, shots=shots, seed=seed)
        for name, (made, _) in halves.items()
    }
    return [_corner(lm, name, halves[name][1], vectors, layer, strength, count, seed) for name in SQUARE]


def report(corners: Sequence[Corner]) -> str:
    """As Markdown, with a sentence where it holds and where it does not."""
    lines = ["| task | as | cosine | plain | own vector | sum | parts | |", "|---|---|---|---|---|---|---|---|"]
    for c in corners:
        a, b, less = c.terms
        cells = [f"{share.value:.2f}" for share in (c.plain, c.own, c.sum)]
        parts = ", ".join(f"{share.value:.2f}" for share in c.parts)
        verdict = "holds" if c.holds else "does not hold"
        lines.append(
            f"| {c.target} | {a} + {b} - {less} | {c.cosine:.2f} | {' | '.join(cells)} | {parts} | {verdict} |"
        )
    held = [c.target for c in corners if c.holds]
    lines.append(
        f"\nThe sum reaches 0.8 of the task's own vector, and more than its parts, for {', '.join(held) or 'no task'}."
    )
    return "\n".join(lines)


def _corner(
    lm: LanguageModel,
    name: str,
    asked: Task,
    vectors: Mapping[str, FunctionVector],
    layer: int,
    strength: float,
    count: int,
    seed: int,
) -> Corner:
    a, b, less = SQUARE[name]
    total = vectors[a] + vectors[b] - vectors[less]
    tried = {"own": vectors[name], "sum": total, "a": vectors[a], "b": vectors[b]}
    prompts = asked.prompts(min(count, len(asked.pairs)), shots=0, seed=seed)
    hits = first_tokens(lm, prompts, {key: (vector, layer, strength) for key, vector in tried.items()})
    shares = {key: Share("zero-shot", key, sum(own), len(own)) for key, own in hits.items()}
    cosine = total.cosine(vectors[name])
    return Corner(name, (a, b, less), cosine, shares["plain"], shares["own"], shares["sum"], (shares["a"], shares["b"]))
