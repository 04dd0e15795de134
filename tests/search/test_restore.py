"""Transplants: the fast way gives what one plain run for each gives; planted sites are found."""

from __future__ import annotations

import pytest
import torch

from concept_edit.language.runs import Run, embed
from concept_edit.search.hooks import changed, recorded
from concept_edit.search.restore import KINDS, How, foretell, pair_up, place, reach, restore, windowed
from tests.language.models import FAMILIES, opened

PROMPT, SUBJECT = "The Space Needle is in the", "Space Needle"


def pair_of(lm, *, texts: int = 2, seed: int = 0):
    """The prompt as it is, and with noise on its subject."""
    rows = embed(lm, lm.encode([PROMPT]).ids)
    subject = list(lm.subject_rows(PROMPT, SUBJECT))
    base = rows.repeat(texts, 1, 1)
    noise = torch.randn(texts, len(subject), rows.shape[-1], generator=torch.Generator().manual_seed(seed))
    base[:, subject] += 2 * rows.std() * noise
    return pair_up(lm, base, rows, lambda logits: int(logits.argmax()))


def plainly(pair, how, token, layer):
    """One transplant as its definition says: whole texts, no cache, nothing skipped."""
    lm = pair.lm
    span = how.span(layer, lm.layers)
    puts = {place(lm, how.kind, each): pair.donor for each in span}
    if how.severed:
        puts |= {place(lm, how.severed, each): pair.states for each in range(span[-1] + 1, lm.layers)}

    def put(where, source):
        def change(value):
            rows = value.reshape(pair.base.rows.shape[0], pair.tokens, -1)
            rows[:, token] = source[where][:, token]
            return rows.reshape(value.shape)

        return change

    with torch.no_grad(), changed(lm.model, {where: put(where, source) for where, source in puts.items()}):
        logits = lm.model(inputs_embeds=pair.base.rows, use_cache=False).logits[:, -1]
    return float((logits.softmax(-1)[:, pair.answer] - pair.corrupted).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_grouped_runs_equal_one_plain_run_for_each(family):
    pair = pair_of(opened(family))
    token = pair.tokens - 1
    for how in (How("hidden"), How("mlp", 2), How("attention", 3), How("hidden", severed="mlp")):
        found = restore(pair, how, rows=4)
        live = reach(pair, how)
        assert (found[~live] == 0).all()
        for t, layer in [(token, 0), (token, pair.lm.layers - 1), (token - 2, 1), (3, 0)]:
            if live[t, layer]:
                assert found[t, layer] == pytest.approx(plainly(pair, how, t, layer), abs=1e-6), (how, t, layer)


def test_the_last_state_restored_is_the_clean_answer_and_tokens_before_the_subject_do_nothing():
    pair = pair_of(opened())
    found = restore(pair, How("hidden"))
    assert found[-1, -1] == pytest.approx(pair.clean - float(pair.corrupted.mean()), abs=1e-6)
    first = pair.lm.subject_rows(PROMPT, SUBJECT)[0]
    assert (found[:first] == 0).all()
    assert (found[first:] != 0).any()


def test_some_cells_only():
    pair = pair_of(opened())
    whole = restore(pair, How("mlp", 2))
    cells = torch.zeros_like(whole, dtype=torch.bool)
    cells[-1, 1] = True
    some = restore(pair, How("mlp", 2), cells=cells)
    assert some[-1, 1] == pytest.approx(float(whole[-1, 1]), abs=1e-7)
    assert torch.isnan(some[-1, 0])
    assert (some[0] == 0).all()


def test_severing_every_later_mlp_leaves_less_than_everything():
    pair = pair_of(opened("gpt2"))
    free, held = restore(pair, How("hidden")), restore(pair, How("hidden", severed="mlp"))
    assert not torch.allclose(free, held)
    assert held[-1, -1] == pytest.approx(float(free[-1, -1]), abs=1e-7)


def test_two_runs_that_are_alike_are_refused():
    lm = opened()
    rows = embed(lm, lm.encode([PROMPT]).ids)
    pair = pair_up(lm, rows.repeat(2, 1, 1), rows, lambda logits: int(logits.argmax()))
    with pytest.raises(ValueError, match="changed nothing"):
        restore(pair, How("hidden"))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_for_a_small_difference_the_gradient_foretells_the_effect(family):
    lm = opened(family)
    rows = embed(lm, lm.encode([PROMPT]).ids)
    base = rows.clone()
    base[:, 2] += 1e-2 * rows.std() * torch.randn(rows.shape[-1], generator=torch.Generator().manual_seed(1))
    lm.model.double()
    pair = pair_up(lm, base.double(), rows.double(), lambda logits: int(logits.argmax()))
    told = foretell(pair, KINDS, steps=3)
    for how in (How("hidden"), How("mlp"), How("attention")):
        exact, estimate = restore(pair, how), windowed(told[how.kind], how)
        assert torch.allclose(exact, estimate, atol=float(exact.abs().max()) * 0.05), how


@pytest.mark.parametrize("kind", ["mlp", "attention"])
def test_a_planted_layer_is_found(kind):
    """Every layer but one writes nothing in that kind of site: only there can a transplant act."""
    lm = opened("llama", layers=4)
    for layer in range(4):
        if layer != 2:
            lm.module(lm.site(kind, layer)).weight.data.zero_()
    pair = pair_of(lm)
    found = restore(pair, How(kind))
    assert (found[:, [0, 1, 3]] == 0).all()
    assert found[:, 2].abs().max() > 1e-5


def test_a_run_goes_on_from_any_token():
    for family in ("llama", "gemma2", "gpt2"):
        lm = opened(family)
        run = Run(lm, embed(lm, lm.encode([PROMPT]).ids).repeat(2, 1, 1))
        for start in (0, 3):
            again = run.again(start, copies=2)
            assert torch.allclose(again, run.logits.repeat(2, 1), atol=1e-5), (family, start)
    with recorded(lm.model, [place(lm, "hidden", 0)]) as seen:
        run.again(3)
    assert seen[place(lm, "hidden", 0)].shape[1] == run.rows.shape[1] - run.kept(3) == run.rows.shape[1] - 3
