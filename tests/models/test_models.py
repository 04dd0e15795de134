"""The five families behind one contract: rows equal the pipelines', weights are live, sources agree."""

from __future__ import annotations

import json
import shutil

import numpy as np
import originals
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from concept_edit.models import FAMILIES, open_model
from concept_edit.models.files.original import original_state
from concept_edit.models.files.tokenizers import clip_tokenizer
from concept_edit.models.files.weights_files import Weights

PROMPTS = ["a painting by Van Gogh", "", "the red apple " * 60]


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def pipeline(request):
    return tiny.tiny_pipeline(request.param)


@pytest.fixture(scope="module")
def model(pipeline):
    return open_model(pipeline)


@pytest.fixture(scope="module")
def place(model, tmp_path_factory):
    """The pipeline as a diffusers folder and as one original-layout file."""
    root, name = tmp_path_factory.mktemp("models"), model.family.name
    model.pipeline.save_pretrained(root / "folder")
    written = {"sd3": originals.sd3_file, "flux": originals.flux_file}.get(name)
    state = written(model.pipeline) if written else original_state(model.pipeline, model.family)
    save_file(state, root / "model.safetensors")
    return root


SD1 = pytest.mark.parametrize("pipeline", ["sd1"], indirect=True)


def paint(model, prompts, seeds, **more):
    images = model.generate(prompts, seeds, steps=2, size=64, **more)
    return np.stack([np.asarray(image, dtype=np.float32) for image in images])


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


def test_subject_marks_the_prompts_own_tokens(model):
    text = model.encode(PROMPTS)["text"]
    first = model.towers[0] if model.family.name != "flux" else model.towers[1]
    ids = first.tokenizer(PROMPTS[0]).input_ids
    own = len(ids) - (1 if first.spec.kind == "t5" else 2)
    until = int(text.eos[0]) + 1
    assert int(text.subject[0, :until].sum()) == own
    assert not text.subject[1].any()
    assert int(text.eos[1]) == (0 if first.spec.kind == "t5" else 1)
    if model.family.name == "sd3":
        second = int(text.second_eos[0])
        words = model.towers[2].tokenizer(PROMPTS[0]).input_ids
        assert int(text.subject[0, 77:].sum()) == len(words) - 1 == second - 77
    else:
        assert text.second_eos is None


def test_cut_text_is_told(model):
    cut = model.encode(PROMPTS)["text"].cut
    assert cut[:2] == ("", "")
    if model.family.name != "flux":  # its T5 takes 512 tokens
        assert cut[2].replace(" ", "").endswith("theredapple")
    assert model.encode([])["text"].rows.shape == (0, 1, model.streams["text"])
    with pytest.raises(ValueError, match="batch_size"):
        model.encode(PROMPTS, batch_size=0)


def test_sites_read_the_streams_they_name(model):
    weights = model.weights()
    assert list(weights) == [site.name for site in model.sites]
    for site in model.sites:
        assert (site.columns or weights[site.name].shape[1]) == model.streams[site.stream]
    expected = {"sd1": {"k", "v"}, "sd2": {"k", "v"}, "sdxl": {"k", "v", "pooled"}}
    assert {site.role for site in model.sites} == expected.get(model.family.name, {"context", "pooled"})


def test_images_depend_on_prompt_and_seed_and_not_on_the_batch(model):
    together = paint(model, ["a cat", "a dog", "a cat"], [1, 2, 3])
    alone = np.concatenate([paint(model, p, s) for p, s in (("a cat", 1), ("a dog", 2), ("a cat", 3))])
    assert np.abs(together - alone).max() <= 1  # rounding to 8 bits
    assert np.abs(together[0] - together[2]).max() > 8
    assert np.array_equal(paint(model, "a cat", [1, 2]), paint(model, ["a cat", "a cat"], [1, 2]))


@pytest.mark.parametrize("source", ["live", "folder", "file"])
def test_weights_are_the_tensors_that_paint(model, place, source):
    if model.family.name == "flux" and source == "file":
        pytest.skip("diffusers' converter of FLUX.1 files takes the full size only")
    opened = {"live": lambda: model, "folder": lambda: open_model(place / "folder"), "file": lambda: one_file(place)}[
        source
    ]()
    assert opened.loaded == (source == "live")
    before = {name: weight.clone() for name, weight in opened.weights().items()}
    for weight in opened.weights().values():
        weight.mul_(1.3)
    changed = paint(opened, "a cat", 1)
    for name, weight in opened.weights().items():
        weight.copy_(before[name])
    original = paint(opened, "a cat", 1)
    assert np.abs(changed - original).max() > 1
    assert np.abs(original - paint(model, "a cat", 1)).max() <= 1  # memory lies elsewhere, sums round elsewhere


