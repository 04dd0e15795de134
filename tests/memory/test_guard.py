"""The guarded solver: bounds, equality rows, foretold drift, refusal; on made-up rows and on the embedded model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import concept_edit as ce
from concept_edit.memory.guard import (
    Bounds,
    Surroundings,
    complement,
    foretold,
    merged,
    refuse_noise,
    solve_guarded,
)
from concept_edit.memory.rounds import Rounds
from concept_edit.memory.solve import Problem, solve_problem

WIDTH = 96
BOUNDS = Bounds(0.22, 0.3, 0.35, 4)


def rows(count, seed, *, width=WIDTH):
    """Rows with a common mean, as a text encoder's."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator) + 2 * torch.ones(width)


def problem(edits=6, keeps=30, seed=0):
    sources, kept = rows(edits, seed), rows(keeps, seed + 1)
    goals = kept.mean(dim=0).expand_as(sources)
    return Problem(sources, goals, torch.ones(edits).double(), kept, torch.ones(keeps).double(), 0.5)


def surroundings(seed=9, fixed=3):
    ordinary = rows(500, seed).double()
    return Surroundings(ordinary.T @ ordinary / 500, ordinary.mean(0), rows(fixed, seed + 1), ordinary.float())


@pytest.fixture(scope="module")
def model():
    return ce.open_model("demo")


@pytest.fixture(scope="module")
def recipe():
    kept = ["dog", "panda", "frog", "penguin", "car", "tree", "house", "star", "doctor"]
    return ce.Recipe(edits=[ce.Erase("cat"), ce.Moderate("knife")], preserve=kept, method="guarded")


def test_fixed_rows_do_not_move_and_the_rest_is_the_minimiser_on_what_is_free():
    asked, around = problem(), surroundings()
    found = solve_guarded(asked, around, BOUNDS._replace(rounds=0))
    change = found.factors.dense()
    moved = around.fixed.double() @ change.T
    assert float(moved.norm() / around.fixed.norm()) < 1e-12
    assert float(change.norm()) > 0.1
    basis = complement(around.fixed)
    inner = replace(asked, sources=asked.sources.double() @ basis, goals=asked.goals.double() @ basis,
                    kept=asked.kept.double() @ basis, moment=60.0 * basis.T @ around.moment @ basis)  # fmt: skip
    free = solve_problem(inner).right
    expected = (asked.goals - asked.sources).double().T @ free @ basis.T
    assert torch.allclose(change, expected, atol=1e-10)


def test_without_fixed_rows_corpus_or_rounds_it_is_plain_uce():
    asked = problem()
    none = Surroundings(torch.zeros(WIDTH, WIDTH).double(), torch.zeros(WIDTH).double(), rows(0, 1), rows(0, 1))
    found = solve_guarded(asked, none, BOUNDS._replace(rounds=0)).factors.dense()
    goals = (asked.goals - asked.sources).double()
    rows_ = torch.cat([asked.sources, asked.kept]).double()
    moment = 0.5 * torch.eye(WIDTH).double() + rows_.T @ rows_
    expected = goals.T @ asked.sources.double() @ torch.linalg.inv(moment)
    assert float((found - expected).norm() / expected.norm()) < 1e-10


def test_the_rounds_bring_the_worst_row_nearer_to_its_bound_than_one_solve_does():
    asked, around = problem(edits=8, keeps=40), surroundings()
    first = solve_guarded(asked, around, BOUNDS._replace(rounds=0))
    last = solve_guarded(asked, around, BOUNDS)
    over = [max(float(f.left.max()) / BOUNDS.left, float(f.drift.max()) / BOUNDS.drift) for f in (first, last)]
    assert over[1] < over[0]


def test_the_foretold_drift_of_a_kept_row_is_what_leaving_it_out_shows():
    asked, around = problem(), surroundings()
    bounds = BOUNDS._replace(rounds=0)
    told = solve_guarded(asked, around, bounds).predicted
    for i in (0, 7, 29):
        rest = [j for j in range(30) if j != i]
        fewer = replace(asked, kept=asked.kept[rest], kept_weights=asked.kept_weights[rest])
        change = solve_guarded(fewer, around, bounds).factors.dense()
        row = asked.kept[i].double()
        assert float((change @ row).norm() / (row - around.mean).norm()) == pytest.approx(float(told[i]), rel=1e-8)


def test_more_rows_than_the_width_give_the_same_map_as_a_dense_edit():
    asked = problem(edits=WIDTH + 20, keeps=10)
    found = solve_guarded(asked, surroundings(), BOUNDS._replace(rounds=1))
    assert found.factors.left.shape == (WIDTH, WIDTH)
    assert torch.equal(found.factors.right, torch.eye(WIDTH).double())
    assert float((surroundings().fixed.double() @ found.factors.dense().T).norm()) < 1e-9


def test_too_many_concepts_for_one_matrix_are_refused_with_the_figures():
    told = {"text": foretold(solve_guarded(problem(edits=90, keeps=200), surroundings(), BOUNDS))}
    with pytest.raises(ValueError, match=r"would paint noise.*'text'.*method 'gated'"):
        refuse_noise({"text": told["text"] | {"unnamed": 0.9}})
    refuse_noise({"text": told["text"] | {"unnamed": 0.5, "captions": 0.5}})


