"""The rank that rows need: what is left out, what stays told apart, what does not move."""

from __future__ import annotations

import tiny
import torch

import concept_edit as ce
from concept_edit.answer.solving import placed
from concept_edit.memory.bounds import Bounds
from concept_edit.memory.cut import cut
from concept_edit.memory.guard import solve_guarded
from concept_edit.memory.solve import Factors

RECIPE = ce.Recipe(
    edits=[ce.Erase("cat"), ce.Erase("red apple", wordings=("{}", "a {}"))], preserve=["dog", "tree"], keep_common=False
)


def solved():
    statistics = ce.collect(tiny.tiny_model("sdxl"), RECIPE)
    problem, around = placed(statistics, "text")
    return statistics, problem, around, solve_guarded(problem, around, Bounds.of(RECIPE)).factors


def error(factors, fewer, rows, whole):
    moved = rows.double() @ (factors.dense() - fewer.dense()).T
    return float((moved.norm(dim=1) / whole).max())


def test_no_row_is_moved_otherwise_by_more_than_a_hundredth():
    _, problem, around, factors = solved()
    fewer, none = cut(factors, None, problem, around)
    assert none is None
    assert 0 < fewer.rank < factors.rank
    far = (problem.sources.double() - around.mean).norm(dim=1)
    way = torch.maximum((problem.goals - problem.sources).double().norm(dim=1), 0.1 * far)
    others = torch.cat([problem.kept, around.ordinary])
    rows, whole = torch.cat([problem.sources, others]), torch.cat([way, (others.double() - around.mean).norm(dim=1)])
    assert error(factors, fewer, rows, whole) <= 0.01 + 1e-9
    less = Factors(fewer.left[:, :-1], fewer.right[:-1])
    assert error(factors, less, rows, whole) > 0.01, "one singular value fewer is too few"


def test_concepts_are_cut_apart_and_what_is_fixed_stays_fixed():
    statistics, problem, around, factors = solved()
    counts = torch.bincount(statistics.streams["text"].pairs.owner).tolist()
    if sum(counts) > problem.width:
        counts = [problem.width // 2, problem.width - problem.width // 2]
    fewer, left = cut(factors, counts, problem, around)
    assert sum(left) == fewer.rank
    assert all(0 < n <= whole for n, whole in zip(left, counts, strict=True))
    first = factors.left[:, : counts[0]].double() @ factors.right[: counts[0]].double()
    own = fewer.left[:, : left[0]].double() @ fewer.right[: left[0]].double()
    assert float((first - own).norm() / first.norm()) < 0.1
    null = around.fixed.double()
    assert float((null @ fewer.dense().double().T).norm()) < 1e-5 * float(null.norm())


def test_an_empty_map_stays_empty():
    _, problem, around, factors = solved()
    none = Factors(factors.left[:, :0], factors.right[:0])
    fewer, left = cut(none, [0, 0], problem, around)
    assert (fewer.rank, left) == (0, (0, 0))