def one_file(place, **more):
    return open_model(place / "model.safetensors", companion=place / "folder", **more)


@pytest.mark.parametrize("source", ["folder", "file"])
def test_sources_agree(model, place, source):
    opened = open_model(place / "folder") if source == "folder" else one_file(place)
    assert (opened.family, opened.streams, opened.sites) == (model.family, model.streams, model.sites)
    assert opened.fingerprint == model.fingerprint
    assert all(torch.equal(opened.weights()[name], weight) for name, weight in model.weights().items())
    for name, part in model.encode(PROMPTS).items():
        assert torch.equal(opened.encode(PROMPTS)[name].rows, part.rows)
    assert not opened.loaded


def test_opening_reads_text_encoders_and_matrices_only(model, place, monkeypatch):
    seen = []
    read = Weights.read
    monkeypatch.setattr(Weights, "read", lambda self, names: seen.extend(names) or read(self, names))
    one_file(place)
    text = [name for name in seen if name.startswith(("cond_stage_model.", "conditioner.", "text_encoders."))]
    assert len(seen) - len(text) == len(model.sites)
    seen.clear()
    open_model(place / "folder")
    encoders = {name for tower in model.towers for name, _ in tower.tensors()}
    denoiser = [name for name in seen if name not in encoders and name.removeprefix("text_model.") not in encoders]
    assert sorted(denoiser) == sorted(site.name for site in model.sites)


def test_half_precision_opens_in_float32_on_the_cpu(model, place, tmp_path):
    state = {
        k: v.to(torch.float16) if v.is_floating_point() else v
        for k, v in load_file(place / "model.safetensors").items()
    }
    save_file(state, tmp_path / "half.safetensors")
    half = open_model(tmp_path / "half.safetensors", companion=place / "folder")
    assert half.fingerprint == model.fingerprint  # a half copy of the same encoder is the same encoder
    assert {w.dtype for w in half.weights().values()} == {torch.float32}
    for name in ("bfloat16", torch.float16):
        small = one_file(place, dtype=name)
        wanted = torch.bfloat16 if name == "bfloat16" else torch.float16
        assert {w.dtype for w in small.weights().values()} == {wanted}
        rows, exact = small.encode(PROMPTS[:1])["text"].rows, model.encode(PROMPTS[:1])["text"].rows
        assert rows.dtype == torch.float32
        assert (rows - exact).norm() < 0.05 * exact.norm()


def test_another_encoder_has_another_fingerprint(model):
    assert tiny.tiny_model(model.family.name, seed=1).fingerprint != model.fingerprint


def test_missing_text_encoders_say_what_to_fetch(model, place, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    state = load_file(place / "model.safetensors")
    bare = {k: v for k, v in state.items() if not k.startswith(("cond_stage_model.", "conditioner.", "text_encoders."))}
    save_file(bare, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match=r"has no text_encoder.*hf download .*text_encoder"):
        open_model(tmp_path / "bare.safetensors")
    if model.family.name != "sd2":  # with no text encoder, the width alone tells SD 2.x, and tiny models have another
        filled = open_model(tmp_path / "bare.safetensors", companion=place / "folder")
        assert filled.fingerprint == model.fingerprint
    if model.family.name in ("sd3", "flux"):
        tiny_bpe = clip_tokenizer(merges=4000)
        monkeypatch.setattr("concept_edit.models.files.single_file.clip_tokenizer", lambda pad_token: tiny_bpe)
        with pytest.raises(ValueError, match=r"T5 tokenizer.*does not ship.*hf download .*tokenizer_"):
            open_model(place / "model.safetensors")


def test_shipped_tokenizer_is_clips():
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49_408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert clip_tokenizer(pad_token="!").pad_token_id == 0


def test_original_file_opens_with_shipped_files_alone(tmp_path):
    """CLIP's own vocabulary and 64-wide heads, as every published checkpoint has: no companion needed."""
    from transformers import CLIPTextConfig, CLIPTextModel

    pipeline, tokenizer = tiny.tiny_pipeline("sd1"), clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, hidden_act="quick_gelu",
    )  # fmt: skip
    pipeline.text_encoder, pipeline.tokenizer, pipeline.unet = CLIPTextModel(config).eval(), tokenizer, tiny.unet(64)
    save_file(original_state(pipeline, FAMILIES["sd1"]), tmp_path / "model.safetensors")
    opened, live = open_model(tmp_path / "model.safetensors"), open_model(pipeline)
    assert opened.fingerprint == live.fingerprint
    assert torch.equal(opened.encode(PROMPTS)["text"].rows, live.encode(PROMPTS)["text"].rows)
    with pytest.raises(ValueError, match=r"cannot paint as Stable Diffusion 1\.x.*companion="):
        opened.generate("a cat", 1)


