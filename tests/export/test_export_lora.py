"""A LoRA file loaded by diffusers' own loader is the edit, in every family, naming and strength."""

from __future__ import annotations

import json
import re

import pytest
import tiny
import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import concept_edit as ce
from concept_edit.export import export_lora
from concept_edit.export.lora import lora_key
from concept_edit.models.families import readers_of

TOLERANCE = {"fp32": 1e-6, "fp16": 5e-4}
STRENGTHS = (1.0, 0.5, 0.0, -1.0)
RECIPE = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art"), ce.Erase("Monet")], preserve=["apple"], method="uce")


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def model(request):
    return tiny.tiny_model(request.param)


@pytest.fixture(scope="module")
def edit(model):
    return ce.solve(model, RECIPE)


def effective(model):
    """Each text-side matrix as it acts: the weight plus every active adapter of the peft layer around it."""
    denoiser, found = getattr(model.pipeline, model.family.denoiser), {}
    for site in model.sites:
        layer = denoiser.get_submodule(site.name.removesuffix(".weight"))
        weight = layer.weight.detach().float().clone()
        for adapter in getattr(layer, "active_adapters", []):
            if adapter in getattr(layer, "lora_A", {}) and not layer.merged:
                weight += layer.get_delta_weight(adapter).detach().float()
        found[site.name] = weight
    return found


def worst(got, before, deltas, strength):
    """Largest relative error of the change; where the wanted change is nothing, relative to the full change."""
    gaps = {n: (got[n] - before[n] - strength * d).norm() / d.norm() for n, d in deltas.items()}
    return float(max(gaps.values())) / max(abs(strength), 0.5)


