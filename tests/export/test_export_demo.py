"""What is written of the embedded model paints as the edit does: LoRA in both namings, file and folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

import concept_edit as ce
from concept_edit import demo

PROMPTS, SEEDS = ["a red apple in the style of Twemoji", "a cat in the style of Noto"], [3, 4]
STEPS = 5


@pytest.fixture(scope="module")
def model():
    if not (demo.WEIGHTS / "model" / "model_index.json").is_file():
        pytest.skip("the embedded weights are not in this checkout")
    return ce.open_model("demo")


@pytest.fixture(scope="module")
def edit(model):
    recipe = ce.Recipe(edits=[ce.Erase("Twemoji", guide="Noto"), ce.Moderate("knife")], preserve=["cat"], method="uce")
    return ce.solve(model, recipe)


def paint(model):
    return np.stack([np.asarray(image, dtype=np.float64) for image in model.generate(PROMPTS, SEEDS, steps=STEPS)])


@pytest.fixture(scope="module")
def wanted(model, edit):
    with edit.applied(model):
        return paint(model)


@pytest.fixture(scope="module")
def original(model):
    return paint(model)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.square(a - b).mean(), 1e-9))


@pytest.mark.parametrize("naming", ["kohya", "peft"])
def test_lora_paints_as_the_edit(model, edit, wanted, original, naming, tmp_path):
    ce.export_lora(edit, model, tmp_path / "lora.safetensors", naming)
    model.pipeline.load_lora_weights(tmp_path / "lora.safetensors", adapter_name="edit")
    try:
        assert psnr(paint(model), wanted) >= 40
        model.pipeline.set_adapters(["edit"], [0.0])
        assert psnr(paint(model), original) >= 60
    finally:
        model.pipeline.unload_lora_weights()
    assert psnr(wanted, original) < 30
    assert np.array_equal(paint(model), original)


def test_original_layout_file_paints_as_the_edit(model, edit, wanted, tmp_path):
    import diffusers

    written = ce.export_checkpoint(edit, model, tmp_path / "demo.safetensors")
    again = ce.open_model(written.path, companion=demo.folder())
    assert again.fingerprint == model.fingerprint
    assert psnr(paint(again), wanted) >= 40
    loaded = diffusers.StableDiffusionPipeline.from_single_file(
        str(written.path), config=str(demo.folder()), local_files_only=True,
        text_encoder=model.pipeline.text_encoder, tokenizer=model.pipeline.tokenizer,
    )  # fmt: skip
    named = dict(loaded.unet.named_parameters())
    with edit.applied(model):
        assert all(torch.equal(named[name], weight) for name, weight in model.weights().items())


def test_a_patched_original_layout_file_keeps_everything_else(model, edit, tmp_path):
    """The user's own file: written unedited, opened, patched."""
    empty = ce.solve(model, ce.Recipe(method="uce"))
    source = ce.export_checkpoint(empty, model, tmp_path / "source.safetensors").path
    single = ce.open_model(source, companion=demo.folder())
    written = ce.export_checkpoint(edit, single, tmp_path / "patched.safetensors")
    with safe_open(source, "pt") as old, safe_open(written.path, "pt") as new:
        changed = {key for key in old.keys() if not torch.equal(old.get_tensor(key), new.get_tensor(key))}  # noqa: SIM118
        assert list(old.keys()) == list(new.keys())
    assert changed == set(written.changed) == set(single.origin.names.values())


def test_patched_folder_paints_as_the_edit(model, edit, wanted, tmp_path):
    written = ce.export_checkpoint(edit, model, tmp_path / "folder")
    assert psnr(paint(ce.open_model(written.path)), wanted) >= 40
    assert len(written.changed) == len(model.sites)


def test_kv_file_gives_the_edit_back(model, edit, tmp_path):
    ce.export_kv(edit, model, tmp_path / "kv.safetensors")
    found = ce.import_kv_dump(tmp_path / "kv.safetensors", model)
    assert found.edit is not None
    assert found.ranks["text"] == edit.rank("text")
    deltas = edit.delta(model)
    assert (
        max(float((d - deltas[name]).norm() / deltas[name].norm()) for name, d in found.edit.delta(model).items())
        < 1e-3
    )
