"""A denoiser that paints over a picture takes more channels than it gives: edits apply, words alone do not paint."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file

import concept_edit as ce
from concept_edit.models import FAMILIES
from concept_edit.models.files.original import original_state

RECIPE = ce.Recipe(edits=[ce.Erase("dog", guide="cat")], method="uce")


def inpainting():
    """A tiny SD 1.x whose denoiser takes noise, a mask and the masked picture: nine channels."""
    from diffusers import StableDiffusionInpaintPipeline

    pipeline = tiny.tiny_pipeline("sd1")
    parts = {**pipeline.components, "unet": tiny.unet(in_channels=9)}
    return StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root, pipeline = tmp_path_factory.mktemp("inpainting"), inpainting()
    pipeline.save_pretrained(root / "folder")
    save_file(original_state(pipeline, FAMILIES["sd1"]), root / "model.safetensors")
    return root


def opened(place, source):
    if source == "live":
        return ce.open_model(inpainting())
    if source == "folder":
        return ce.open_model(place / "folder")
    return ce.open_model(place / "model.safetensors", companion=place / "folder")


@pytest.mark.parametrize("source", ["live", "folder", "file"])
def test_words_alone_are_refused_and_the_edit_applies(place, source, tmp_path):
    model = opened(place, source)
    edit = ce.solve(model, RECIPE)
    with pytest.raises(ValueError, match=r"paints only with a picture and a mask.*9 channels.*edit can be applied"):
        model.generate("a dog", 1, steps=1)
    assert ce.export_lora(edit, model, tmp_path / "lora.safetensors").matrices == len(model.sites)
    before = {name: weight.clone() for name, weight in model.weights().items()}
    picture, mask = Image.new("RGB", (64, 64), "navy"), Image.new("L", (64, 64), 255)

    def paint():
        model.pipeline.set_progress_bar_config(disable=True)
        draw = torch.Generator().manual_seed(0)
        return np.asarray(
            model.pipeline("a dog", image=picture, mask_image=mask, num_inference_steps=2, height=64, width=64,
                           generator=draw).images[0]
        )  # fmt: skip

    plain = paint()
    with edit.applied(model):
        assert not np.array_equal(paint(), plain)
    assert np.array_equal(paint(), plain)
    assert all(torch.equal(weight, before[name]) for name, weight in model.weights().items())
