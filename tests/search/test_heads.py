"""Head rankings: the fast way equals plain runs, a planted head is found, nothing is done twice."""

from __future__ import annotations

import pytest
import torch

from concept_edit.language.tasks import Task
from concept_edit.search.head_effects import answer_token, head_effects, head_place, mean_heads, shuffled
from concept_edit.search.heads import Heads, rank_heads
from concept_edit.search.hooks import changed
from tests.language.models import opened

TASK = Task("t", [(a, b) for a, b in zip("abcdefgh", "ABCDEFGH", strict=True)], "{input}>{output}\n")
OTHER = Task("o", [(a, b) for a, b in zip("abcdefgh", "bcdefghi", strict=True)], "{input}>{output}\n")
FEW = {"prompts": 3, "examples": 4, "shots": 2}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "opt"])
def test_effects_equal_one_plain_run_for_each_head(family):
    lm = opened(family)
    means = mean_heads(lm, TASK.prompts(4, shots=2))
    prompt = shuffled(TASK, 1, 2, 0)[0]
    heads = [(layer, head) for layer in range(lm.layers) for head in range(lm.heads)]
    found = head_effects(lm, prompt, means, heads)
    ids, token = lm.encode([prompt.text]).ids, answer_token(lm, prompt)
    base = lm.model(ids).logits[0, -1].detach().softmax(-1)[token]
    for layer, head in [(0, 1), (1, 3), (2, 0)]:

        def put(value, layer=layer, head=head):
            width = means.shape[-1]
            value[..., -1, head * width : (head + 1) * width] = means[layer, head]
            return value

        with torch.no_grad(), changed(lm.model, {head_place(lm, layer): put}):
            logits = lm.model(ids).logits[0, -1]
        assert found[layer, head] == pytest.approx(float(logits.softmax(-1)[token] - base), abs=1e-6)


def test_means_do_not_depend_on_how_prompts_are_batched():
    lm = opened()
    prompts = TASK.prompts(5, shots=2)
    together = mean_heads(lm, prompts)
    alone = torch.stack([mean_heads(lm, [prompt]) for prompt in prompts]).mean(dim=0)
    assert torch.allclose(together, alone, atol=1e-5)
    assert together.shape == (lm.layers, lm.heads, lm.site("head", 0).width // lm.heads)


def test_a_planted_head_is_found():
    """Only one head's columns of the output projections are left: no other can do anything."""
    lm = opened("llama")
    for layer in range(lm.layers):
        weight = lm.module(lm.site("head", layer)).weight.data
        kept = weight[:, 16:24].clone()
        weight.zero_()
        if layer == 1:
            weight[:, 16:24] = kept
    for method in ("exact", "screened"):
        found = rank_heads(lm, TASK, method=method, exact=3, **FEW)
        effects = found.effects.abs()
        assert effects[1, 2] > 0
        assert effects.sum() == pytest.approx(float(effects[1, 2]), abs=1e-6)
    assert found.exact[1, 2]


def test_the_screen_agrees_with_exact_effects_where_it_was_computed():
    lm = opened()
    exact = rank_heads(lm, [TASK, OTHER], method="exact", **FEW)
    some = rank_heads(lm, [TASK, OTHER], exact=5, **FEW)
    assert int(some.exact.sum()) == 5
    assert torch.allclose(some.effects[some.exact], exact.effects[some.exact], atol=1e-8)
    assert (some.effects[~some.exact] != 0).all()
    assert -1 <= some.screened <= 1
    assert exact.screened is None
    assert (exact.low <= exact.effects).all()
    assert (exact.effects <= exact.high).all()


def test_tops_by_all_by_one_and_by_the_others():
    lm = opened()
    both = rank_heads(lm, [TASK, OTHER], method="exact", **FEW)
    one, other = rank_heads(lm, TASK, method="exact", **FEW), rank_heads(lm, OTHER, method="exact", **FEW)
    assert torch.allclose(both.effects, (one.effects + other.effects) / 2)
    assert both.top(4, task="t") == one.top(4) == both.top(4, but="o")
    assert both.top(4, but="t") == other.top(4)
    first = both.top(1)[0]
    assert both.effects[first.layer, first.head] == both.effects.max()
    assert not set(both.random(5)) & set(both.top(5))
    with pytest.raises(ValueError, match="only task ranked"):
        one.top(2, but="t")
    with pytest.raises(ValueError, match="was not ranked"):
        one.top(2, task="x")
    with pytest.raises(ValueError, match="13 heads asked, 12"):
        both.top(13)


def test_a_run_goes_on_from_what_is_done(tmp_path, monkeypatch):
    lm = opened()
    first = rank_heads(lm, TASK, exact=4, folder=tmp_path, **FEW)
    monkeypatch.setattr("concept_edit.search.head_effects.mean_heads", None)
    monkeypatch.setattr("concept_edit.search.head_effects.head_effects", None)
    again = rank_heads(lm, TASK, exact=4, folder=tmp_path, **FEW)
    assert torch.equal(first.effects, again.effects)
    assert again.seconds == pytest.approx(first.seconds)
    with pytest.raises(TypeError):
        rank_heads(lm, OTHER, exact=4, folder=tmp_path, **FEW)


def test_files_and_plots(tmp_path):
    found = rank_heads(opened(), [TASK, OTHER], exact=6, **FEW)
    found.save(tmp_path / "h.json")
    read = Heads.load(tmp_path / "h.json")
    assert torch.equal(read.effects, found.effects)
    assert read.top(3, but="t") == found.top(3, but="t")
    assert read.table(3) == found.table(3)
    assert "Spearman" in read.table(3)
    found.plot(tmp_path / "h.png")
    assert (tmp_path / "h.png").stat().st_size > 5000
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="no ranking of heads"):
        Heads.load(tmp_path / "x.json")


def test_refusals():
    lm = opened()
    with pytest.raises(ValueError, match="a name of its own"):
        rank_heads(lm, [TASK, TASK])
    with pytest.raises(ValueError, match="'screened' or 'exact'"):
        rank_heads(lm, TASK, method="fast")
    with pytest.raises(ValueError, match="10 examples asked"):
        rank_heads(lm, TASK)


def test_heads_are_ranked_on_prompts_without_examples():
    lm = opened()
    found = rank_heads(lm, TASK, method="exact", against="bare", **FEW)
    means = mean_heads(lm, TASK.prompts(FEW["examples"], shots=FEW["shots"]))
    every = [(layer, head) for layer in range(lm.layers) for head in range(lm.heads)]
    bare = [head_effects(lm, p, means, every) for p in TASK.prompts(FEW["prompts"], shots=0, seed=1)]
    assert torch.allclose(found.effects, torch.stack(bare).mean(dim=0))
    assert not torch.allclose(found.effects, rank_heads(lm, TASK, method="exact", **FEW).effects)
    with pytest.raises(ValueError, match="'shuffled' or 'bare'"):
        rank_heads(lm, TASK, against="none", **FEW)
