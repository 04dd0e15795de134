"""Families whose encoder is a language model: rows, what each row is, readers, folders, edits, LoRA, for every row."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest
import tiny_modern
import torch
from oracles import difference
from safetensors.torch import load_file

import concept_edit as ce
from concept_edit.models import open_model
from concept_edit.models.contract import NOTHING, PADDING, PREFIX, SUBJECT, SUFFIX
from concept_edit.models.families import FAMILIES
from concept_edit.models.probe import prompt_readers

PROMPTS = ["a painting by Van Gogh", "", "the red apple"]
SIZE = {"height": 64, "width": 64}


@pytest.fixture(scope="module", params=tiny_modern.MODERN)
def model(request):
    return open_model(tiny_modern.modern_pipeline(request.param))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    if isinstance(getattr(model.pipeline, "processor", None), tiny_modern.PlainProcessor):
        pytest.skip("the pipeline's processor wants torchvision")
    place = tmp_path_factory.mktemp("modern") / model.family.name
    model.pipeline.save_pretrained(place)
    return place


def test_the_readers_of_the_row_are_those_that_read_the_prompt_alone(model):
    """Probed by painting: what moves with the prompt and neither with noise nor with time."""
    found = set(prompt_readers(model.pipeline, **SIZE, **model.route.picture, **model.family.plainly))
    readers = {site.name for site in model.sites}
    assert readers <= found
    assert found == readers | {name for name in found if re.fullmatch(model.family.route.beside, name)}


def painted_rows(model, prompt, stream="text"):
    """What the readers are given when the pipeline paints, in the order of its own rows."""
    caught, name = [], next(site.name for site in model.sites if site.stream == stream)
    reader = getattr(model.pipeline, model.family.denoiser).get_submodule(name.removesuffix(".weight"))
    hook = reader.register_forward_pre_hook(lambda _, given: caught.append(given[0].reshape(-1, given[0].shape[-1])))
    guided = "guidance_scale" in inspect.signature(type(model.pipeline).__call__).parameters
    try:
        model.generate(prompt, 0, steps=1, size=64, guidance_scale=1.0 if guided else None)
    finally:
        hook.remove()
    return caught[0]


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if row.route and row.route.pooled])
def test_a_pooled_vector_is_what_its_reader_is_given_and_is_edited_too(family):
    model = open_model(tiny_modern.modern_pipeline(family))
    pooled = model.encode(PROMPTS, batch_size=2)["pooled"]
    assert pooled.rows.shape == (len(PROMPTS), 1, model.streams["pooled"])
    for index, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(
            pooled.rows[index],
            painted_rows(model, prompt, "pooled")[-1:, : model.streams["pooled"]],
            rtol=1e-5,
            atol=1e-5,
        )
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], tokens="subject", ridge=1e-6))
    source, goal = model.encode(["Van Gogh", "art"])["pooled"].rows[:, 0]
    moved = source + source @ edit.factors["pooled"].dense().T.float()
    assert float((moved - goal).norm()) < 0.1 * float((source - goal).norm())
    name = next(site.name for site in model.sites if site.stream == "pooled")
    before = model.weights()[name].clone()
    with edit.applied(model):
        assert not torch.equal(before, model.weights()[name])
    assert torch.equal(before, model.weights()[name])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_rows_are_what_the_reader_is_given_when_the_pipeline_paints(model, prompt):
    encoded = model.encode([prompt])
    assert set(encoded) == set(model.streams)
    for stream in set(encoded) - {"pooled"}:
        text, painted = encoded[stream], painted_rows(model, prompt, stream)
        rows = text.rows[0][text.kinds[0] != NOTHING]
        distances = torch.cdist(rows, painted, compute_mode="donot_use_mm_for_euclid_dist")
        assert float(distances.min(dim=1).values.max()) < 1e-4 * float(painted.norm(dim=1).max())
        assert distances.argmin(dim=1).unique().numel() >= len(rows) - int((text.kinds[0] == PADDING).sum())


def test_a_model_of_fewer_blocks_than_layers_reads_the_last_of_them():
    """The row of FIBO: with two blocks and four states, as with six (the tests above), each reads what it is painted
    with."""
    few = open_model(tiny_modern.modern_pipeline("fibo", blocks=1))
    encoded = few.encode(["the red apple"])
    assert set(encoded) == {"text", "text 1", "joined"}
    for stream, text in encoded.items():
        torch.testing.assert_close(text.rows[0], painted_rows(few, "the red apple", stream), rtol=1e-5, atol=1e-5)


def test_batch_size_and_order_do_not_matter(model):
    many = model.encode(PROMPTS)["text"]
    for index, prompt in enumerate(PROMPTS):
        one = model.encode([prompt], batch_size=1)["text"]
        count = int(one.length[0])
        torch.testing.assert_close(many.rows[index, :count], one.rows[0, :count], rtol=0, atol=2e-5)
        assert many.kinds[index, :count].tolist() == one.kinds[0, :count].tolist()
        assert bool((many.kinds[index, count:] == NOTHING).all())


def test_rows_come_with_what_each_token_is(model):
    text, heard = model.encode(PROMPTS)["text"], model.route.numbers(PROMPTS)[1]
    for index, prompt in enumerate(PROMPTS):
        kinds, tokens = text.kinds[index].tolist(), heard.tokens(index)
        own = tokens[slice(*model.route.template.own(tokens))]
        assert model.route.tokenizer.decode(own).strip().lower() == prompt.lower()
        assert kinds.count(SUBJECT) == len(own)
        assert [k for k in kinds if k != NOTHING] == sorted(k for k in kinds if k != NOTHING)
        assert int(text.eos[index]) == kinds.count(PREFIX) + kinds.count(SUBJECT)
        assert int(text.suffix[index]) == kinds.count(SUFFIX)
    assert not text.subject[1].any()


def test_folder_opens_encoder_and_reader_alone_and_agrees(model, folder):
    opened = open_model(folder)
    assert (opened.family, opened.streams, opened.sites) == (model.family, model.streams, model.sites)
    assert opened.fingerprint == model.fingerprint
    assert not opened.loaded
    assert all(torch.equal(opened.weights()[name], weight) for name, weight in model.weights().items())
    torch.testing.assert_close(opened.encode(PROMPTS)["text"].rows, model.encode(PROMPTS)["text"].rows)
    held = {n for n, p in opened.route.denoiser.named_parameters() if not p.is_meta}
    assert all(n.startswith(model.family.route.modules) for n in held)
    assert not held & set(opened.weights())


def test_an_edit_moves_the_concept_to_its_guide_and_comes_off_again(model):
    recipe = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], tokens="subject", ridge=1e-6)
    statistics = ce.collect(model, recipe)
    edit = ce.solve_statistics(statistics)
    for stream in set(model.streams) - {"pooled"}:
        pairs = statistics.streams[stream].pairs
        ways = (pairs.goals - pairs.sources).double()
        moved = pairs.sources.double() @ edit.factors[stream].dense().T
        assert bool((ways.norm(dim=1) > 0).all())
        assert float((moved - ways).norm() / ways.norm()) < 0.1
    before = {name: weight.clone() for name, weight in model.weights().items()}
    with edit.applied(model):
        assert any(not torch.equal(before[name], weight) for name, weight in model.weights().items())
    assert all(torch.equal(before[name], weight) for name, weight in model.weights().items())


def test_a_gate_moves_the_rows_of_the_concept_at_the_readers_and_comes_off(model):
    edits = [ce.Erase("Van Gogh", guide="art")]
    edit = ce.solve(model, ce.Recipe(edits=edits, preserve=["the red apple"], method="gated"), corpus=corpus(model))
    before = painted_rows(model, "Van Gogh")
    with edit.applied(model):
        moved = (painted_rows(model, "Van Gogh") - before).norm(dim=1)
    # Z-Image packs the rows of all prompts into one list, where each stands alone; elsewhere a prompt is edited whole.
    asked = before if model.family.name == "zimage" else before[None]
    told = (edit.gates["text"](asked).reshape(before.shape) - before).norm(dim=1)
    assert float(told.max()) > 1e-2
    torch.testing.assert_close(moved, told, rtol=1e-3, atol=1e-4)
    assert torch.equal(painted_rows(model, "Van Gogh"), before)


def corpus(model):
    return ce.collect_corpus(model, ["a photo of a dog in the park", "a bowl of fruit", "an old train"])


def test_another_encoder_or_template_is_another_fingerprint(model):
    other = tiny_modern.modern_pipeline(model.family.name, seed=1)
    assert open_model(other).fingerprint != model.fingerprint
    with pytest.raises(ValueError, match="solve the recipe on"):
        ce.solve(model, ce.Recipe(edits=[ce.Erase("cat")], tokens="subject")).check(open_model(other))


COMFY = {
    "zimage": "transformer.cap_embedder.1",
    "flux2": "transformer.context_embedder",
    "flux2-klein": "transformer.context_embedder",
    "qwen-image": "transformer.txt_in",
    "qwen-image-edit": "transformer.txt_in",
    "qwen-image-edit-plus": "transformer.txt_in",
    "krea2": "transformer.txt_in.linear_1",
    "chroma": "transformer.context_embedder",
    "lumina2": "diffusion_model.cap_embedder.1",
    "auraflow": "transformer.context_embedder",
    "ernie": "transformer.text_proj",
    "ideogram4": "diffusion_model.llm_cond_proj",
    "wan": "diffusion_model.text_embedding.0",
}
"""The layer's name in ComfyUI's own table of LoRA keys."""


def test_the_lora_for_comfyui_has_the_names_of_its_table(model, tmp_path):
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], tokens="subject"))
    written = ce.export_lora(edit, model, tmp_path / "c.safetensors", "comfy")
    assert ("ComfyUI" in written.programs) == (model.family.name in {*COMFY, "pixart", "hidream"})
    if model.family.name in COMFY:
        name = COMFY[model.family.name]
        assert set(load_file(written.path)) == {f"{name}.lora_A.weight", f"{name}.lora_B.weight"}
    plain = ce.export_lora(edit, model, tmp_path / "p.safetensors", "peft")
    assert any("ByT5" in note and "not edited" in note for note in plain.notes) == (
        model.family.name == "hunyuan-image"
    )
    assert ("diffusers" in plain.programs) == hasattr(model.pipeline, "load_lora_weights")


def test_the_lora_loaded_by_diffusers_is_the_edit(model, tmp_path):
    pipe = model.pipeline
    if not hasattr(pipe, "load_lora_weights") and not hasattr(pipe.transformer, "load_lora_adapter"):
        pytest.skip(f"diffusers has no LoRA loader for {model.family.title}")
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], tokens="subject"))
    written = ce.export_lora(edit, model, tmp_path / "l.safetensors", "peft", "fp32")
    before = {name: weight.clone() for name, weight in model.weights().items()}
    if hasattr(pipe, "load_lora_weights"):
        pipe.load_lora_weights(tmp_path / "l.safetensors")
        pipe.fuse_lora(components=[model.family.denoiser])
        pipe.unload_lora_weights()
    else:
        pipe.transformer.load_lora_adapter(load_file(tmp_path / "l.safetensors"))
        pipe.transformer.fuse_lora()
        pipe.transformer.unload_lora()
    fused = {name: weight.clone() for name, weight in model.weights().items()}
    for name, weight in model.weights().items():
        weight.copy_(before[name])
    assert written.matrices == len(fused)
    for name, delta in edit.delta(model).items():
        assert difference(fused[name] - before[name], delta) < 1e-4


@pytest.fixture(scope="module")
def zimage():
    return tiny_modern.modern_pipeline("zimage")


def test_an_encoder_of_another_width_is_named(zimage):
    zimage.text_encoder, fitting = tiny_modern.qwen3(3, 16), zimage.text_encoder
    try:
        with pytest.raises(ValueError, match=r"does not fit the transformer .* do not belong together"):
            open_model(zimage)
    finally:
        zimage.text_encoder = fitting


def test_an_unknown_pipeline_is_told_what_reads_its_prompts(zimage):
    class NobodysPipeline(type(zimage)):
        pass

    with pytest.raises(
        ValueError, match=r"NobodysPipeline is of no family.*read the prompt alone: cap_embedder\.1\.weight"
    ):
        open_model(NobodysPipeline(**zimage.components))


def test_what_a_template_has_no_room_for_is_told(zimage):
    long = "the red apple " * 200
    cut = open_model(zimage).encode(["a cat", long])["text"].cut
    assert cut[0] == ""
    assert long.endswith(cut[1])
    assert 0 < len(cut[1]) < len(long)
    with pytest.raises(ValueError, match="would be cut; shorten it"):
        ce.collect(open_model(zimage), ce.Recipe(edits=[ce.Erase(long)]), strict=True)


def test_the_same_seed_paints_with_the_edit_as_with_its_merged_weights(zimage):
    model = open_model(zimage)
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], tokens="subject"))
    plain = model.generate("Van Gogh", 0, steps=2, size=64)[0].tobytes()
    with edit.applied(model):
        assert model.generate("Van Gogh", 0, steps=2, size=64)[0].tobytes() != plain
    assert model.generate("Van Gogh", 0, steps=2, size=64)[0].tobytes() == plain


def test_a_guarded_edit_is_solved_alike_with_and_without_square_matrices(zimage, monkeypatch, tmp_path):
    model, room = open_model(zimage), import_module("concept_edit.prompts.corpus")
    recipe = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], preserve=["the red apple"], method="guarded")
    captions = [f"a {colour} {thing}" for colour in ("red", "blue", "old", "small") for thing in ("dog", "cat", "hat")]
    square = ce.collect(model, recipe, corpus=ce.collect_corpus(model, captions))
    monkeypatch.setattr(room, "WIDE", 16)
    rows = ce.collect(model, recipe, corpus=ce.collect_corpus(model, captions))
    around = rows.streams["text"].around
    assert around.floor is not None
    assert len(around.moment) < 200
    assert square.streams["text"].around.lens is not None
    edits = [ce.solve_statistics(statistics) for statistics in (square, rows)]
    told = [edit.predicted["text"] for edit in edits]
    assert told[1]["left"] == pytest.approx(told[0]["left"], abs=0.1)
    assert told[1]["left"] < 0.5
    held = ce.collect_corpus(model, captions)
    held.save(tmp_path / "c.safetensors")
    assert torch.equal(ce.Corpus.load(tmp_path / "c.safetensors").streams["text"].square, held.streams["text"].square)
    rows.save(tmp_path / "s.safetensors")
    again = ce.solve_statistics(ce.Statistics.load(tmp_path / "s.safetensors"))
    assert torch.equal(again.factors["text"].left, edits[1].factors["text"].left)
    assert torch.equal(again.factors["text"].right, edits[1].factors["text"].right)


def test_two_denoisers_are_edited_one_by_one_and_paint_together(tmp_path):
    pipe = tiny_modern.modern_pipeline("wan")
    both = type(pipe)(**{**pipe.components, "transformer_2": tiny_modern.wan_transformer()}, boundary_ratio=0.5)
    with pytest.raises(ValueError, match=r"two denoisers in turn, transformer and transformer_2"):
        open_model(both)
    both.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"two denoisers in turn"):
        open_model(tmp_path)
    first = open_model(type(both)(**{**both.components, "transformer_2": None}))
    second = open_model(type(both)(**{**both.components, "transformer": both.transformer_2, "transformer_2": None}))
    edit = ce.solve(first, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], tokens="subject"))
    weights = [part.condition_embedder.text_embedder.linear_1.weight for part in (both.transformer, both.transformer_2)]
    before = [weight.detach().clone() for weight in weights]
    with edit.applied(first), edit.applied(second):
        assert not any(map(torch.equal, before, weights))
    assert all(map(torch.equal, before, weights))


def test_a_pipeline_without_guidance_says_so():
    model = open_model(tiny_modern.modern_pipeline("hunyuan-image"))
    with pytest.raises(ValueError, match=r"HunyuanImage 2\.1 takes no guidance scale; leave it out"):
        model.generate("a cat", 0, guidance_scale=3.0)


@pytest.mark.parametrize("family", ["zimage", "wan"])
def test_a_quantised_reader_is_refused_by_name(family):
    pipe = tiny_modern.modern_pipeline(family)
    name = open_model(pipe).sites[0].name.removesuffix(".weight")
    reader = pipe.transformer.get_submodule(name)
    reader.weight = torch.nn.Parameter(reader.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=rf"transformer\.{re.escape(name)}\.weight of .* is torch\.int8.*quantisation"):
        open_model(pipe)
