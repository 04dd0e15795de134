"""The closed form on synthetic rows, against the paper's normal equations and its own theorems."""

from __future__ import annotations

import pytest
import torch
from oracles import difference, edited, objective

from concept_edit.memory.solve import (
    Factors,
    Problem,
    change,
    goal_moment,
    moment_matrix,
    right_factor,
    row_moment,
    solve_problem,
)


def problem(
    edits: int, keeps: int, width: int = 24, *, ridge: float = 0.5, seed: int = 0, mean: float = 3.0
) -> Problem:
    """Rows with a large common mean, as CLIP's, and uneven weights."""
    draw = torch.Generator().manual_seed(0)
    common = mean * torch.randn(width, generator=draw)
    sources, goals, kept = (common + torch.randn(n, width, generator=draw) for n in (edits, edits, keeps))
    weights, kept_weights = (0.2 + torch.rand(n, generator=draw, dtype=torch.float64) for n in (edits, keeps))
    return Problem(sources, goals, weights, kept, kept_weights, ridge)


def as_lists(p: Problem) -> tuple[list, list]:
    pairs = [(c.double(), t.double(), float(s)) for c, t, s in zip(p.sources, p.goals, p.weights, strict=True)]
    return pairs, [(k.double(), float(w)) for k, w in zip(p.kept, p.kept_weights, strict=True)]


