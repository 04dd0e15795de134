"""Facts rewritten in tiny models: what the edit promises about values, keys, undoing and files."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import concept_edit as ce
from concept_edit.language.contexts import find_contexts, subject_column
from concept_edit.language.edit import FactEdit
from concept_edit.language.facts import Fact
from concept_edit.language.rewrite import Hold, memit_values, rewrite_each
from concept_edit.language.states import rewritten, states, tensor_of
from concept_edit.language.subjects import AROUND, subject_keys, subject_states
from concept_edit.language.tuning import Tuning
from concept_edit.language.values import Lookup, Search, _lay_out, _unedited, find_values
from tests.language.models import LINES, opened

FACTS = (
    Fact("The Space Needle", "{} is in the city of", "Rome", "Seattle"),
    Fact("Miles Davis", "{} plays the", "piano", "trumpet"),
    Fact("Café Müller", "{} stands in", "Tokyo", "Wuppertal"),
)
QUICK = Search(steps=10, contexts=2, clamp=20, kl=0, decay=0, around=())
BARE = Search(steps=10, contexts=0, clamp=20, kl=0, decay=0, around=())
"""Without contexts the value that is found is the value that is said."""


@pytest.fixture(scope="module")
def lm():
    return opened()


@pytest.fixture(scope="module")
def keys(lm):
    return ce.collect_keys(lm, [0, 1, 2], LINES, shrinkage=0.1)


def weights_of(lm):
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


def same(lm, before):
    return all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gpt_neox", "opt"])
def test_rome_makes_the_mean_key_answer_its_value(family):
    lm = opened(family)
    before = weights_of(lm)
    keys = ce.collect_keys(lm, [1], LINES, shrinkage=0.1)
    edit = ce.rewrite(lm, FACTS[0], "rome", [1], keys, search=BARE)
    assert same(lm, before)
    ((name, memory),) = edit.memories.items()
    delta = edit.delta(lm)[name]
    torch.testing.assert_close(delta @ memory.keys[0], memory.wanted[0], rtol=1e-3, atol=1e-4)
    old = float(lm.probabilities([FACTS[0].asked], ["Rome"]))
    lookup = Lookup(lm.site("memory", 1), memory.keys, memory.reach)
    (loss,) = find_values(lm, lm.site("mlp", 1), FACTS[:1], ["{}"], BARE, lookup=lookup).losses
    with edit.applied(lm):
        new = float(lm.probabilities([FACTS[0].asked], ["Rome"]))
    assert new == pytest.approx(math.exp(-loss), rel=1e-2), "what the search foretells is what the edit says"
    assert new > 1.1 * old
    assert lm.matrix(lm.site("memory", 1)).shape == delta.shape
    assert same(lm, before)


def test_values_are_found_alike_alone_and_together(lm):
    contexts = find_contexts(lm, 2)
    site = lm.site("mlp", 1)
    together = find_values(lm, site, FACTS, contexts, QUICK)
    for n, fact in enumerate(FACTS):
        alone = find_values(lm, site, [fact], contexts, QUICK)
        torch.testing.assert_close(together.deltas[n], alone.deltas[0], rtol=1e-2, atol=1e-2)
    assert all(parameter.requires_grad for parameter in lm.model.parameters())
    half = find_values(lm, site, FACTS, contexts, replace(QUICK, half=True))
    assert half.deltas.dtype == torch.float32
    assert not torch.equal(half.deltas, together.deltas)
    torch.testing.assert_close(torch.tensor(half.losses), torch.tensor(together.losses), rtol=0.1, atol=0.1)
    begun_by_others = subject_states(lm, [site], FACTS, contexts[1:])[site]
    torch.testing.assert_close(together.start, begun_by_others)
    bare = find_values(lm, site, FACTS, contexts[:1], replace(QUICK, steps=0)).start
    torch.testing.assert_close(bare, subject_states(lm, [site], FACTS, ["{}"])[site])


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gpt_neox", "opt"])
def test_values_are_the_same_where_the_beginnings_are_not_run_again(family, monkeypatch):
    lm = opened(family)
    contexts, site = find_contexts(lm, 2), lm.site("hidden", 1)
    seen = list[int]()
    handle = lm.module(site).register_forward_hook(lambda m, args, out: seen.append(tensor_of(out).shape[-2]))
    fast = find_values(lm, site, FACTS, contexts, QUICK)
    quick, seen[:] = min(seen), []
    monkeypatch.setattr("concept_edit.language.values.begun", lambda *args: None)
    whole = find_values(lm, site, FACTS, contexts, QUICK)
    handle.remove()
    torch.testing.assert_close(fast.deltas, whole.deltas, rtol=2e-2, atol=2e-3)
    torch.testing.assert_close(torch.tensor(fast.losses), torch.tensor(whole.losses), rtol=1e-3, atol=1e-3)
    if family in ("gpt2", "llama", "gpt_neox"):
        assert quick < min(seen), "only what follows the subject runs again"


def test_a_state_of_its_own_at_the_beginning_of_a_text_does_not_size_the_value(lm):
    """Where attention gathers, a state is many times as large as it is elsewhere."""
    contexts = ("{}", "Here it is said. {}")
    rows = _lay_out(lm, FACTS, contexts)
    start = torch.ones(*rows.tokens.ids.shape, 4)
    start[::3] *= 50  # each fact's bare prompt; then come the context and "{subject} is a"
    init, size = _unedited(start, rows, len(contexts), bare=False)
    torch.testing.assert_close(init, torch.ones(len(FACTS), 4))
    torch.testing.assert_close(size, torch.full((len(FACTS), 1), 2.0))
    assert float(_unedited(start, rows, len(contexts), bare=True)[1][0]) == 100.0


def test_values_stay_within_the_clamp_and_stop_when_likely(lm):
    contexts = find_contexts(lm, 1)
    site = lm.site("mlp", 0)
    tight = find_values(lm, site, FACTS, contexts, Search(steps=6, clamp=0.5))
    assert (tight.deltas.norm(dim=1) <= 0.5001 * tight.start.norm(dim=1)).all()
    none = find_values(lm, site, FACTS, contexts, Search(steps=6, enough=1e9))
    assert not none.deltas.any()


def test_a_margin_makes_the_new_answer_lead_the_old_one(lm):
    """Where the answers first differ; a fact without an old answer is looked for as without a margin."""
    contexts, site = find_contexts(lm, 1), lm.site("mlp", 1)
    search = Search(steps=40, clamp=20, kl=0, decay=0, enough=1e9, around=())
    plain = find_values(lm, site, FACTS, contexts, search)
    assert not plain.deltas.any(), "likely enough from the start"
    wide = find_values(lm, site, FACTS, contexts, replace(search, margin=6.0))
    for n, fact in enumerate(FACTS):
        before, after = (lead(lm, site, fact, contexts, delta) for delta in (plain.deltas[n], wide.deltas[n]))
        assert after > before + 0.5, fact.told
    without = [replace(fact, old="") for fact in FACTS]
    assert not find_values(lm, site, without, contexts, replace(search, margin=6.0)).deltas.any()


def test_a_value_is_also_looked_for_where_the_old_answer_was_named(lm):
    """The state it starts from is that of the plain contexts; a fact without an old answer has nothing to name."""
    contexts, site = find_contexts(lm, 1), lm.site("mlp", 1)
    search, primed = Search(steps=40, clamp=20, kl=0, decay=0, around=()), ("{old} and {old}. {}",)
    for where in (site, lm.site("hidden", 1)):
        plain = find_values(lm, where, FACTS, contexts, replace(search, steps=0))
        named = find_values(lm, where, FACTS, contexts, replace(search, steps=0, primed=primed))
        torch.testing.assert_close(named.start, plain.start)
    plain, named = (find_values(lm, site, FACTS, contexts, replace(search, primed=own)) for own in ((), primed))
    for n, fact in enumerate(FACTS):
        said = tuple(text.replace("{old}", fact.old) for text in primed)
        before, after = (lead(lm, site, fact, said, found.deltas[n]) for found in (plain, named))
        assert after > before, fact.told
    without = [replace(fact, old="") for fact in FACTS]
    bare = find_values(lm, site, without, contexts, replace(search, primed=("{}",)))
    torch.testing.assert_close(
        find_values(lm, site, without, contexts, replace(search, primed=primed)).deltas, bare.deltas
    )


def lead(lm, site, fact, contexts, delta):
    """Nats by which the new answer's first differing token leads, with the value added at the subject; mean."""
    found = []
    for context in contexts:
        prompt, column = context.replace("{}", fact.asked), subject_column(lm, context, fact)
        told = lm.encode([f"{prompt} {fact.new}", f"{prompt} {fact.old}"])
        first = next(c for c in range(min(told.lengths)) if told.ids[0, c] != told.ids[1, c])
        place = torch.nn.functional.one_hot(torch.tensor(column), told.ids.shape[1])
        with rewritten(lm, site, lambda state, p=place: state + p[None, :, None] * delta), torch.no_grad():
            logs = lm.logits(told)[0, first - 1].log_softmax(dim=-1)
        found.append(float(logs[told.ids[0, first]] - logs[told.ids[1, first]]))
    return sum(found) / len(found)