def test_merging_gives_the_means_of_near_pairs_with_the_sum_of_their_weights():
    asked = problem(edits=40)
    near = replace(
        asked,
        sources=torch.cat([asked.sources, asked.sources + 1e-3]),
        goals=torch.cat([asked.goals, asked.goals]),
        weights=torch.cat([asked.weights, 3 * asked.weights]),
    )
    found = merged(near, 40)
    assert len(found.sources) == len(found.goals) == len(found.weights) <= 40
    assert float(found.weights.sum()) == pytest.approx(float(near.weights.sum()))
    moment = (found.weights[:, None] * found.sources.double()).sum(0)
    assert torch.allclose(moment, (near.weights[:, None] * near.sources.double()).sum(0), atol=1e-3)
    for row, twin in zip(near.sources[:40], near.sources[40:], strict=True):
        owner, other = (torch.cdist(r[None], found.sources).argmin() for r in (row, twin))
        assert owner == other


def test_past_what_a_matrix_holds_near_rows_are_merged_and_each_concept_still_counted():
    generator = torch.Generator().manual_seed(3)
    kinds = rows(20, 4)
    sources = (kinds[:, None] + 0.3 * torch.randn(20, 10, WIDTH, generator=generator)).flatten(0, 1)
    kept = rows(60, 5)
    goals = kept.mean(dim=0).expand_as(sources)
    many = Problem(sources, goals, torch.ones(200).double(), kept, torch.ones(60).double(), 0.5)
    around, bounds = surroundings(), BOUNDS._replace(left=0.05)
    plain = Rounds(many, around).run(bounds)
    found = solve_guarded(many, around, bounds)
    assert plain.noise
    assert not found.noise
    assert found.factors.rank <= found.groups < 0.66 * WIDTH
    assert found.left.shape == plain.left.shape == (200,)
    change = found.factors.dense()
    left = ((sources.double() @ change.T) - (goals - sources).double()).norm(dim=1)
    assert torch.allclose(found.left, left / (goals - sources).double().norm(dim=1), rtol=1e-4)
    assert float(plain.left.mean()) < float(found.left.mean()) < 0.5
    assert foretold(found)["groups"] == found.groups
    assert "groups" not in foretold(solve_guarded(problem(), around, BOUNDS))


def test_a_stream_narrower_than_the_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="leave none to edit in"):
        solve_guarded(problem(), replace(surroundings(), fixed=rows(WIDTH, 3)), BOUNDS)


def test_the_empty_prompt_does_not_move_on_a_real_model(model, recipe):
    edit = ce.solve(model, recipe)
    null = model.encode([""])["text"].rows[0].double()
    change = edit.factors["text"].dense()
    assert float((null @ change.T).norm() / null.norm()) <= 1e-6
    cat = model.encode(["a cat"])["text"].rows[0, 2].double()
    assert float((change @ cat).norm() / cat.norm()) > 0.3
    assert set(edit.predicted["text"]) == {"left", "kept", "unnamed", "captions"}


def test_an_unnamed_guide_is_chosen_and_an_unnamed_rule_is_subject(model, recipe):
    assert recipe.tokens == "subject"
    assert recipe.guide_of(recipe.edits[0]) == "auto"
    assert recipe.guide_of(recipe.edits[1]) == ""
    goals = ce.collect(model, recipe).streams["text"].pairs
    own = goals.goals[goals.owner == 0]
    kept = model.encode(list(recipe.preserve))["text"]
    last = kept.rows[torch.arange(len(recipe.preserve)), kept.eos - 1].mean(dim=0)
    assert torch.allclose(own[0], last, atol=1e-5)
    few = recipe.model_copy(update={"preserve": ("dog",)})
    assert not torch.allclose(ce.collect(model, few).streams["text"].pairs.goals[0], last, atol=1e-2)


def test_file_sum_and_without_solve_anew_to_the_same_bits(model, recipe, tmp_path):
    edit = ce.solve(model, recipe)
    edit.save(tmp_path / "e.safetensors", statistics=True)
    loaded = ce.Edit.load(tmp_path / "e.safetensors")
    assert loaded.predicted == edit.predicted
    assert loaded.corpus == edit.corpus != ""
    fewer = loaded.without("knife")
    alone = ce.solve(model, recipe.without("knife"))
    assert torch.allclose(fewer.factors["text"].dense(), alone.factors["text"].dense(), atol=2e-4)
    other = ce.solve(model, ce.Recipe(edits=[ce.Erase("gun")], preserve=recipe.preserve, method="guarded"))
    joint = edit + other
    assert sorted(joint.concepts) == ["cat", "gun", "knife"]
    again = ce.solve(model, recipe)
    assert torch.equal(again.factors["text"].right, edit.factors["text"].right)


def test_statistics_of_plain_uce_cannot_be_solved_guarded(model, recipe):
    plain = ce.collect(model, recipe.model_copy(update={"method": "uce"}))
    with pytest.raises(ValueError, match="collected for method 'uce'"):
        ce.solve_statistics(plain, recipe)
