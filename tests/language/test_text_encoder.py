"""New meanings in the CLIP text encoder of an image model."""

from __future__ import annotations

import pytest
import torch

import concept_edit as ce
from concept_edit.language.encoder import TEMPLATES, open_text_encoder
from concept_edit.language.meanings import distances
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
    for method, layers, statistics in (("ft", [0], keys), ("memit", [0, 1], keys), ("rome", [0], None)):
        with pytest.raises(ValueError, match="in one layer, and with statistics"):
            ce.rewrite(encoder, FACTS, method, layers, statistics)
    with pytest.raises(ValueError, match="no CLIP text encoder"):
        open_text_encoder(model, tower=1)