@pytest.mark.parametrize("naming", ["kohya", "peft"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_diffusers_loads_the_edit_itself(model, edit, naming, dtype, tmp_path):
    deltas, before = edit.delta(model), {name: w.float().clone() for name, w in model.weights().items()}
    written = export_lora(edit, model, tmp_path / "lora.safetensors", naming, dtype)
    pipeline = model.pipeline
    pipeline.load_lora_weights(tmp_path / "lora.safetensors", adapter_name="edit")
    try:
        for strength in STRENGTHS:
            pipeline.set_adapters(["edit"], [strength])
            assert worst(effective(model), before, deltas, strength) <= TOLERANCE[dtype], strength
        pipeline.set_adapters(["edit"], [1.0])
    finally:
        pipeline.unload_lora_weights()
    assert written.worst_error <= TOLERANCE[dtype]
    assert written.rank == written.exact_rank == max(edit.rank(stream) for stream in model.streams)
    assert all(torch.equal(w.float(), before[name]) for name, w in model.weights().items())


def test_strength_zero_paints_the_original_and_one_paints_the_edit(model, edit, tmp_path):
    import numpy as np

    def paint():
        images = model.generate(["a village by Van Gogh"], [1], steps=2, guidance_scale=3.0, size=64)
        return np.asarray(images[0], dtype=np.float64)

    original = paint()
    with edit.applied(model):
        wanted = paint()
    export_lora(edit, model, tmp_path / "lora.safetensors", dtype="fp32")
    model.pipeline.load_lora_weights(tmp_path / "lora.safetensors", adapter_name="edit")
    try:
        got = paint()
        model.pipeline.set_adapters(["edit"], [0.0])
        off = paint()
    finally:
        model.pipeline.unload_lora_weights()
    assert np.abs(wanted - original).max() > 1
    assert np.square(got - wanted).mean() < 255**2 * 1e-4  # 40 dB
    assert np.abs(off - original).max() <= 1
    assert np.array_equal(paint(), original)


def test_fuse_writes_the_edit_and_unfuse_takes_it_back(model, edit, tmp_path):
    deltas, before = edit.delta(model), {name: w.float().clone() for name, w in model.weights().items()}
    export_lora(edit, model, tmp_path / "lora.safetensors", dtype="fp32")
    pipeline = model.pipeline
    pipeline.load_lora_weights(tmp_path / "lora.safetensors", adapter_name="edit")
    parts = [model.family.denoiser]
    try:
        pipeline.fuse_lora(components=parts)
        fused = {name: w.float().clone() for name, w in model.weights().items()}
        pipeline.unfuse_lora(components=parts)
    finally:
        pipeline.unload_lora_weights()
    assert worst(fused, before, deltas, 1.0) <= 1e-5
    for name, weight in model.weights().items():
        torch.testing.assert_close(weight.float(), before[name], rtol=0, atol=1e-6)
        model.weights()[name].copy_(before[name])


def test_single_concepts_are_two_adapters_that_add_up(model, edit, tmp_path):
    deltas, before = edit.delta(model), {name: w.float().clone() for name, w in model.weights().items()}
    pipeline = model.pipeline
    for number, concept in enumerate(edit.concepts):
        path = tmp_path / f"{number}.safetensors"
        export_lora(edit, model, path, dtype="fp32", concepts=[concept])
        pipeline.load_lora_weights(path, adapter_name=f"c{number}")
    try:
        pipeline.set_adapters(["c0", "c1"], [1.0, 1.0])
        both = effective(model)
        pipeline.set_adapters(["c0"], [1.0])
        one = effective(model)
    finally:
        pipeline.unload_lora_weights()
    assert worst(both, before, deltas, 1.0) <= 2e-6
    assert worst(one, before, deltas, 1.0) > 1e-2


def test_peft_folder_loads(model, edit, tmp_path):
    from peft import PeftModel

    written = export_lora(edit, model, tmp_path / "adapter", "peft", "fp32")
    denoiser = getattr(model.pipeline, model.family.denoiser)
    before = {name: w.float().clone() for name, w in model.weights().items()}
    wrapped = PeftModel.from_pretrained(denoiser, written.path)
    try:
        assert worst(effective(model), before, edit.delta(model), 1.0) <= 1e-6
    finally:
        wrapped.unload()
    assert sorted(p.name for p in written.path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


GOLDEN = {
    "sd1": [
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_v",
    ],
    "sdxl": [
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
        "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_v",
        "lora_unet_middle_block_1_transformer_blocks_9_attn2_to_k",
        "lora_unet_output_blocks_0_1_transformer_blocks_0_attn2_to_k",
        "lora_unet_output_blocks_5_1_transformer_blocks_1_attn2_to_v",
        "lora_unet_label_emb_0_0",
    ],
}
GOLDEN["sd2"] = GOLDEN["sd1"]


def full_size(family):
    """The published architecture on the meta device: its text-side names."""
    from importlib.resources import files

    from diffusers import UNet2DConditionModel

    config = json.loads((files("concept_edit") / "families" / family / "unet" / "config.json").read_text("utf-8"))
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(config)
    from concept_edit.models import FAMILIES

    return list(readers_of(FAMILIES[family], dict(unet.named_parameters()))), unet


@pytest.mark.parametrize(("family", "count"), [("sd1", 32), ("sd2", 32), ("sdxl", 140)])
def test_full_size_keys_are_a_bijection_that_the_loader_inverts(family, count):
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_lora_to_diffusers,
        _maybe_map_sgm_blocks_to_diffusers,
    )

    class Row:
        layers = 2

    Row.family = ce.models.FAMILIES[family]
    names, unet = full_size(family)
    attention = [name for name in names if ".attn2." in name]
    keys = {lora_key(name, Row, "kohya"): name for name in names}
    assert len(attention) == count
    assert len(keys) == len(names)
    assert set(GOLDEN[family]) <= set(keys)
    styles = {bool(re.search(r"input_blocks|middle_block_1|output_blocks", key)) for key in keys if "attn2" in key}
    assert styles == {family == "sdxl"}
    state, tags = {}, {name: float(number) for number, name in enumerate(names)}
    for key, name in keys.items():
        state |= {f"{key}.lora_down.weight": torch.full((1, 1), tags[name]), f"{key}.lora_up.weight": torch.ones(1, 1)}
        state[f"{key}.alpha"] = torch.tensor(1.0)
    mapped = _maybe_map_sgm_blocks_to_diffusers(state, unet.config)
    converted, _ = _convert_non_diffusers_lora_to_diffusers(mapped)
    back = {}
    for key, value in converted.items():
        match = re.fullmatch(r"unet\.(.*?)(\.lora)?\.down\.weight", key)
        if match:  # the converter gives attention layers under their old processor names as well
            name = re.sub(r"\.processor\.(to_\w+)_lora$", r".\1", match[1])
            assert back.setdefault(f"{name}.weight", float(value)) == float(value)
    assert back == tags


def test_file_holds_three_keys_a_layer_and_the_metadata_a1111_reads(tmp_path):
    model = tiny.tiny_model("sdxl")
    edit = ce.solve(model, RECIPE)
    written = export_lora(edit, model, tmp_path / "gogh.safetensors", sidecar=True, preview=_picture(), licence="MIT")
    with safe_open(written.path, "pt") as file:
        keys, about = list(file.keys()), file.metadata()
        alphas = {key: file.get_tensor(key) for key in keys if key.endswith(".alpha")}
    stems = {re.sub(r"\.(alpha|lora_(up|down)\.weight)$", "", key) for key in keys}
    assert len(keys) == 3 * len(stems) == 3 * len(model.sites)
    assert all(a.dtype == torch.float32 and a.ndim == 0 and float(a) == written.rank for a in alphas.values())
    assert about["ss_base_model_version"] == "sdxl_base_v1-0"
    assert about["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert about["ss_network_dim"] == about["ss_network_alpha"] == str(written.rank)
    assert about["ss_output_name"] == "gogh"
    assert "ss_v2" not in about
    assert "lora_adapter_metadata" not in about
    assert json.loads(about["concept_edit"])["recipe"]["edits"][0]["erase"] == "Van Gogh"
    assert json.loads((tmp_path / "gogh.json").read_text("utf-8"))["sd version"] == "SDXL"
    assert (tmp_path / "gogh.png").read_bytes().startswith(b"\x89PNG")


def _picture():
    from PIL import Image

    return Image.new("RGB", (8, 8), "red")


def test_sd2_is_marked_v2(tmp_path):
    model = tiny.tiny_model("sd2")
    export_lora(ce.solve(model, RECIPE), model, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata()["ss_v2"] == "True"
        assert file.metadata()["ss_base_model_version"] == "sd_v2"


@pytest.fixture(scope="module")
def wide():
    """An edit of rank 10 on a tiny SD 1.x."""
    model = tiny.tiny_model("sd1")
    names = ["cat", "dog", "tree", "house", "car", "boat", "star", "moon", "fish", "bird"]
    return model, ce.solve(model, ce.Recipe(edits=[ce.Erase(name, guide="art") for name in names], method="uce"))


def test_smaller_rank_is_the_best_one_and_says_its_error(wide, tmp_path):
    model, edit = wide
    with pytest.raises(ValueError, match="more than the tolerance"):
        export_lora(edit, model, tmp_path / "x.safetensors", rank=2)
    assert not (tmp_path / "x.safetensors").exists()
    written = export_lora(edit, model, tmp_path / "x.safetensors", dtype="fp32", rank=2, tolerance=1.0)
    spectra = {name: torch.linalg.svdvals(delta.double()) for name, delta in edit.delta(model).items()}
    best = max(float(s[2:].norm() / s.norm()) for s in spectra.values())
    assert written.worst_error == pytest.approx(best, rel=1e-4)
    assert (written.rank, written.exact_rank) == (2, 10)
    with safe_open(written.path, "pt") as file:
        assert json.loads(file.metadata()["concept_edit"])["worst_error"] == written.worst_error


def test_energy_chooses_the_smallest_rank_that_keeps_it(wide, tmp_path):
    model, edit = wide
    written = export_lora(edit, model, tmp_path / "x.safetensors", dtype="fp32", energy=0.99, tolerance=0.2)
    spectra = [torch.linalg.svdvals(delta.double()).square() for delta in edit.delta(model).values()]
    share = [min(float(s[:r].sum() / s.sum()) for s in spectra) for r in (written.rank, written.rank - 1)]
    assert share[0] >= 0.99 > share[1]
    assert written.worst_error <= 0.1 + 1e-6


def test_a_lora_larger_than_the_matrices_says_so(wide, tmp_path):
    model, edit = wide
    written = export_lora(edit, model, tmp_path / "x.safetensors")
    assert (written.bytes > written.kv_bytes) == any("K/V file" in note for note in written.notes)
    big = ce.solve(model, ce.Recipe(edits=[ce.Erase(f"name {i}") for i in range(30)], tokens="subject"))
    notes = export_lora(big, model, tmp_path / "y.safetensors").notes
    assert any("K/V file or a checkpoint is smaller" in note for note in notes)


def test_same_edit_same_tensors(wide, tmp_path):
    model, edit = wide
    for name in ("a", "b"):
        export_lora(edit, model, tmp_path / f"{name}.safetensors")
    a, b = (load_file(tmp_path / f"{name}.safetensors") for name in ("a", "b"))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"naming": "webui"}, "expected kohya, peft or comfy"),
        ({"dtype": "int8"}, "expected fp32, fp16, bf16"),
        ({"rank": 0}, "holds nothing"),
        ({"rank": 1, "energy": 0.5}, "not both"),
        ({"energy": 1.5}, "no share"),
        ({"concepts": ["Rembrandt"]}, "'Rembrandt' is not in this edit"),
    ],
)
def test_bad_wishes_are_named(wide, tmp_path, change, words):
    model, edit = wide
    with pytest.raises(ValueError, match=words):
        export_lora(edit, model, tmp_path / "x.safetensors", **change)
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_are_named(wide, tmp_path):
    model, edit = wide
    (tmp_path / "folder.safetensors").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "old.safetensors")
    old = (tmp_path / "old.safetensors").read_bytes()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        export_lora(edit, model, tmp_path / "folder.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        export_lora(edit, model, tmp_path / "none" / "x.safetensors")
    with pytest.raises(FileExistsError, match="--force"):
        export_lora(edit, model, tmp_path / "old.safetensors")
    assert (tmp_path / "old.safetensors").read_bytes() == old
    export_lora(edit, model, tmp_path / "old.safetensors", force=True)
    assert (tmp_path / "old.safetensors").read_bytes() != old


def test_edit_of_another_base_is_refused(wide, tmp_path):
    _, edit = wide
    for other in (tiny.tiny_model("sd1", seed=1), tiny.tiny_model("sdxl")):
        with pytest.raises(ValueError, match="text encoder"):
            export_lora(edit, other, tmp_path / "x.safetensors")


def test_a_flux_file_says_which_diffusers_loads_it(tmp_path):
    model = tiny.tiny_model("flux")
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("dog", guide="cat")], method="uce"))
    written = export_lora(edit, model, tmp_path / "l.safetensors")
    assert any("diffusers loads this file from version 0.30.3 on" in note for note in written.notes)
    with safe_open(written.path, framework="pt") as file:
        assert "0.30.3" in file.metadata()["concept_edit"]
