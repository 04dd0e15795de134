"""The rivals' solvers against plain answers: least squares written out, layer by layer, by other means."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from oracles import difference, edited
from torch import Tensor

from concept_edit.memory.solve import Problem

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "rivals.py"
WIDTH = 12


def _rivals() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rivals_under_test", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


rivals = _rivals()


def _rows(count: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=draw, dtype=torch.float64) + torch.linspace(-1, 1, WIDTH)


@pytest.fixture
def problem() -> Problem:
    weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    return Problem(_rows(3, 1), _rows(3, 2), weights, _rows(4, 3), torch.ones(4, dtype=torch.float64), 0.7)


@pytest.fixture
def matrices() -> list[Tensor]:
    return [_rows(5, 11), _rows(9, 12)]


def _plain(problem: Problem, matrix: Tensor) -> Tensor:
    pairs = [(c, t, float(s)) for c, t, s in zip(problem.sources, problem.goals, problem.weights, strict=True)]
    return edited(matrix, pairs, [(k, 1.0) for k in problem.kept], problem.ridge)


def _basis(free_of: Tensor, *, fixed: Tensor | None = None) -> Tensor:
    """Directions orthogonal to every row, by elimination: no eigenvalues, no projector."""
    basis: list[Tensor] = []
    rows = free_of if fixed is None else torch.cat([free_of, fixed])
    taken: list[Tensor] = []
    for candidate in [*rows, *torch.eye(WIDTH, dtype=torch.float64)]:
        left = candidate.clone()
        for _ in range(2):
            for one in (*taken, *basis):
                left = left - (left @ one) * one
        if left.norm() > 1e-8 * candidate.norm():
            (taken if len(taken) < len(rows) else basis).append(left / left.norm())
    return torch.stack(basis)


def _restricted(problem: Problem, matrix: Tensor, basis: Tensor) -> Tensor:
    """Minimiser of Σ s ‖(W + Y B) c − W t‖² + λ ‖Y‖² over Y, an output at a time, as one stacked least squares."""
    roots = problem.weights.sqrt()[:, None]
    left = torch.cat([roots * (problem.sources @ basis.T), problem.ridge**0.5 * torch.eye(len(basis)).double()])
    found = []
    for row in matrix:
        wanted = roots[:, 0] * ((problem.goals - problem.sources) @ row)
        right = torch.cat([wanted, torch.zeros(len(basis), dtype=torch.float64)])
        found.append(torch.linalg.lstsq(left, right[:, None]).solution[:, 0])
    return torch.stack(found) @ basis


def test_uce_is_equation_seven(problem: Problem, matrices: list[Tensor]) -> None:
    change = rivals.uce(problem)
    for matrix in matrices:
        assert difference(matrix + matrix @ change, _plain(problem, matrix)) < 1e-10


def test_rece_sends_what_revives_a_concept_to_its_goal(problem: Problem, matrices: list[Tensor]) -> None:
    gram = sum(m.T @ m for m in matrices)
    ridge = 0.2
    change = rivals.rece(problem, gram, rounds=2, ridge=ridge)

    asked, penalty = problem, ridge * float(torch.trace(gram)) / WIDTH
    for _ in range(2):
        new = [_plain(asked, m) for m in matrices]
        # the revived row as one stacked least squares over all layers
        left = torch.cat([*new, penalty**0.5 * torch.eye(WIDTH, dtype=torch.float64)])
        revived = []
        for c in problem.sources:
            right = torch.cat([*(m @ c for m in matrices), torch.zeros(WIDTH, dtype=torch.float64)])
            revived.append(torch.linalg.lstsq(left, right[:, None]).solution[:, 0])
        asked = replace(
            asked,
            sources=torch.cat([asked.sources, torch.stack(revived)]),
            goals=torch.cat([asked.goals, problem.goals]),
            weights=torch.cat([asked.weights, problem.weights]),
        )
    for matrix in matrices:
        assert difference(matrix + matrix @ change, _plain(asked, matrix)) < 1e-9
    assert difference(change, rivals.uce(problem)) > 1e-3


def test_no_round_of_rece_is_uce(problem: Problem, matrices: list[Tensor]) -> None:
    gram = sum(m.T @ m for m in matrices)
    assert torch.equal(rivals.rece(problem, gram, rounds=0), rivals.uce(problem))


def test_ace_is_the_least_squares_on_what_kept_rows_leave_free(problem: Problem, matrices: list[Tensor]) -> None:
    change, basis = rivals.ace(problem, threshold=1e-9), _basis(problem.kept)
    for matrix in matrices:
        assert difference(matrix @ change, _restricted(problem, matrix, basis)) < 1e-9
    assert (change @ problem.kept.T).norm() < 1e-9 * problem.kept.norm()


def test_a_higher_threshold_frees_directions_and_lets_kept_rows_move(problem: Problem) -> None:
    tight, loose = (rivals.ace(problem, threshold=t) for t in (1e-9, 0.5))
    assert (loose @ problem.kept.T).norm() > 1e-3
    ways = (problem.goals - problem.sources).T
    assert (loose @ problem.sources.T - ways).norm() < (tight @ problem.sources.T - ways).norm()


def test_speed_is_the_least_squares_with_its_equality(problem: Problem, matrices: list[Tensor]) -> None:
    fixed, settings = _rows(2, 4), rivals.Speed(threshold=1e-9, filtered=False, copies=0)
    for matrix in matrices:
        found = rivals.speed(matrix, problem, fixed, settings)
        assert difference(found, _restricted(problem, matrix, _basis(problem.kept, fixed=fixed))) < 1e-8
        assert (found @ fixed.T).norm() < 1e-8
        assert found.norm() > 1e-2


def test_speed_filters_by_what_erasing_alone_would_move(problem: Problem, matrices: list[Tensor]) -> None:
    matrix, fixed = matrices[0], _rows(1, 4)
    alone = replace(problem, kept=problem.kept[:0], kept_weights=problem.kept_weights[:0])
    shift = _plain(alone, matrix) - matrix
    moved = torch.stack([(shift @ k).square().sum() for k in problem.kept])
    stays = problem.kept[moved >= moved.mean()]
    assert 0 < len(stays) < len(problem.kept)
    found = rivals.speed(matrix, problem, fixed, rivals.Speed(threshold=1e-9, copies=0))
    assert difference(found, _restricted(problem, matrix, _basis(stays, fixed=fixed))) < 1e-8


def test_speeds_copies_hold_the_directions_that_the_matrix_reads_least(
    problem: Problem, matrices: list[Tensor]
) -> None:
    matrix = matrices[1]
    _, _, directions = torch.linalg.svd(matrix, full_matrices=True)
    settings = rivals.Speed(threshold=1e-9, filtered=False, copies=3, directions=1)
    found = rivals.speed(matrix, problem, _rows(1, 4), settings)
    basis = _basis(torch.cat([problem.kept, directions[-1:]]), fixed=_rows(1, 4))
    assert difference(found, _restricted(problem, matrix, basis)) < 1e-7
