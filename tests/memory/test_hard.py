"""Rewriting a matrix against oracles written from the papers."""

from __future__ import annotations

import pytest
import torch

from concept_edit.memory.hard import Memory, even_key, null_basis, project, rewrite_matrix, shares, whiten
from concept_edit.memory.moments import Moment, condition, shrink
from concept_edit.memory.verbs import changed, write

N, D_KEY, D_OUT = 5, 12, 7


@pytest.fixture
def case():
    """W, keys, wanted changes and a moment with directions of very different use."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    ordinary = draw(400, D_KEY) * torch.logspace(0, -2, D_KEY, dtype=torch.float64)
    return draw(D_OUT, D_KEY), draw(N, D_KEY), draw(N, D_OUT), ordinary.T @ ordinary / 400


def memory(keys, reach, wanted):
    return Memory(keys.float(), reach.float(), wanted.float())


def dense(memory, mode):
    left, right = rewrite_matrix(memory, mode)
    return left.double() @ right.double()


def test_one_key_is_romes_rank_one(case):
    """Equation 2 of ROME: W + Λ (C⁻¹ k)ᵀ, Λ = (v − W k) / (C⁻¹ k)ᵀ k."""
    W, keys, wanted, C = case
    k, v = keys[0], W @ keys[0] + wanted[0]
    c = torch.linalg.inv(C) @ k
    oracle = torch.outer((v - W @ k) / (c @ k), c)
    torch.testing.assert_close(
        dense(memory(keys[:1], whiten(keys[:1], C), wanted[:1]), "hard"), oracle, rtol=1e-5, atol=1e-6
    )


def test_an_even_key_reaches_each_context_alike_with_the_least_change(case):
    """Oracle: the least uᵀ C u with u · k_i = 1 for every context; a large ridge gives the mean."""
    _, keys, _, C = case
    each = torch.stack([keys[:3], keys[2:]])
    found = even_key(each, C, ridge=1e-12)
    for own, key in zip(each, found, strict=True):
        root = torch.linalg.cholesky(C)
        least = torch.linalg.solve(root.T, torch.linalg.pinv(own @ torch.linalg.inv(root).T) @ torch.ones(3).double())
        u = torch.linalg.solve(C, key)
        torch.testing.assert_close(u / (u @ own[0]), least, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(own @ u, (own @ u).mean().expand(3), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(even_key(each, C, ridge=1e9), each.mean(dim=1), rtol=1e-6, atol=1e-8)


def test_hard_holds_every_value_with_the_least_disturbance(case):
    _, keys, wanted, C = case
    delta = dense(memory(keys, whiten(keys, C), wanted), "hard")
    torch.testing.assert_close(delta @ keys.T, wanted.T, rtol=1e-4, atol=1e-5)
    cost = torch.trace(delta @ C @ delta.T)
    basis = torch.linalg.svd(keys, full_matrices=True).Vh[N:]
    for n in range(20):
        other = (
            delta
            + torch.randn(D_OUT, len(basis), generator=torch.Generator().manual_seed(n), dtype=torch.float64)
            @ basis
            / 10
        )
        assert torch.trace(other @ C @ other.T) > cost


def test_soft_is_the_least_squares(case):
    """Against rows stacked in one ordinary least squares problem."""
    _, keys, wanted, C = case
    root = torch.linalg.cholesky(C).T
    rows = torch.cat([keys, root])
    goals = torch.cat([wanted, torch.zeros(D_KEY, D_OUT, dtype=torch.float64)])
    oracle = torch.linalg.lstsq(rows, goals).solution.T
    torch.testing.assert_close(dense(memory(keys, whiten(keys, C), wanted), "soft"), oracle, rtol=1e-4, atol=1e-5)


def test_sequence_is_one_rewrite_after_the_other(case):
    W, keys, wanted, C = case
    now = W.clone()
    for key, change in zip(keys, wanted, strict=True):
        c = torch.linalg.inv(C) @ key
        now += torch.outer((W @ key + change - now @ key) / (c @ key), c)
    found = dense(memory(keys, whiten(keys, C), wanted), "sequence")
    torch.testing.assert_close(found, now - W, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((W + found) @ keys[-1], W @ keys[-1] + wanted[-1], rtol=1e-4, atol=1e-4)
    assert (found @ keys[0] - wanted[0]).abs().max() > 1e-2, "the first is disturbed by the later ones"


def test_null_space_leaves_what_ordinary_keys_use(case):
    """Against AlphaEdit's formula R Kᵀ P (K Kᵀ P + L I)⁻¹."""
    _, keys, wanted, C = case
    basis, ridge = null_basis(C, 0.05), 0.1
    P = basis @ basis.T
    oracle = wanted.T @ keys @ P @ torch.linalg.inv(keys.T @ keys @ P + ridge * torch.eye(D_KEY, dtype=torch.float64))
    delta = dense(memory(keys, project(keys, basis, ridge), wanted), "soft")
    torch.testing.assert_close(delta, oracle, rtol=1e-4, atol=1e-5)
    used = torch.linalg.eigh(C).eigenvectors[:, -(D_KEY - basis.shape[1]) :]
    assert (delta @ used).abs().max() < 1e-5
    assert 0 < basis.shape[1] < D_KEY
    with pytest.raises(ValueError, match="raise the threshold"):
        null_basis(torch.eye(4), 0.5)