def matrix(width: int = 24, seed: int = 9) -> torch.Tensor:
    return torch.randn(10, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SHAPES = [(1, 0), (3, 5), (20, 3), (23, 0), (20, 40), (24, 0), (30, 0), (60, 50)]


@pytest.mark.parametrize(("edits", "keeps"), SHAPES)
def test_the_answer_is_that_of_the_normal_equations(edits, keeps):
    p, w = problem(edits, keeps), matrix()
    pairs, kept = as_lists(p)
    new = w + w @ solve_problem(p).dense()
    assert difference(new, edited(w, pairs, kept, p.ridge)) < 1e-10


@pytest.mark.parametrize(("edits", "keeps"), [(3, 5), (20, 40), (60, 50)])
def test_the_gradient_of_the_objective_is_zero_at_the_answer(edits, keeps):
    p, w = problem(edits, keeps), matrix()
    pairs, kept = as_lists(p)
    new = (w + w @ solve_problem(p).dense()).requires_grad_()
    objective(new, w, pairs, kept, p.ridge).backward()
    start = w.clone().requires_grad_()
    objective(start, w, pairs, kept, p.ridge).backward()
    assert new.grad is not None
    assert start.grad is not None
    assert float(start.grad.norm()) > 1
    assert float(new.grad.norm()) < 1e-10 * float(start.grad.norm())


@pytest.mark.parametrize(("edits", "keeps", "rank"), [(0, 4, 0), (1, 0, 1), (24, 9, 24), (25, 9, 24), (200, 0, 24)])
def test_the_rank_is_the_number_of_rows_up_to_the_width(edits, keeps, rank):
    factors = solve_problem(problem(edits, keeps))
    assert factors.rank == rank
    assert factors.left.shape == (24, rank)
    assert factors.right.shape == (rank, 24)


def test_no_edit_is_the_identity():
    assert torch.equal(solve_problem(problem(0, 4)).dense(), torch.zeros(24, 24, dtype=torch.float64))


def test_changing_the_matrices_is_mapping_the_text_embedding():
    p, w = problem(4, 3), matrix()
    factors = solve_problem(p)
    h = torch.randn(7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    mapped = h + h @ factors.dense().T
    new = w + w @ factors.dense()
    assert torch.allclose(h @ new.T, mapped @ w.T, atol=1e-10)


def test_rows_given_as_sums_change_nothing():
    p = problem(6, 9)
    moment = row_moment(p.sources, p.weights) + row_moment(p.kept, p.kept_weights)
    cross = goal_moment(p.sources, p.goals, p.weights) - row_moment(p.sources, p.weights)
    none, empty = torch.zeros(0, 24), torch.zeros(0, dtype=torch.float64)
    summed = Problem(none, none, empty, none, empty, p.ridge, moment=moment, cross=cross)
    assert difference(solve_problem(summed).dense(), solve_problem(p).dense()) < 1e-10
    kept_summed = Problem(
        p.sources, p.goals, p.weights, none, empty, p.ridge, moment=row_moment(p.kept, p.kept_weights)
    )
    assert difference(solve_problem(kept_summed).dense(), solve_problem(p).dense()) < 1e-10
    assert solve_problem(kept_summed).rank == 6


def test_moments_are_the_same_whether_rows_come_in_one_block_or_many():
    p = problem(9000, 0, 8)
    by_hand = (p.weights[:, None] * p.sources.double()).T @ p.sources.double()
    assert difference(row_moment(p.sources, p.weights), by_hand) < 1e-12
    crossed = p.goals.double().T @ (p.weights[:, None] * p.sources.double())
    assert difference(goal_moment(p.sources, p.goals, p.weights), crossed) < 1e-12
    shared = p.goals[torch.arange(9000) % 7]
    crossed = shared.double().T @ (p.weights[:, None] * p.sources.double())
    assert difference(goal_moment(p.sources, shared, p.weights), crossed) < 1e-12
    wide = problem(300, 0, 513)
    assert (
        difference(row_moment(wide.sources, torch.ones(300)), wide.sources.double().T @ wide.sources.double()) < 1e-14
    )


def test_goals_move_without_a_new_factorisation():
    p = problem(3, 30)
    moved = Problem(p.sources, p.goals + 1, p.weights, p.kept, p.kept_weights, p.ridge)
    assert torch.equal(right_factor(p), right_factor(moved))


def test_the_order_of_rows_does_not_matter():
    p = problem(5, 7)
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = Problem(
        p.sources[order], p.goals[order], p.weights[order], p.kept.flip(0), p.kept_weights.flip(0), p.ridge
    )
    assert difference(solve_problem(shuffled).dense(), solve_problem(p).dense()) < 1e-12


def test_a_single_edit_by_hand():
    c, t = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    none = torch.zeros(0, 2)
    one, empty = torch.ones(1, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    factors = solve_problem(Problem(c, t, one, none, empty, 0.5))
    expected = torch.tensor([[-2.0, 0.0], [1.0, 0.0]], dtype=torch.float64) * 2 / 4.5
    assert torch.allclose(factors.dense(), expected)


@pytest.mark.parametrize(("edits", "keeps"), [(3, 0), (3, 20)])
def test_ridge_zero_with_too_few_rows_is_refused(edits, keeps):
    with pytest.raises(ValueError, match="ridge 0 is too small"):
        solve_problem(problem(edits, keeps, ridge=0.0))


def test_ridge_zero_with_enough_rows_is_solved():
    p, w = problem(30, 30, ridge=0.0), matrix()
    pairs, kept = as_lists(p)
    assert difference(w + w @ solve_problem(p).dense(), edited(w, pairs, kept, 0.0)) < 1e-8


def test_alike_rows_that_leave_no_digits_are_refused():
    p = problem(1, 0)
    rows = p.sources.repeat(40, 1)
    weights, none, empty = torch.ones(40, dtype=torch.float64), torch.zeros(0, 24), torch.zeros(0, dtype=torch.float64)
    with pytest.raises(ValueError, match="raise the ridge"):
        solve_problem(Problem(rows, rows + 1, weights, none, empty, 0.0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_rows_are_refused_by_name(bad):
    p = problem(3, 4)
    p.kept[1, 2] = bad
    with pytest.raises(ValueError, match="kept hold NaN"):
        solve_problem(p)


def test_ill_conditioned_rows_keep_ten_digits():
    p, w = problem(100, 200, 64, mean=30.0, ridge=0.5), matrix(64)
    condition = torch.linalg.cond(moment_matrix(p))
    assert 1e5 < condition < 1e9
    pairs, kept = as_lists(p)
    assert difference(w + w @ solve_problem(p).dense(), edited(w, pairs, kept, p.ridge)) < 1e-9


@pytest.mark.parametrize("rank", [2, 20])
def test_change_takes_the_factors_either_way_round(rank):
    draw = torch.Generator().manual_seed(0)
    factors = Factors(torch.randn(24, rank, generator=draw), torch.randn(rank, 24, generator=draw))
    w = matrix().float()
    assert torch.allclose(change(factors)(w).double(), w.double() @ factors.dense(), rtol=1e-4, atol=1e-4)