def test_a_subjects_state_is_that_of_the_whole_text_whatever_the_batch(lm):
    """Texts run up to the subject only, those with a like beginning together."""
    contexts, site = find_contexts(lm, 2), lm.site("memory", 2)
    found = subject_states(lm, [site], FACTS, contexts, batch_size=2)[site]
    for fact, mean in zip(FACTS, found, strict=True):
        own = []
        for context in contexts:
            column = subject_column(lm, context, fact)
            own.append(states(lm, lm.encode([context.replace("{}", fact.asked)]), [site])[site][0, column])
        torch.testing.assert_close(mean, torch.stack(own).mean(dim=0), rtol=1e-4, atol=1e-5)


def test_contexts_hold_a_seed_and_begin_with_none(lm):
    found = find_contexts(lm, 3, seed=1)
    assert found[0] == "{}"
    assert len(found) == 4
    assert found == find_contexts(lm, 3, seed=1) != find_contexts(lm, 3, seed=2)


def test_sequence_is_rome_called_again_and_again(lm, keys):
    """Each fact solved on a model into which those before it were merged."""
    edit = ce.rewrite(lm, FACTS, "rome", [1], keys, search=QUICK)
    other = opened()
    contexts = find_contexts(lm, QUICK.contexts)
    site, name = other.site("mlp", 1), f"{other.site('mlp', 1).module}.weight"
    first = other.weights()[name].clone()
    for fact in FACTS:
        key = subject_states(other, [other.site("memory", 1)], [fact], contexts)[other.site("memory", 1)][0]
        u = torch.linalg.solve(keys.moment(1), key.double())
        lookup = Lookup(other.site("memory", 1), key[None], u[None].float())
        delta = find_values(other, site, [fact], contexts, QUICK, lookup=lookup).deltas[0]
        other.weights()[name] += (torch.outer(delta.double(), u) / (u @ key.double())).float()
    torch.testing.assert_close(edit.delta(lm)[name], other.weights()[name] - first, rtol=1e-2, atol=1e-3)


