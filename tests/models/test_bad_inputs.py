"""What cannot be edited, family by family: each is told in one sentence that says what is wrong and what to do."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import originals
import pytest
import tiny
import tiny_modern
import torch
from safetensors.torch import load_file, save_file

import concept_edit as ce
from concept_edit.models import open_model

LONG = "the red apple " * 1200
UNCUT = ("qwen-image-edit", "qwen-image-edit-plus", "qwen-image-2.1")
"""Their pipelines have no length at which they cut a prompt."""


@pytest.fixture(scope="module", params=[*tiny.FAMILIES, *tiny_modern.MODERN])
def pipeline(request):
    made = tiny.tiny_pipeline if request.param in tiny.FAMILIES else tiny_modern.modern_pipeline
    return made(request.param)


@pytest.fixture(scope="module")
def model(pipeline):
    return open_model(pipeline)


def refused(source, words, **more):
    """The complaint about a source: one sentence, in which `words` are found."""
    with pytest.raises(ValueError, match=words) as caught:
        open_model(source, **more)
    told = str(caught.value)
    assert len(told.splitlines()) == 1
    assert len(told) < 700
    return told


def as_packed(weight):
    """As bitsandbytes keeps four-bit weights: two numbers a byte, in one column."""
    return torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8)


def as_int8(weight):
    return weight.detach().to(torch.int8)


def as_float8(weight):
    return weight.detach().to(torch.float8_e4m3fn)


def as_gguf(weight):
    """As diffusers keeps a GGUF file's blocks of 32 four-bit numbers and a half."""
    parameter = pytest.importorskip("diffusers.quantizers.gguf.utils").GGUFParameter
    gguf = pytest.importorskip("gguf")
    return parameter(torch.zeros(len(weight), 18, dtype=torch.uint8), quant_type=gguf.GGMLQuantizationType.Q4_0)


QUANTISED = (as_packed, as_int8, as_float8, as_gguf)


@contextmanager
def stored_as(layer, change):
    """Inside the block the layer's weight is stored in another way."""
    plain = layer.weight
    layer.weight = torch.nn.Parameter(change(plain), requires_grad=False)
    try:
        yield
    finally:
        layer.weight = plain


@pytest.mark.parametrize("change", QUANTISED)
def test_a_quantised_reader_is_named(model, pipeline, change):
    for site in {site.stream: site for site in model.sites}.values():
        layer = getattr(pipeline, model.family.denoiser).get_submodule(site.name.removesuffix(".weight"))
        with stored_as(layer, change):
            refused(pipeline, rf"{re.escape(site.name)} of \w+ is torch\.\w+; .*open the model without")


@pytest.mark.parametrize("change", QUANTISED)
def test_a_quantised_encoder_is_named(model, pipeline, change):
    for tower in model.towers:
        layer = next(part for part in tower.encoder.modules() if isinstance(part, torch.nn.Linear))
        with stored_as(layer, change):
            refused(pipeline, rf"^{tower.spec.encoder}\..* is torch\.\w+; .*open the model without")


def test_an_encoder_or_tokenizer_that_is_not_there_is_named(model, pipeline):
    for spec in (spec for spec in model.family.towers if not spec.optional):
        for part in (spec.encoder, spec.tokenizer):
            there = getattr(pipeline, part)
            setattr(pipeline, part, None)
            try:
                refused(pipeline, f"has no {part}; .* needs it to read prompts")
            finally:
                setattr(pipeline, part, there)


def test_an_encoder_of_another_model_is_told(model, pipeline):
    """By its kind or its width; one that is alike in both has another fingerprint, which an edit is bound to."""
    strangers = {"clip": tiny.clip(width=16)[0], "t5": tiny.t5(16)[0], "asked": tiny_modern.qwen3(3, 12)}
    strangers["clip_projection"] = strangers["asked"]
    for tower in model.towers:
        setattr(pipeline, tower.spec.encoder, strangers[tower.spec.kind])
        try:
            refused(pipeline, "give (it|the pipeline) the text encoder that it was trained with")
        finally:
            setattr(pipeline, tower.spec.encoder, tower.encoder)


