"""The five families behind one contract: rows equal the pipelines', weights are live, sources agree."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from concept_edit.models import open_model

PROMPTS = ["a painting by Van Gogh", "", "the red apple " * 60]


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def pipeline(request):
    return tiny.tiny_pipeline(request.param)


@pytest.fixture(scope="module")
def model(pipeline):
    return open_model(pipeline)


def paint(model, prompts, seeds, **more):
    return np.stack([np.asarray(image, dtype=np.float32) for image in model.generate(prompts, seeds, steps=2, **more)])


def pipeline_rows(pipeline, family):
    """What the pipeline itself feeds its denoiser."""
    with torch.no_grad():
        if family in ("sd1", "sd2"):
            return pipeline.encode_prompt(PROMPTS, "cpu", 1, False)[0], None
        if family == "sdxl":
            text, _, pooled, _ = pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
        elif family == "sd3":
            text, _, pooled, _ = pipeline.encode_prompt(PROMPTS, None, None, do_classifier_free_guidance=False)
        else:
            text, pooled, _ = pipeline.encode_prompt(PROMPTS, None)
    return text, pooled


def test_rows_are_what_the_pipeline_feeds_its_denoiser(pipeline, model):
    text, pooled = pipeline_rows(pipeline, model.family.name)
    encoded = model.encode(PROMPTS)
    torch.testing.assert_close(encoded["text"].rows, text, rtol=0, atol=2e-6)
    if pooled is not None:
        torch.testing.assert_close(encoded["pooled"].rows[:, 0], pooled, rtol=0, atol=2e-6)
    assert set(encoded) == set(model.streams)
    assert {name: part.rows.shape[2] for name, part in encoded.items()} == model.streams


def test_batch_size_does_not_matter(model):
    one, many = model.encode(PROMPTS, batch_size=1), model.encode(PROMPTS, batch_size=32)
    for name in model.streams:
        torch.testing.assert_close(one[name].rows, many[name].rows, rtol=0, atol=2e-6)
        assert torch.equal(one[name].subject, many[name].subject)
        assert one[name].cut == many[name].cut
