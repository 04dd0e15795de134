"""The guarded solve on the rows' side: the dense form's answer, in memory that grows with rows; channels and lenses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from oracles import difference

from concept_edit.memory.guard import Bounds, Surroundings, solve_guarded
from concept_edit.memory.solve import Problem

BOUNDS = Bounds(left=0.1, drift=0.1, corpus=0.1, rounds=4)
WIDTH = 96


def problem(width=WIDTH, sources=6, kept=20, massive=1.0):
    generator = torch.Generator().manual_seed(3)
    draw = lambda n: torch.randn(n, width, generator=generator) * channels(width, massive)  # noqa: E731
    rows = {"sources": draw(sources), "goals": draw(sources), "kept": draw(kept)}
    asked = Problem(rows["sources"], rows["goals"], torch.ones(sources), rows["kept"], torch.ones(kept), 0.5)
    return asked, draw(3), draw(30), draw(40)


def channels(width, massive):
    scale = torch.ones(width)
    scale[7] = massive
    return scale


def surroundings(fixed, corpus, ordinary, *, wide, scale=None, lens=None):
    rows, floor = corpus / len(corpus) ** 0.5 * 0.8, torch.tensor(0.3, dtype=torch.float64)
    squares = torch.ones(corpus.shape[1]) if scale is None else scale.square()
    dense = rows.double().T @ rows.double() + float(floor) * squares.double().diag()
    mean = torch.zeros(corpus.shape[1], dtype=torch.float64)
    more = {"floor": floor if wide else None, "scale": scale, "lens": lens}
    return Surroundings(rows if wide else dense, mean, fixed, ordinary, **more)


@pytest.mark.parametrize("seen", [None, 12])
@pytest.mark.parametrize("tokens", [0, 40])
def test_the_row_form_is_the_dense_form(seen, tokens):
    asked, fixed, corpus, ordinary = problem()
    lens = None if seen is None else torch.randn(seen, WIDTH, generator=torch.Generator().manual_seed(1))
    uneven = 0.5 + torch.rand(WIDTH, generator=torch.Generator().manual_seed(2)).double()
    scale = None if seen is None else uneven / uneven.square().mean().sqrt()
    dense, rows = (
        solve_guarded(asked, surroundings(fixed, corpus, ordinary[:tokens], wide=w, scale=scale, lens=lens), BOUNDS)
        for w in (False, True)
    )
    assert difference(rows.factors.dense(), dense.factors.dense()) < 1e-8
    for name in ("left", "drift", "predicted"):
        torch.testing.assert_close(getattr(rows, name), getattr(dense, name), rtol=1e-8, atol=1e-10)
    assert rows.corpus == pytest.approx(dense.corpus, rel=1e-8)
    assert bool(dense.left.max() < 1)


@pytest.mark.parametrize("wide", [False, True])
def test_fixed_rows_stay_also_where_channels_are_scaled(wide):
    asked, fixed, corpus, ordinary = problem(massive=300.0)
    scale = channels(WIDTH, 300.0) / channels(WIDTH, 300.0).square().mean().sqrt()
    found = solve_guarded(asked, surroundings(fixed, corpus, ordinary, wide=wide, scale=scale), BOUNDS)
    assert float((found.factors.dense() @ fixed.double().T).norm()) < 1e-8 * float(fixed.norm())


def test_a_massive_channel_does_not_decide():
    """One channel 300 times the rest, which no reader listens to: relative to channels and as the readers see it the
    concept goes, and what is kept stays; by plain lengths that channel takes up all the care."""
    asked, fixed, corpus, ordinary = problem(massive=300.0)
    lens = torch.eye(WIDTH)[torch.arange(WIDTH) != 7]
    scale = channels(WIDTH, 300.0) / channels(WIDTH, 300.0).square().mean().sqrt()
    plain = surroundings(fixed, corpus, ordinary, wide=False)
    weighed = replace(surroundings(fixed, corpus, ordinary, wide=False, scale=scale), lens=lens)

    def left(around):
        change = solve_guarded(asked, around, BOUNDS).factors.dense()
        ways = (asked.goals - asked.sources).double() @ lens.double().T
        moved = asked.sources.double() @ change.T @ lens.double().T
        return float((moved - ways).norm() / ways.norm())

    assert left(weighed) < 0.3
    assert left(weighed) < 0.8 * left(plain)


def test_wide_streams_take_no_square_matrix():
    """15,360 channels: a d x d float64 matrix takes 1.9 GB; rows take a hundredth of that, and seconds."""
    asked, fixed, corpus, ordinary = problem(width=15360, sources=8, kept=30)
    around = surroundings_wide(fixed, corpus, ordinary)
    found = solve_guarded(asked, around, BOUNDS)
    assert found.factors.left.shape == (15360, 8)
    assert float(found.left.max()) < 0.2
    assert float(found.drift.max()) < 0.2


def surroundings_wide(fixed, corpus, ordinary):
    mean = torch.zeros(corpus.shape[1], dtype=torch.float64)
    return Surroundings(corpus / 40**0.5, mean, fixed, ordinary, floor=torch.tensor(0.1, dtype=torch.float64))
