"""One head's attention is what the head's output is made of."""

from __future__ import annotations

import pytest
import torch

from concept_edit.search.attention import attention_of
from concept_edit.search.hooks import Place, recorded
from tests.language.models import opened

PROMPT = "The Space Needle is in the"


def test_weights_times_values_are_what_the_head_says():
    lm = opened("llama")
    found = attention_of(lm, PROMPT, 1, 2)
    values, heads = Place("model.layers.1.self_attn.v_proj"), Place("model.layers.1.self_attn.o_proj", "input")
    with recorded(lm.model, [values, heads]) as seen:
        lm.logits(lm.encode([PROMPT]))
    shared = seen[values][0, :, 8:16]
    assert torch.allclose(found.weights @ shared, seen[heads][0, :, 16:24], atol=1e-5), "heads 2 and 3 share values 1"
    assert torch.allclose(found.weights.sum(dim=1), torch.ones(len(found.tokens)), atol=1e-5)
    assert found.looked_at(2)[0][1] == found.weights[-1].max()


def test_the_model_is_as_before_and_the_picture_is_drawn(tmp_path):
    lm = opened("gpt2")
    before = lm.logits(lm.encode([PROMPT])).detach()
    attention_of(lm, PROMPT, 0, 3).plot(tmp_path / "a.png")
    assert torch.equal(lm.logits(lm.encode([PROMPT])).detach(), before)
    assert (tmp_path / "a.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="3 layers of 4 heads"):
        attention_of(lm, PROMPT, 3, 0)