@pytest.mark.filterwarnings("ignore")
def test_a_prompt_longer_than_the_template_has_room_for_is_told(model):
    recipe = ce.Recipe(edits=[ce.Erase(LONG)], tokens="subject")
    if model.family.name in UNCUT:
        text = model.encode([LONG])["text"]
        assert text.cut == ("",)
        assert int(text.subject.sum()) > 3600
        return
    with pytest.raises(ValueError, match=r"the red apple.*shorten it") as caught:
        ce.collect(model, recipe, strict=True)
    assert len(str(caught.value).splitlines()) == 1


def folder_of(family, root):
    made = tiny.tiny_pipeline if family in tiny.FAMILIES else tiny_modern.modern_pipeline
    made(family).save_pretrained(root / family)
    return root / family


def rewritten(folder, part, change):
    """The first matrices of a part of a diffusers folder changed: name and value to names and values."""
    (file,) = (folder / part).glob("*.safetensors")
    state = load_file(file)
    save_file({k: v for name, value in state.items() for k, v in change(name, value).items()}, file)


def scaled(name, value):
    if value.ndim != 2:
        return {name: value}
    return {
        name: value.to(torch.float8_e4m3fn),
        name.removesuffix(".weight") + ".scale_weight": torch.ones(()),
    }


def packed(name, value):
    return {name: as_packed(value) if value.ndim == 2 else value}


@pytest.mark.parametrize("family", ["sd1", "sd3", "flux", "zimage", "hidream"])
@pytest.mark.parametrize(("change", "kind"), [(scaled, "float8_e4m3fn with a scale"), (packed, "uint8")])
def test_quantised_parts_of_a_folder_are_named(family, change, kind, tmp_path):
    for part in ("unet" if family == "sd1" else "transformer", "text_encoder"):
        folder = folder_of(family, tmp_path / part)
        rewritten(folder, part, change)
        config = folder / part / "config.json"
        told = json.loads(config.read_text("utf-8"))
        config.write_text(json.dumps(told | {"quantization_config": {"quant_method": "bitsandbytes"}}), "utf-8")
        words = rf"{part} is quantised: it is stored as {kind}.*; fetch the model in float16 or bfloat16"
        assert "weight" in refused(folder, words)


@pytest.mark.parametrize("change", [scaled, packed])
@pytest.mark.parametrize("part", ["model.diffusion_model.context_embedder.weight", "text_encoders.t5xxl."])
def test_quantised_parts_of_a_single_file_are_named(part, change, tmp_path):
    pipe = tiny.tiny_pipeline("sd3")
    pipe.save_pretrained(tmp_path / "folder")
    state = originals.sd3_file(pipe)
    for name in [name for name in state if name.startswith(part)]:
        state |= change(name, state[name])
    save_file(state, tmp_path / "sd3.safetensors")
    words = rf"^{re.escape(part)}.* in .*sd3\.safetensors is quantised: .*; fetch the model in float16 or bfloat16"
    refused(tmp_path / "sd3.safetensors", words, companion=tmp_path / "folder")


@pytest.mark.parametrize("family", ["sd1", "zimage"])
def test_float8_without_a_scale_is_read_as_the_numbers_it_holds(family, tmp_path):
    folder = folder_of(family, tmp_path)
    part = "unet" if family == "sd1" else "transformer"
    rewritten(folder, part, lambda name, value: {name: as_float8(value) if value.ndim == 2 else value})
    (file,) = (folder / part).glob("*.safetensors")
    model, state = open_model(folder), load_file(file)
    for name, weight in model.weights().items():
        assert torch.equal(weight.float(), state[name].float())
    assert len(model.generate("a cat", 0, steps=1, size=64)) == 1


def test_gguf_files_are_refused_wherever_they_lie(tmp_path):
    folder = folder_of("zimage", tmp_path)
    (file,) = (folder / "transformer").glob("*.safetensors")
    lone = Path(shutil.copy(file, tmp_path / "z-image-Q4_0.gguf"))
    words = "GGUF file, which is not read here: fetch the model in float16 or bfloat16"
    assert "z-image-Q4_0.gguf" in refused(lone, words)
    file.rename(file.with_suffix(".gguf"))
    assert "transformer holds a" in refused(folder, words)
    refused(tmp_path / "nowhere.gguf", "is not a file")