def test_a_row_is_taken_out_without_the_moment(case):
    _, keys, wanted, C = case
    whole = memory(keys, whiten(keys, C), wanted)
    fewer = memory(keys[:4], whiten(keys[:4], C), wanted[:4])
    for mode in ("hard", "sequence", "soft"):
        torch.testing.assert_close(dense(whole.pick([0, 1, 2, 3]), mode), dense(fewer, mode))
        told = whole.wanted.double().T @ shares(whole, mode).double()
        torch.testing.assert_close(told, dense(whole, mode), rtol=1e-4, atol=1e-5)


def test_the_same_key_twice_has_no_exact_answer_but_a_soft_one(case):
    _, keys, wanted, C = case
    twice = torch.cat([keys[:1], keys[:1]])
    held = memory(twice, whiten(twice, C), wanted[:2])
    with pytest.raises(ValueError, match="the same"):
        rewrite_matrix(held, "hard")
    assert bool(dense(held, "soft").isfinite().all())


def test_moments_stream(case):
    rows = torch.randn(50, D_KEY, generator=torch.Generator().manual_seed(1))
    moment = Moment.empty(D_KEY)
    for part in rows.split(7):
        moment.add(part)
    torch.testing.assert_close(moment.mean, rows.double().T @ rows.double() / 50, rtol=1e-5, atol=1e-6)
    assert moment.count == 50
    shrunk = shrink(moment.mean, 0.3)
    torch.testing.assert_close(shrunk.trace(), moment.mean.trace())
    assert condition(shrunk) < condition(moment.mean)
    torch.testing.assert_close(shrink(moment.mean, 1.0), torch.eye(D_KEY).double() * moment.mean.trace() / D_KEY)
    with pytest.raises(ValueError, match="no keys"):
        _ = Moment.empty(3).mean
    with pytest.raises(ValueError, match="no share"):
        shrink(moment.mean, 1.5)
    with pytest.raises(ValueError, match="no inverse"):
        whiten(rows[:1], torch.zeros(D_KEY, D_KEY))
    assert condition(torch.zeros(2, 2)) == float("inf")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_changes_are_undone_to_the_bit_also_after_a_failure(dtype):
    weights = {"a": torch.randn(4, 3).to(dtype), "b": torch.randn(2, 2).to(dtype)}
    before = {name: weight.clone() for name, weight in weights.items()}
    changes = {"a": lambda W: torch.ones_like(W).float(), "b": lambda W: W.float() * 0.1}
    with changed(weights, changes, 0.5), changed(weights, changes, 0.5):
        assert not torch.equal(weights["b"], before["b"])
    assert all(torch.equal(weights[name], before[name]) for name in before)
    with pytest.raises(RuntimeError, match="inside"), changed(weights, changes, 0.5):
        raise RuntimeError("inside")
    assert all(torch.equal(weights[name], before[name]) for name in before)
    with pytest.raises(ValueError, match="nothing was changed"):
        write(weights, {**changes, "b": lambda W: W.float() / 0}, 1.0)
    with pytest.raises(ValueError, match="strength nan"):
        write(weights, changes, float("nan"))
    assert all(torch.equal(weights[name], before[name]) for name in before)
    assert write(weights, changes, 0.0) == {}
