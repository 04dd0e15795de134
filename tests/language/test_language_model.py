"""The contract of a language model: sites by structure, answers, tokens of a subject."""

from __future__ import annotations

import pytest
import torch

import concept_edit as ce
from concept_edit.language.sites import find_structure
from tests.language.models import FAMILIES, HEADS, LAYERS, LINES, WIDTH, opened, tiny, tokenizer


@pytest.mark.parametrize("family", FAMILIES)
def test_sites_are_found_by_structure_in_every_family(family):
    lm = opened(family)
    assert (lm.layers, len(lm.sites)) == (LAYERS, 5 * LAYERS)
    assert (lm.heads, lm.site("head", 0).width) == (HEADS, WIDTH)
    assert lm.site("memory", 1).width == 48
    assert lm.matrix(lm.site("memory", 1)).shape == (WIDTH, 48)
    assert lm.module(lm.embedding).weight.shape[0] == len(tokenizer())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_is_its_input_and_what_its_two_sites_write(family):
    """The theorem behind the sites: without its two output projections a block hands on what it got."""
    lm = opened(family)
    seen = {}
    inputs = lm.module(lm.site("hidden", 1)).register_forward_hook(
        lambda module, args, kwargs, out: seen.update(into=args[0] if args else kwargs["hidden_states"], out=out),
        with_kwargs=True,
    )
    lm.logits(lm.encode(["It is in"]))
    own = seen["out"][0] if isinstance(seen["out"], tuple) else seen["out"]
    assert not torch.allclose(own, seen["into"], atol=1e-3)
    for kind in ("memory", "head"):
        for parameter in lm.module(lm.site(kind, 1)).parameters():
            torch.nn.init.zeros_(parameter)
    lm.logits(lm.encode(["It is in"]))
    inputs.remove()
    own = seen["out"][0] if isinstance(seen["out"], tuple) else seen["out"]
    torch.testing.assert_close(own, seen["into"])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_matrix_is_a_view_that_maps_keys_to_values(family):
    lm, seen = opened(family), {}
    site = lm.site("memory", 2)
    hook = lm.module(site).register_forward_hook(lambda module, args, out: seen.update(key=args[0], value=out))
    lm.logits(lm.encode(["It is in"]))
    hook.remove()
    bias = getattr(lm.module(site), "bias", None)
    value = seen["key"] @ lm.matrix(site).T + (0 if bias is None else bias)
    torch.testing.assert_close(value, seen["value"])
    lm.matrix(site).zero_()
    assert not lm.module(site).weight.any()


def test_subjects_are_found_by_characters():
    lm = opened()
    prompt = "Where is Café Müller? Café Müller is in"
    rows = lm.subject_rows(prompt, "Café Müller")
    ids = lm.encode([prompt]).ids[0]
    assert lm.tokenizer.decode(ids[list(rows)]).strip() == "Café Müller"
    assert rows[0] > 0, "BOS is no part of it"
    assert lm.subject_rows("Miles Davis plays", "Davis")[-1] == lm.subject_rows("Miles Davis plays", "Miles Davis")[-1]
    with pytest.raises(ValueError, match="does not stand in"):
        lm.subject_rows(prompt, "Pina Bausch")


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "opt"])
def test_probabilities_are_those_of_one_run_a_text_whatever_the_batch(family):
    lm = opened(family)
    prompts, answers = ["The Space Needle is in", "Who plays", "It"], ["Seattle", "in London or Berlin"]
    found = lm.probabilities(prompts, answers)
    torch.testing.assert_close(found, lm.probabilities(prompts, answers, batch_size=1), rtol=1e-4, atol=1e-9)
    ids = lm.encode(["Who plays in London or Berlin"]).ids
    start = lm.encode(["Who plays"]).lengths[0]
    logs = lm.model(ids).logits[0].log_softmax(-1)
    told = [logs[n - 1, ids[0, n]] for n in range(start, ids.shape[1])]
    torch.testing.assert_close(found[1, 1], torch.stack(told).mean().exp(), rtol=1e-4, atol=1e-9)
    mine = lm.probabilities(prompts, [["Paris"], ["Rome"], ["Tokyo"]])
    assert mine.shape == (3, 1)
    torch.testing.assert_close(mine[2], lm.probabilities(["It"], ["Tokyo"])[0], rtol=1e-4, atol=1e-9)
    with pytest.raises(ValueError, match="equally many"):
        lm.probabilities(prompts, [["Paris"], ["Rome"]])


def test_an_answer_of_one_token_has_that_tokens_probability():
    lm = opened()
    tokens = lm.encode(["It is in the"])
    assert tokens.lengths[0] == lm.encode(["It is in"]).lengths[0] + 1
    chances = lm.logits(lm.encode(["It is in"]))[0, -1].softmax(-1)
    torch.testing.assert_close(lm.probabilities(["It is in"], ["the"])[0, 0], chances[tokens.ids[0, -1]])


def test_completions_do_not_depend_on_the_batch_and_seeds_hold():
    lm = opened("gpt2")
    prompts = ["The Space Needle is in", "Who", "It is in"]
    together = lm.complete(prompts, tokens=5)
    assert together == [lm.complete([prompt], tokens=5)[0] for prompt in prompts]
    drawn = lm.complete(prompts, tokens=5, seed=1)
    assert drawn == lm.complete(prompts, tokens=5, seed=1) != together
    assert drawn != lm.complete(prompts, tokens=5, seed=2)


def test_folders_open_as_the_live_model_does(tmp_path):
    model = tiny("llama")
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    lm = ce.open_language_model(tmp_path)
    live = ce.open_language_model((model, tokenizer()))
    assert lm.fingerprint == live.fingerprint
    torch.testing.assert_close(lm.logits(lm.encode(LINES)), live.logits(live.encode(LINES)))
    other = opened(seed=1)
    assert other.fingerprint != live.fingerprint


def test_what_is_no_language_model_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="give a name, a folder"):
        ce.open_language_model(3)
    with pytest.raises(ValueError, match=r"config\.json"):
        ce.open_language_model(tmp_path)
    with pytest.raises(ValueError, match="no list of blocks"):
        find_structure(torch.nn.Linear(2, 2), lambda: None)
    with pytest.raises(ValueError, match="layers go from 0 to 2"):
        opened().site("memory", 3)


def test_experts_are_refused_by_name():
    import transformers

    config = transformers.AutoConfig.for_model(
        "mixtral", vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=2, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match="mixtures of experts"):
        ce.open_language_model((model, tokenizer()))