SIZES = {
    "sd1": 859_520_964, "sd2": 865_910_724, "sdxl": 2_567_463_684, "sd3": 2_028_328_000,
    "flux-dev": 11_901_408_320, "flux-schnell": 11_891_178_560,
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_shipped_configurations_have_the_published_sizes(name):
    from importlib.resources import files

    import diffusers
    from accelerate import init_empty_weights

    folder = files("concept_edit") / "families" / name
    part = "unet" if (folder / "unet").is_dir() else "transformer"
    config = json.loads((folder / part / "config.json").read_text("utf-8"))
    with init_empty_weights():
        denoiser = getattr(diffusers, config["_class_name"]).from_config(config)
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == SIZES[name]


@SD1
def test_hub_id_opens_from_the_cache_and_never_hangs_without_one(place, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="not in the hub cache"):
        open_model("someone/nothing")
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / "abc"
    (tmp_path / "models--someone--tiny" / "refs").mkdir(parents=True)
    (tmp_path / "models--someone--tiny" / "refs" / "main").write_text("abc")
    shutil.copytree(place / "folder", snapshot)
    assert open_model("someone/tiny").name == "someone/tiny"


BAD_FILES = {
    "old.ckpt": (b"x", "pickled file"),
    "short.safetensors": (b"\x10", "not a whole safetensors file"),
    "lora.safetensors": ({"lora_unet_x.lora_up.weight": torch.zeros(1)}, "is a LoRA"),
    "edit.safetensors": ({"text.left": torch.zeros(1)}, "an edit file"),
    "refiner.safetensors": ({"conditioner.embedders.0.model.ln_final.bias": torch.zeros(1)}, "refiner"),
    "chroma.safetensors": ({"distilled_guidance_layer.in_proj.bias": torch.zeros(1)}, "not FLUX.1"),
    "unet.safetensors": ({"down_blocks.0.resnets.0.norm1.bias": torch.zeros(1)}, "one part of a diffusers folder"),
    "llama.safetensors": ({"layers.0.wq": torch.zeros(1)}, "of no family"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(name, tmp_path):
    content, words = BAD_FILES[name]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        save_file(content, tmp_path / name)
    with pytest.raises(ValueError, match=words) as caught:
        open_model(tmp_path / name)
    assert name in str(caught.value)


@SD1
def test_damaged_models_are_named(model, place, tmp_path):
    state = load_file(place / "model.safetensors")
    site = next(name for name in state if name.endswith("attn2.to_k.weight"))
    text = "cond_stage_model.transformer.text_model.final_layer_norm.weight"

    for name, value, words in (
        (site, state[site] * float("nan"), "NaN or infinite"),
        (text, state[text] * float("inf"), "NaN or infinite"),
        (text, None, r"final_layer_norm\.weight"),
        (site, state[site][:, :7].contiguous(), "columns"),
    ):
        changed = {key: tensor for key, tensor in (state | {name: value}).items() if tensor is not None}
        save_file(changed, tmp_path / "x.safetensors")
        with pytest.raises(ValueError, match=words):
            open_model(tmp_path / "x.safetensors", companion=place / "folder")
    (tmp_path / "x.safetensors").write_bytes((place / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        open_model(tmp_path / "x.safetensors", companion=place / "folder")


@SD1
def test_incomplete_folders_are_named(place, tmp_path):
    def folder(name):
        shutil.copytree(place / "folder", tmp_path / name)
        return tmp_path / name

    (folder("index") / "model_index.json").unlink()
    (folder("json") / "model_index.json").write_text("{")
    (folder("tokenizer") / "tokenizer" / "tokenizer.json").unlink()
    shutil.rmtree(tmp_path / "tokenizer" / "tokenizer")
    weights = folder("pickled") / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    (folder("empty") / "text_encoder" / "model.safetensors").unlink()
    kind = folder("kind") / "model_index.json"
    kind.write_text(kind.read_text("utf-8").replace("StableDiffusionPipeline", "KandinskyPipeline"))
    for name, words in (
        ("index", "model_index.json is missing"),
        ("json", "not JSON"),
        ("tokenizer", "tokenizer is missing"),
        ("pickled", "pickled file"),
        ("empty", "holds no .safetensors"),
        ("kind", "KandinskyPipeline is of no family"),
        ("nowhere", "nor a folder or file that exists"),
    ):
        with pytest.raises(ValueError, match=words):
            open_model(tmp_path / name)


@SD1
def test_bad_wishes_are_named(model, place):
    for more, words in (
        ({"device": "abacus"}, "is no device"),
        ({"device": "cuda:99"}, "is not here"),
        ({"dtype": "int8"}, "is no precision"),
    ):
        with pytest.raises(ValueError, match=words):
            open_model(place / "folder", **more)
    with pytest.raises(ValueError, match="is no model"):
        open_model(3)
    with pytest.raises(ValueError, match="2 prompts and 3 seeds"):
        model.generate(["a", "b"], [1, 2, 3])
    with pytest.raises(ValueError, match="batch_size"):
        model.generate("a", 1, batch_size=0)


def test_negative_prompt_where_the_family_takes_one(model):
    if model.family.negative_prompt:
        assert paint(model, "a cat", 1, negative_prompt="a dog").shape == (1, 64, 64, 3)
    else:
        with pytest.raises(ValueError, match="no negative prompt"):
            paint(model, "a cat", 1, negative_prompt="a dog")


@pytest.mark.parametrize("family", ["sd1"])
def test_progress_counts_images_and_the_bar_setting_comes_back(family):
    model, seen = tiny.tiny_model(family), []
    model.pipeline.set_progress_bar_config(desc="mine")
    model.generate("a", [1, 2, 3], steps=1, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]
    assert model.pipeline._progress_bar_config == {"desc": "mine"}


def test_pipeline_without_a_text_encoder_is_refused():
    pipeline = tiny.tiny_pipeline("sdxl")
    pipeline.text_encoder = None
    with pytest.raises(ValueError, match="has no text_encoder"):
        open_model(pipeline)


def test_sd3_works_without_t5():
    pipeline = tiny.tiny_pipeline("sd3")
    pipeline.text_encoder_3 = None
    model = open_model(pipeline)
    text = model.encode(PROMPTS)["text"]
    assert text.rows.shape == (3, 77, 96)
    assert text.second_eos is None
    with torch.no_grad():
        wanted = pipeline.encode_prompt(PROMPTS, None, None, do_classifier_free_guidance=False)[0]
    torch.testing.assert_close(text.rows, wanted[:, :77], rtol=0, atol=2e-6)
    assert not wanted[:, 77:].any()


@SD1
def test_old_folders_open(model, place, tmp_path):
    """As older hub folders are: a vocabulary and merges for a tokenizer, half-precision variants alone."""
    from concept_edit.models.files.tokenizers import clip_merges, clip_vocabulary

    folder = tmp_path / "old"
    model.pipeline.save_pretrained(folder, variant="fp16")
    tokenizer = folder / "tokenizer"
    (tokenizer / "tokenizer.json").unlink()
    (tokenizer / "vocab.json").write_text(json.dumps(clip_vocabulary(4000)), "utf-8")
    merges = "\n".join(["#version: 0.2", *clip_merges()[:4000]])
    (tokenizer / "merges.txt").write_text(merges + "\n", "utf-8")
    kept = ("bos_token", "eos_token", "pad_token", "unk_token", "model_max_length", "tokenizer_class")
    config = json.loads((tokenizer / "tokenizer_config.json").read_text("utf-8"))
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({key: config[key] for key in kept if key in config}))
    opened = open_model(folder)
    assert opened.fingerprint == model.fingerprint
    assert np.abs(paint(opened, "a cat", 1) - paint(model, "a cat", 1)).max() <= 1
