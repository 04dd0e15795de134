"""The token rule of causal encoders against an oracle that knows the template and nothing of the token rules."""

from __future__ import annotations

import pytest
import tiny_modern
import torch

import concept_edit as ce
from concept_edit.models import open_model

BEFORE, CONCEPT, GUIDE, AFTER = "a painting by ", "Van Gogh", "an artist", " on the table"


@pytest.fixture(scope="module", params=["zimage", "flux2-klein", "krea2"])
def model(request):
    return open_model(tiny_modern.modern_pipeline(request.param))


def encoded(model, prompt):
    """(tokens before the prompt, the prompt's tokens, rows), told by the tokenizer alone."""
    text = model.encode([prompt])["text"]
    rows = text.rows[0, : int(text.length[0])]
    head = "<|im_start|>user\n" if model.family.name != "krea2" else ""  # Krea 2 drops what stands before the prompt
    before = len(model.route.tokenizer(head, add_special_tokens=False).input_ids)
    if model.family.name == "krea2":
        whole = model.pipeline.prompt_template_encode_prefix + prompt
        ids = model.route.tokenizer(whole, add_special_tokens=False).input_ids
        heads = model.route.tokenizer(model.pipeline.prompt_template_encode_prefix, add_special_tokens=False).input_ids
        return len(heads) - 34, len(ids) - len(heads), rows
    return before, len(model.route.tokenizer(prompt, add_special_tokens=False).input_ids), rows


def oracle(model):
    """Every row from the concept's first token on with the guide's in its place; pads by first, middle, last."""
    source, goal = BEFORE + CONCEPT + AFTER, BEFORE + GUIDE + AFTER
    (head, own, rows), (other_head, other, others) = encoded(model, source), encoded(model, goal)
    assert head == other_head
    said = len(model.route.tokenizer(BEFORE.strip(), add_special_tokens=False).input_ids)
    suffix = {"zimage": 7, "flux2-klein": 7, "krea2": 7}[model.family.name]
    concept, guide = list(range(head + said, head + own)), list(range(head + said, head + other))
    pairs = [(row, guide[max(0, len(guide) - n)]) for n, row in zip(range(len(concept), 0, -1), concept, strict=True)]
    pairs += [(head + own + n, head + other + n) for n in range(suffix)]
    pads, there = range(head + own + suffix, len(rows)), range(head + other + suffix, len(others))
    if len(pads):
        pairs += [(pads[0], there[0]), (pads[len(pads) // 2], there[len(there) // 2]), (pads[-1], there[-1])]
    return rows[[a for a, _ in pairs]], others[[b for _, b in pairs]], rows[: head + said], others[: head + said]


def test_all_rows_from_the_concept_on_go_to_the_guides_rows_in_the_same_places(model):
    sources, goals, before, same = oracle(model)
    if model.family.name != "krea2":  # a causal encoder reads these before the concept; Krea 2's fusion looks back
        torch.testing.assert_close(before, same, rtol=0, atol=2e-5)
    recipe = ce.Recipe(
        edits=[ce.Erase(CONCEPT, guide=GUIDE, wordings=(BEFORE + "{}" + AFTER,))], tokens="subject", keep_null=False
    )
    pairs = ce.collect(model, recipe).streams["text"].pairs
    assert pairs.goals is not None
    bare = ce.collect(model, ce.Recipe(edits=[ce.Erase(CONCEPT, guide=GUIDE)], tokens="subject")).streams["text"].pairs
    torch.testing.assert_close(pairs.sources[len(bare.sources) :], sources, rtol=0, atol=2e-5)
    torch.testing.assert_close(pairs.goals[len(bare.sources) :], goals, rtol=0, atol=2e-5)


def test_the_concept_leaks_into_suffix_and_padding_and_not_into_what_stands_before(model):
    """The trap the rule is for: a concept moves every later row, so that its last token alone erases nothing."""
    text = model.encode([BEFORE + "cat" + AFTER, BEFORE + "dog" + AFTER])["text"]
    a, b = text.rows
    moved = (a - b).norm(dim=1) / a.norm(dim=1).clamp(min=1e-9)
    kinds = text.kinds[0]
    first = int((kinds == 1).int().argmax()) + len(model.route.tokenizer(BEFORE.strip()).input_ids)
    assert bool((moved[:first] < 1e-4).all()) == (model.family.name != "krea2")
    assert bool((moved[(kinds == 2) | (kinds == 3)] > 1e-3).all())