def test_each_fact_alone_is_the_edit_of_that_fact(lm, keys):
    each = rewrite_each(lm, FACTS, 1, keys, search=QUICK)
    for fact, edit in zip(FACTS, each, strict=True):
        alone = ce.rewrite(lm, fact, "rome", [1], keys, search=QUICK)
        for name, delta in alone.delta(lm).items():
            torch.testing.assert_close(edit.delta(lm)[name], delta, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("method", ["memit", "null"])
def test_many_facts_at_once_in_several_layers(lm, keys, method):
    before = weights_of(lm)
    hold = Hold(weight=0.01, threshold=0.5, ridge=0.01)
    edit = ce.rewrite(lm, FACTS, method, [0, 1], keys, search=BARE, hold=hold)
    assert same(lm, before)
    assert edit.layers == (0, 1)
    assert [edit.rank(name) for name in edit.factors] == [3, 3]
    asked, new = [fact.asked for fact in FACTS], [[fact.new] for fact in FACTS]
    old = lm.probabilities(asked, new)
    with edit.applied(lm):
        assert (lm.probabilities(asked, new) > old).all()
    assert same(lm, before)


def test_values_found_before_serve_any_set_of_facts(lm, keys):
    found = memit_values(lm, FACTS, 1, search=QUICK)
    whole = ce.rewrite(lm, FACTS[1:], "memit", [0, 1], keys, search=QUICK)
    again = ce.rewrite(lm, FACTS[1:], "memit", [0, 1], keys, search=QUICK, values=found.pick([1, 2]))
    for name, delta in whole.delta(lm).items():
        torch.testing.assert_close(again.delta(lm)[name], delta, rtol=2e-2, atol=2e-3)
    with pytest.raises(ValueError, match="3 values for 2 facts"):
        ce.rewrite(lm, FACTS[1:], "memit", [0, 1], keys, search=QUICK, values=found)


def test_memit_in_one_layer_reaches_its_goal_where_nothing_holds_it(lm, keys):
    edit = ce.rewrite(lm, FACTS, "memit", [1], keys, search=QUICK, hold=Hold(weight=1e-6))
    top = lm.site("hidden", 1)
    contexts = find_contexts(lm, QUICK.contexts)
    start = subject_states(lm, [top], FACTS, contexts)[top]
    (memory,) = edit.memories.values()
    with edit.applied(lm):
        now = subject_states(lm, [top], FACTS, contexts)[top]
    torch.testing.assert_close(now - start, memory.wanted, rtol=1e-3, atol=1e-3)


def test_fine_tuning_learns_and_its_bound_holds(lm):
    before = weights_of(lm)
    free = ce.rewrite(lm, FACTS, "ft", [1], tuning=Tuning(rate=5e-3))
    held = ce.rewrite(lm, FACTS, "ft", [1], tuning=Tuning(rate=5e-3, bound=1e-3))
    assert same(lm, before)
    (name,) = free.factors
    assert held.delta(lm)[name].abs().max() <= 1.001e-3 < free.delta(lm)[name].abs().max()
    asked, new = [fact.asked for fact in FACTS], [[fact.new] for fact in FACTS]
    old = lm.probabilities(asked, new)
    with free.applied(lm):
        free_now = lm.probabilities(asked, new)
    with held.applied(lm):
        held_now = lm.probabilities(asked, new)
    assert (free_now > held_now).all()
    assert (held_now > old).all()


@pytest.mark.parametrize("method", ["rome", "memit"])
def test_a_fact_is_taken_out_again_without_the_model(lm, keys, method):
    edit = ce.rewrite(lm, FACTS, method, [1], keys, search=QUICK)
    fewer = edit.without(FACTS[2])
    assert fewer.facts == FACTS[:2]
    again = ce.rewrite(lm, FACTS[:2], method, [1], keys, search=QUICK)
    (name,) = fewer.factors
    torch.testing.assert_close(fewer.delta(lm)[name], again.delta(lm)[name], rtol=2e-2, atol=2e-3)
    assert edit.without("Miles Davis").facts == (FACTS[0], FACTS[2])
    nothing = edit.without(*FACTS)
    assert not any(delta.any() for delta in nothing.delta(lm).values())
    with pytest.raises(ValueError, match="does not change 'Paris'"):
        edit.without("Paris")


def test_files_come_back_to_the_bit_and_are_bound_to_their_model(lm, keys, tmp_path):
    edit = ce.rewrite(lm, FACTS, "memit", [0, 1], keys, search=QUICK)
    edit.save(tmp_path / "e.safetensors")
    again = ce.Edit.load(tmp_path / "e.safetensors")
    assert isinstance(again, FactEdit)
    assert again.facts == edit.facts
    for name, delta in edit.delta(lm).items():
        assert torch.equal(again.delta(lm)[name], delta)
        assert torch.equal(again.without("Miles Davis").delta(lm)[name], edit.without("Miles Davis").delta(lm)[name])
    again.save(tmp_path / "f.safetensors")
    assert (tmp_path / "e.safetensors").read_bytes() == (tmp_path / "f.safetensors").read_bytes()
    other = opened(seed=1)
    with pytest.raises(ValueError, match="other weights"), again.applied(other):
        pass
    keys.save(tmp_path / "keys.safetensors")
    held = ce.KeyStatistics.load(tmp_path / "keys.safetensors")
    assert held.identity == keys.identity
    with pytest.raises(ValueError, match="collect them on this model"):
        ce.rewrite(other, FACTS[0], "rome", [1], held)
    with pytest.raises(ValueError, match="not a 'concept-edit facts 1' file"):
        FactEdit.load(tmp_path / "keys.safetensors")


def test_a_merged_model_is_another_model(keys):
    lm = opened()
    edit = ce.rewrite(lm, FACTS[0], "rome", [1], keys, search=QUICK)
    with edit.applied(lm):
        inside = lm.logits(lm.encode([FACTS[0].asked]))
    edit.merge_into(lm)
    torch.testing.assert_close(lm.logits(lm.encode([FACTS[0].asked])), inside, rtol=0, atol=0)
    with pytest.raises(ValueError, match="other weights"):
        edit.merge_into(lm)


def test_strength_scales_and_an_exception_undoes(lm, keys):
    edit = ce.rewrite(lm, FACTS[0], "rome", [1], keys, search=QUICK)
    (name,) = edit.factors
    before, weight = weights_of(lm), lm.weights()[name].clone()
    with edit.applied(lm, 0.5):
        torch.testing.assert_close(lm.weights()[name] - weight, 0.5 * edit.delta(lm)[name], rtol=1e-3, atol=1e-5)
    with pytest.raises(RuntimeError, match="stop"), edit.applied(lm):
        raise RuntimeError("stop")
    assert same(lm, before)


def test_layers_come_from_a_trace_where_none_are_given(lm):
    edit = ce.rewrite(lm, FACTS[0], "rome", search=BARE)
    (traced,) = ce.trace(lm, FACTS[0], kind="mlp").layers(1)
    assert edit.layers == (traced,)
    assert "trace of 1 fact" in edit.notes[0]
    assert "the model's own" in edit.notes[1]


def test_keys_do_not_depend_on_the_batch_and_own_text_serves(lm):
    many = ce.collect_keys(lm, [0, 2], LINES, batch_size=3)
    one = ce.collect_keys(lm, [2], LINES, batch_size=1, length=1000)
    torch.testing.assert_close(many.moments[2], one.moments[2], rtol=1e-4, atol=1e-6)
    assert many.tokens == sum(lm.encode(LINES).lengths)
    site = lm.site("memory", 2)
    seen = []
    hook = lm.module(site).register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    for line in LINES:
        lm.logits(lm.encode([line]))
    hook.remove()
    rows = torch.cat(seen).double()
    torch.testing.assert_close(one.moments[2].double(), rows.T @ rows / len(rows), rtol=1e-4, atol=1e-6)
    own = ce.collect_keys(lm, [1], tokens=200)
    assert own.tokens >= 200
    assert "the model's own" in own.told
    raw, used = own.conditions()[1]
    assert used < raw


def test_keys_are_read_from_files(lm, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(LINES[:2]) + "\n\n")
    (tmp_path / "b.txt").write_text("\n".join(LINES[2:]))
    folder = ce.collect_keys(lm, [1], tmp_path)
    torch.testing.assert_close(folder.moments[1], ce.collect_keys(lm, [1], LINES).moments[1], rtol=1e-5, atol=1e-7)
    assert ce.collect_keys(lm, [1], tmp_path / "a.txt").tokens == sum(lm.encode(LINES[:2]).lengths)
    with pytest.raises(ValueError, match="neither a text file"):
        ce.collect_keys(lm, [1], tmp_path / "none.txt")
    with pytest.raises(ValueError, match="holds no text"):
        ce.collect_keys(lm, [1], [" "])
    with pytest.raises(ValueError, match="have layers 1 and not 0"):
        folder.moment(0)


def test_what_cannot_be_rewritten_is_refused(lm, keys):
    with pytest.raises(ValueError, match="rewrites one layer"):
        ce.rewrite(lm, FACTS, "rome", [0, 1], keys)
    with pytest.raises(ValueError, match="no method"):
        ce.rewrite(lm, FACTS, "romeo", [0], keys)
    with pytest.raises(ValueError, match="shall be both"):
        ce.rewrite(lm, [FACTS[0], Fact(FACTS[0].subject, FACTS[0].prompt, "Tokyo")], "memit", [0], keys)
    gemma = opened("gemma2")
    own = ce.collect_keys(gemma, [0], LINES)
    with pytest.raises(ValueError, match="use method 'rome'"):
        ce.rewrite(gemma, FACTS, "memit", [0], own)


def test_a_subject_answers_alike_in_other_beginnings(lm, keys):
    """The published mean key answers its own contexts; the evened one those around the subject too."""
    contexts, layer = find_contexts(lm, 1), 1
    seen = [Fact(fact.subject, "{}", fact.new) for fact in FACTS]
    around = subject_states(lm, [lm.site("memory", layer)], seen, ["{}"])[lm.site("memory", layer)].double()
    spread = []
    for held in ((), AROUND):
        key = subject_keys(lm, [layer], FACTS, contexts, keys, held)[layer].double()
        reach = torch.linalg.solve(keys.moment(layer).double(), key.T).T
        spread.append(((reach * around).sum(dim=1) / (reach * key).sum(dim=1) - 1).abs())
    assert spread[1].max() < 0.5 * spread[0].max()
