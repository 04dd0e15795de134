"""The guarded solver: the same closed form, with every row's weight moved until the row is where it should be.

Plain UCE weighs all rows alike, so that easy concepts are erased far past need at the price of everything else. Here
three bounds are given, and a few solves find the weights that meet them:

    ‖c + A c − t‖ ≤ left · ‖t − c‖               every source row: the concept is gone
    ‖A k‖         ≤ drift · ‖k − μ‖              every kept row: what is named stays
    E ‖A k‖²      ≤ corpus² · E ‖k − μ‖²         ordinary caption tokens: so does everything else

μ is the corpus' mean; captions that ask for an erased concept are not ordinary. What holds captions is their moment
K0, however many they are. After each solve a row's weight is multiplied by what the row shows over its bound
(iteratively reweighted least squares). Rows that must not move at all, BOS and the empty prompt that guidance
subtracts, are an equality: the map is sought on the complement of their span, where A e = 0 holds whatever the weights.

Rows of common names are kept as if somebody had named them. They hold back other wordings of what goes, too, so where
all bounds hold with room to spare, as they do for one concept, less is left than its bound asks.

How far a prompt that nobody named will move is predicted without holding any out, by the leave-one-out identity of
ridge regression: had a kept row k of weight p not been kept, its drift would be ‖A k‖ / (1 − p kᵀM⁻¹k).

One matrix holds about d_text rows. Where that prediction foretells noise and there are more source rows than two thirds
of the free directions, near pairs are merged into so many groups, each with the mean of its rows: less of each
concept goes, and the rest stays a picture.

Lengths are those the readers see where the surroundings have a `lens`, and channels are weighed alike where they have a
`scale`: some channels of a language model are hundreds of times the rest.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from concept_edit.memory.bounds import Bounds, Guarded, Surroundings, foretold, refuse_noise
from concept_edit.memory.rounds import Rounds, RowRounds, complement
from concept_edit.memory.solve import Problem

__all__ = [
    "Bounds",
    "Guarded",
    "Surroundings",
    "complement",
    "foretold",
    "merged",
    "refuse_noise",
    "solve_guarded",
]

_HELD = 0.65
"""Groups of source rows for each free direction. Fewer leave more of each concept, more take the others along; at 600
of 900 artists identity was best here."""
_EAGER, _NEARLY = 0.15, 0.95
"""Share of the bound on what is left that is aimed at where there is room, and the share of kept rows that must be
within theirs then."""
_PROMPT = 1 / 3
"""Weight of a prompt of a common name beside that of a kept prompt."""
_LLOYD = 20
"""Passes of k-means over the rows."""


def solve_guarded(problem: Problem, around: Surroundings, bounds: Bounds, *, merge: bool = True) -> Guarded:
    """The map that comes nearest to `bounds` after `bounds.rounds` further solves, float64.

    Where it foretells noise because there are too many rows, near ones are merged first (unless `merge` is False).
    Where common names are held, less is left than the bound asks if all bounds hold even so.

    Not additive: the weights depend on all rows together, so `+` and `without` solve anew from the rows.

    Raises:
        ValueError: pairs held as sums (too many to weigh one by one), or rows too alike for the ridge.
    """
    if problem.moment is not None:
        raise ValueError(
            "a guarded solve weighs every row, and these are too many to hold one by one; use the token rule 'last', "
            "fewer wordings, or method 'uce'"
        )
    named, held = len(problem.kept), around.common is not None
    problem, around = with_common(problem, around)
    form = Rounds if around.floor is None else RowRounds
    rounds = form(problem, around)
    found, groups = rounds.run(bounds), int(_HELD * rounds.free)
    if held and _within(found, bounds):
        further = form(problem, around).run(bounds._replace(left=_EAGER * bounds.left))
        found = further if _within(further, bounds) else found
    if merge and found.noise and len(problem.sources) > groups:
        fewer = form(merged(problem, groups), around).run(bounds)
        found = fewer._replace(left=rounds.left(fewer.factors), groups=groups)
    return found._replace(drift=found.drift[:named])


def _within(found: Guarded, bounds: Bounds) -> bool:
    """Whether nearly all that should stay does."""
    drifts = found.drift.sort().values
    nearly = float(drifts[int(_NEARLY * (len(drifts) - 1))]) if len(drifts) else 0.0
    return nearly <= bounds.drift and found.corpus <= bounds.corpus


def with_common(problem: Problem, around: Surroundings) -> tuple[Problem, Surroundings]:
    """The problem with the rows of common names among the kept ones, and the surroundings without them. Each of their
    prompts has a third of the weight of a kept one, for a name is told in three; its rows share it."""
    if around.common is None or around.common_of is None:
        return problem, around
    weights = (_PROMPT / around.common_of.bincount().double())[around.common_of]
    kept = torch.cat([problem.kept, around.common])
    weights = torch.cat([problem.kept_weights, weights])
    return replace(problem, kept=kept, kept_weights=weights), around.without_common()


def merged(problem: Problem, groups: int) -> Problem:
    """The problem with its pairs merged into at most `groups`, by k-means over sources and goals together.

    A group has the weighted mean of its rows and the sum of their weights. The same rows give the same groups.
    """
    pairs = torch.cat([problem.sources, problem.goals], dim=1).double()
    centres, weights = pairs[_spread_out(pairs, groups)], problem.weights.double()
    for _ in range(_LLOYD):
        own = torch.cdist(pairs, centres).argmin(dim=1)
        shares = torch.zeros(len(centres), dtype=torch.float64).index_add_(0, own, weights)
        sums = torch.zeros_like(centres).index_add_(0, own, weights[:, None] * pairs)
        centres, shares = (sums / shares[:, None])[shares > 0], shares[shares > 0]
    sources, goals = centres.float().split(problem.width, dim=1)
    return replace(problem, sources=sources, goals=goals, weights=shares)


def _spread_out(rows: Tensor, count: int) -> list[int]:
    """Where k-means starts: each time a row drawn by its squared distance from all chosen ones (k-means++)."""
    generator = torch.Generator().manual_seed(0)
    chosen, near = [0], (rows - rows[0]).square().sum(dim=1)
    while len(chosen) < count and bool(near.any()):
        chosen.append(int(torch.multinomial(near, 1, generator=generator)))
        near = torch.minimum(near, (rows - rows[chosen[-1]]).square().sum(dim=1))
    return chosen
