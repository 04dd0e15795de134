"""Property tests: any shape, rank, repetition and near-repetition gives a bounded answer or a clear refusal."""

from __future__ import annotations

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import difference, edited

from concept_edit.memory.solve import Problem, solve_problem
from concept_edit.recipe import Erase, Moderate, Recipe, normal

few = settings(max_examples=40, deadline=None)
scales = st.floats(0.01, 100.0)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    str.strip
)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Rows around a common mean; some repeated exactly, some but for a hair; weights over four decades."""
    width, edits, keeps = draw(st.integers(1, 12)), draw(st.integers(1, 20)), draw(st.integers(0, 20))
    source = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    mean, hair = draw(st.sampled_from([0.0, 1.0, 30.0])), draw(st.sampled_from([0.0, 1e-7, 1e-3, 1.0]))
    base = mean + torch.randn(draw(st.integers(1, 6)), width, generator=source)

    def rows(n: int) -> torch.Tensor:
        pick = torch.randint(len(base), (n,), generator=source)
        return base[pick] + hair * torch.randn(n, width, generator=source)

    def weights(n: int) -> torch.Tensor:
        return 10 ** (4 * torch.rand(n, generator=source, dtype=torch.float64) - 2)

    ridge = draw(st.sampled_from([1e-6, 1e-3, 0.5, 10.0]))
    return Problem(rows(edits), mean + torch.randn(edits, width, generator=source), weights(edits), rows(keeps),
                   weights(keeps), ridge)  # fmt: skip


def loss(p: Problem, change: torch.Tensor) -> float:
    """The objective at W = I, W' = I + change."""
    moved, kept = p.sources.double() @ (change.T + torch.eye(p.width)) - p.goals.double(), p.kept.double() @ change.T
    return float(
        (p.weights * moved.square().sum(1)).sum()
        + (p.kept_weights * kept.square().sum(1)).sum()
        + p.ridge * change.square().sum()
    )


@few
@given(problems())
def test_the_answer_is_finite_and_the_best_or_there_is_a_clear_refusal(p):
    try:
        change = solve_problem(p).dense()
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert "raise the ridge" in refusal
        assert p.ridge < 0.1
        return
    assert torch.isfinite(change).all()
    best = loss(p, change)
    assert best <= loss(p, torch.zeros_like(change)) * (1 + 1e-9)
    draw = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-1):
        nudge = size * torch.randn(p.width, p.width, generator=draw, dtype=torch.float64)
        assert best <= loss(p, change + nudge) * (1 + 1e-9)


@few
@given(problems())
def test_the_factors_are_as_small_as_they_can_be_and_equal_the_oracle(p):
    assume(p.ridge >= 1e-3)
    factors = solve_problem(p)
    assert factors.rank == min(len(p.sources), p.width) or len(p.sources) <= p.width
    assert factors.rank <= p.width
    pairs = [(c, t, float(s)) for c, t, s in zip(p.sources, p.goals, p.weights, strict=True)]
    kept = [(k, float(w)) for k, w in zip(p.kept, p.kept_weights, strict=True)]
    w = torch.eye(p.width, dtype=torch.float64)
    assert difference(w + factors.dense(), edited(w, pairs, kept, p.ridge)) < 1e-5


@few
@given(problems(), scales)
def test_scaling_every_weight_and_the_ridge_changes_nothing(p, scale):
    assume(p.ridge >= 1e-3)
    scaled = Problem(p.sources, p.goals, p.weights * scale, p.kept, p.kept_weights * scale, p.ridge * scale)
    change = solve_problem(p).dense()
    assert torch.allclose(solve_problem(scaled).dense(), change, rtol=1e-5, atol=1e-6 * (1 + float(change.abs().max())))


@few
@given(problems(), st.data())
def test_a_row_that_comes_twice_is_a_row_of_twice_the_weight(p, data):
    assume(p.ridge >= 1e-3)
    n = data.draw(st.integers(0, len(p.sources) - 1))
    twice = Problem(torch.cat([p.sources, p.sources[n : n + 1]]), torch.cat([p.goals, p.goals[n : n + 1]]),
                    torch.cat([p.weights, p.weights[n : n + 1]]), p.kept, p.kept_weights, p.ridge)  # fmt: skip
    heavier = p.weights.clone()
    heavier[n] *= 2
    once = Problem(p.sources, p.goals, heavier, p.kept, p.kept_weights, p.ridge)
    a, b = solve_problem(twice).dense(), solve_problem(once).dense()
    assert torch.allclose(a, b, rtol=1e-5, atol=1e-6 * (1 + float(b.abs().max())))


@few
@given(st.lists(words, max_size=6, unique_by=normal), st.lists(words, max_size=4, unique_by=normal), scales, st.data())
def test_any_recipe_survives_yaml_and_the_compact_form(concepts, preserve, ridge, data):
    assume(not {normal(c) for c in concepts} & {normal(k) for k in preserve})
    kinds = [data.draw(st.sampled_from([Erase, Moderate])) for _ in concepts]
    edits = tuple(kind(concept) for kind, concept in zip(kinds, concepts, strict=True))
    recipe = Recipe(edits=edits, preserve=tuple(preserve), ridge=ridge)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.model_validate_json(recipe.compact()) == recipe
