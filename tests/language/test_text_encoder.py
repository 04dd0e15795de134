"""New meanings in the CLIP text encoder of an image model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import concept_edit as ce
from concept_edit.language.encoder import TEMPLATES, open_text_encoder, wordings
from concept_edit.language.meanings import _lay_out, _loss, distances, find_meanings
from concept_edit.language.rewrite import Hold
from concept_edit.language.states import rewritten, states
from concept_edit.language.subjects import subject_states
from concept_edit.language.values import Search
from concept_edit.memory.hard import Memory, rewrite_matrix, shares, whiten
from tests.tiny import tiny_model

CAPTIONS = [
    f"a {thing} {where}" for thing in ("cat", "dog", "man", "red apple", "tree") for where in ("", "on a table")
]
FACTS = (ce.Fact("cat", "{}", "dog"), ce.Fact("red apple", "{}", "banana"))


@pytest.fixture(scope="module")
def model():
    return tiny_model("sd1")


@pytest.fixture(scope="module")
def encoder(model):
    return open_text_encoder(model)


@pytest.fixture(scope="module")
def keys(encoder):
    return ce.collect_keys(encoder, [0], CAPTIONS, shrinkage=0.1)


def gone(encoder, edit, fact, template):
    """Share of the way to the goal that is left, the goal as it was."""
    text, goal = template.format(fact.subject), template.format(fact.new)
    pair, end = [(text, fact.subject)], [(goal, fact.new)]
    before = float(distances(encoder, pair, end))
    with torch.no_grad():
        wanted = encoder.logits(encoder.encode([goal]))[0]
        with edit.applied(encoder):
            said = encoder.logits(encoder.encode([text]))[0]
    return float((said[-3:] - wanted[-3:]).square().mean().sqrt()) / before


@pytest.mark.parametrize("method", ["rome", "memit"])
def test_a_subject_means_another_in_wordings_that_were_never_seen(encoder, keys, method):
    edit = ce.rewrite(encoder, FACTS, method, [0], keys, hold=Hold(weight=1e-3))
    assert (edit.layers, edit.mode) == ((0,), "hard" if method == "rome" else "soft")
    for fact in FACTS:
        assert gone(encoder, edit, fact, "a {}") < 0.9
        assert gone(encoder, edit, fact, "an old {} in a box") < 1
        pair, goal = [(f"a {fact.subject}", fact.subject)], [(f"a {fact.new}", fact.new)]
        assert distances(encoder, pair, goal, edit) < distances(encoder, pair, goal), "the goal is read unedited"


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_what_is_handed_out_in_the_search_is_what_the_edit_does(encoder, keys, mode):
    site, tokens = encoder.site("memory", 0), encoder.encode(["a cat", "a red apple on a table"])
    rows = subject_states(encoder, [site], FACTS, TEMPLATES)[site]
    wanted = torch.randn(2, encoder.width, generator=torch.Generator().manual_seed(0))
    memory = Memory(rows, whiten(rows, 50 * keys.moment(0)).float(), wanted)
    handed = states(encoder, tokens, [site])[site] @ shares(memory, mode).T @ wanted
    with torch.no_grad(), rewritten(encoder, encoder.site("mlp", 0), lambda state: state + handed):
        foretold = encoder.logits(tokens)
    weight, change = encoder.matrix(site), rewrite_matrix(memory, mode)
    held = weight.clone()
    weight += change.left @ change.right
    with torch.no_grad():
        said = encoder.logits(tokens)
    weight.copy_(held)
    torch.testing.assert_close(said, foretold, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["rome", "memit"])
def test_several_layers_come_nearer_than_one_and_as_near_as_foretold(encoder, method):
    held = ce.collect_keys(encoder, [0, 1], CAPTIONS, shrinkage=0.1)
    pairs, nearest = _lay_out(encoder, FACTS), []
    with torch.no_grad():
        before = _loss(encoder, pairs, len(FACTS))
    for layers in ([0], [0, 1]):
        edit = ce.rewrite(encoder, FACTS, method, layers, held, hold=Hold(weight=1e-3))
        assert edit.layers == tuple(layers)
        empty = {
            layer: replace(memory, wanted=torch.zeros_like(memory.wanted))
            for layer, memory in zip(layers, edit.memories.values(), strict=True)
        }
        _, foretold = find_meanings(encoder, FACTS, empty, edit.mode)
        with torch.no_grad(), edit.applied(encoder):
            left = _loss(encoder, pairs, len(FACTS)) / before
        torch.testing.assert_close(left, torch.tensor(foretold), rtol=1e-2, atol=1e-3)
        nearest.append(float(left.sum()))
    assert nearest[1] < 0.9 * nearest[0]


def test_other_wordings_of_a_bare_subject_are_told_beside_the_templates():
    fact = ce.Fact("cat", "{}", "dog", paraphrases=("a {} by Noto", "a cat that is here"))
    assert wordings(fact) == (*TEMPLATES, "a {} by Noto")
    assert wordings(replace(fact, prompt="an old {}")) == ("an old {}", "a {} by Noto")


def test_the_painter_sees_the_edit_and_the_bits_come_back(model, encoder, keys):
    edit = ce.rewrite(encoder, FACTS, "rome", [0], keys, search=Search(steps=10, rate=0.3))
    before = model.generate(["a cat"], seeds=[0], steps=2)[0].tobytes()
    weights = {name: weight.clone() for name, weight in encoder.weights().items()}
    with edit.applied(encoder):
        assert model.generate(["a cat"], seeds=[0], steps=2)[0].tobytes() != before
    assert all(torch.equal(weight, weights[name]) for name, weight in encoder.weights().items())
    assert model.generate(["a cat"], seeds=[0], steps=2)[0].tobytes() == before


def test_padding_is_no_text_for_the_keys(encoder, keys):
    ids = [len(encoder.own_ids(caption)) for caption in CAPTIONS]
    assert keys.tokens == sum(ids)
    assert encoder.encode(CAPTIONS).ids.shape[1] > max(ids)


def test_what_does_not_suit_an_encoder_is_refused(model, encoder, keys):
    for method, statistics in (("ft", keys), ("rome", None)):
        with pytest.raises(ValueError, match="and with statistics"):
            ce.rewrite(encoder, FACTS, method, [0], statistics)
    with pytest.raises(ValueError, match="no CLIP text encoder"):
        open_text_encoder(model, tower=1)
