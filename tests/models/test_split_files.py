"""ComfyUI's split files: a denoiser with its text encoder beside it give what the diffusers folder gives."""

from __future__ import annotations

import re
import shutil

import pytest
import tiny_modern
import torch
from safetensors.torch import load_file, save_file

import concept_edit as ce
from concept_edit.models import open_model

NATIVE = {
    "zimage": (),
    "qwen-image": (),
    "flux2-klein": ((r"^context_embedder\.", "txt_in."),),
    "chroma": ((r"^context_embedder\.", "txt_in."),),
    "auraflow": ((r"^context_embedder\.", "cond_seq_linear."),),
    "lumina2": ((r"^time_caption_embed\.caption_embedder\.", "cap_embedder."),),
    "krea2": (
        (r"^txt_in\.linear_1\.", "txtmlp.1."),
        (r"^txt_in\.linear_2\.", "txtmlp.3."),
        (r"^txt_in\.norm\.weight", "txtmlp.0.scale"),
        (r"^text_fusion\.(.*)\.attn\.to_([qkv])\.", r"txtfusion.\1.attn.w\2."),
        (r"^text_fusion\.(.*)\.attn\.to_out\.0\.", r"txtfusion.\1.attn.wo."),
        (r"^text_fusion\.(.*)\.attn\.to_gate\.", r"txtfusion.\1.attn.gate."),
        (r"^text_fusion\.(.*)\.attn\.norm_([qk])\.weight", r"txtfusion.\1.attn.qknorm.\2norm.scale"),
        (r"^text_fusion\.(.*)\.ff\.", r"txtfusion.\1.mlp."),
        (r"^text_fusion\.(.*)\.norm1\.weight", r"txtfusion.\1.prenorm.scale"),
        (r"^text_fusion\.(.*)\.norm2\.weight", r"txtfusion.\1.postnorm.scale"),
        (r"^text_fusion\.projector", "txtfusion.projector"),
    ),
}
MARKS = {
    "flux2-klein": "single_stream_modulation.lin.weight",
    "chroma": "distilled_guidance_layer.in_proj.weight",
}


def split(pipeline, family, root, dtype=torch.float32):
    """The pipeline as ComfyUI keeps it, and its folder without weights."""
    state = {}
    for name, value in pipeline.transformer.state_dict().items():
        for pattern, theirs in NATIVE[family]:
            name = re.sub(pattern, theirs, name)
        state["model.diffusion_model." + name] = value.to(dtype).contiguous()
    if family in MARKS:
        state["model.diffusion_model." + MARKS[family]] = torch.zeros(1)
    for part in ("diffusion_models", "text_encoders"):
        (root / part).mkdir(parents=True)
    save_file(state, root / "diffusion_models" / "model.safetensors")
    words = {
        n: v.contiguous() for n, v in pipeline.text_encoder.state_dict().items() if n != "encoder.embed_tokens.weight"
    }
    save_file({n: v.to(dtype).clone() for n, v in words.items()}, root / "text_encoders" / "words.safetensors")
    pipeline.save_pretrained(root / "folder")
    shutil.copytree(root / "folder", root / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    return root / "diffusion_models" / "model.safetensors"


@pytest.mark.parametrize("family", NATIVE)
def test_split_files_give_what_the_folder_gives(family, tmp_path):
    file = split(tiny_modern.modern_pipeline(family), family, tmp_path)
    opened, folder = open_model(file, companion=tmp_path / "bare"), open_model(tmp_path / "folder")
    assert opened.family is folder.family
    assert opened.fingerprint == folder.fingerprint
    assert not opened.loaded
    assert all(torch.equal(opened.weights()[name], weight) for name, weight in folder.weights().items())
    rows = [model.encode(["Van Gogh", ""])["text"] for model in (opened, folder)]
    torch.testing.assert_close(rows[0].rows, rows[1].rows)
    assert torch.equal(rows[0].kinds, rows[1].kinds)


@pytest.fixture(scope="module")
def zimage(tmp_path_factory):
    root = tmp_path_factory.mktemp("split") / "comfy"
    return split(tiny_modern.modern_pipeline("zimage"), "zimage", root)


def test_a_checkpoint_changes_the_reader_and_no_other_byte(zimage, tmp_path):
    model = open_model(zimage, companion=zimage.parent.parent / "bare")
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], tokens="subject"))
    written = ce.export_checkpoint(edit, model, tmp_path / "edited.safetensors")
    before, after = load_file(zimage), load_file(written.path)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["model.diffusion_model.cap_embedder.1.weight"]
    delta = edit.delta(model)["cap_embedder.1.weight"]
    torch.testing.assert_close(after[changed[0]] - before[changed[0]], delta, rtol=0, atol=1e-6)


def test_float8_is_read_with_its_scale(zimage, tmp_path):
    shutil.copytree(zimage.parent.parent, tmp_path / "comfy")
    file, name = tmp_path / "comfy" / "diffusion_models" / "model.safetensors", "model.diffusion_model.cap_embedder.1"
    state = load_file(file)
    weight, scale = state[f"{name}.weight"], state[f"{name}.weight"].abs().max() / 448
    state |= {f"{name}.weight": (weight / scale).to(torch.float8_e4m3fn), f"{name}.scale_weight": scale}
    save_file(state, file)
    model = open_model(file, companion=tmp_path / "comfy" / "bare")
    read = model.weights()["cap_embedder.1.weight"].float()
    assert float((read - weight).norm() / weight.norm()) < 0.05
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("cat")], tokens="subject"))
    with pytest.raises(ValueError, match="stored as F8_E4M3, which cannot be edited"):
        ce.export_checkpoint(edit, model, tmp_path / "edited.safetensors")


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_float8_is_read_with_a_scale_for_each_row(shape, zimage, tmp_path):
    shutil.copytree(zimage.parent.parent, tmp_path / "comfy")
    file, name = tmp_path / "comfy" / "diffusion_models" / "model.safetensors", "model.diffusion_model.cap_embedder.1"
    state = load_file(file)
    weight = state[f"{name}.weight"] * torch.logspace(-3, 0, len(state[f"{name}.weight"]))[:, None]
    scale = weight.abs().amax(dim=1) / 448
    small = (weight / scale[:, None]).to(torch.float8_e4m3fn)
    save_file(state | {f"{name}.weight": small, f"{name}.weight_scale": scale.reshape(shape)}, file)
    read = open_model(file, companion=tmp_path / "comfy" / "bare").weights()["cap_embedder.1.weight"].float()
    assert float(((read - weight).norm(dim=1) / weight.norm(dim=1)).max()) < 0.05
    save_file(state | {f"{name}.weight": small, f"{name}.weight_scale": torch.ones(2, 2)}, file)
    with pytest.raises(ValueError, match=r"cap_embedder\.1\.weight in .* with a scale of shape \(2, 2\).*convert"):
        open_model(file, companion=tmp_path / "comfy" / "bare")


def four_bit(value):
    return torch.zeros(value.numel() // 2, 1, dtype=torch.uint8) if value.ndim == 2 else value


def test_quantised_split_files_are_named(zimage, tmp_path):
    shutil.copytree(zimage.parent.parent, tmp_path / "comfy")
    root = tmp_path / "comfy"
    file, words, bare = zimage.name, root / "text_encoders" / "words.safetensors", root / "bare"
    plain = load_file(words)
    save_file({name: four_bit(value) for name, value in plain.items()}, words)
    told = r"words\.safetensors \(.*weight, stored as torch\.uint8\); put its own \(Qwen3Model\) there, in bfloat16"
    with pytest.raises(ValueError, match=told):
        open_model(root / "diffusion_models" / file, companion=bare)
    save_file({name: value.to(torch.int8) for name, value in plain.items()}, words)
    with pytest.raises(ValueError, match=r"in .*words\.safetensors is stored as torch\.int8; convert the file to"):
        open_model(root / "diffusion_models" / file, companion=bare)
    save_file(plain, words)
    state = load_file(zimage)
    save_file(
        {n: v.to(torch.int8) if "cap_embedder" in n else v for n, v in state.items()}, root / "packed.safetensors"
    )
    (root / "packed.safetensors").rename(root / "diffusion_models" / "packed.safetensors")
    with pytest.raises(ValueError, match=r"packed\.safetensors is stored as torch\.int8; convert the file to"):
        open_model(root / "diffusion_models" / "packed.safetensors", companion=bare)
    shutil.rmtree(root / "text_encoders")
    with pytest.raises(ValueError, match=r"has no partner: put its text encoder \(Qwen3Model\) into .*text_encoders"):
        open_model(root / "diffusion_models" / file, companion=bare)


def test_what_is_missing_or_foreign_is_named(zimage, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ValueError, match=r"Z-Image denoiser without configurations.*hf download Tongyi-MAI/Z-Image-Turbo"
    ):
        open_model(zimage)
    shutil.copytree(zimage.parent.parent, tmp_path / "comfy")
    file, bare = tmp_path / "comfy" / "diffusion_models" / "model.safetensors", tmp_path / "comfy" / "bare"
    words = tmp_path / "comfy" / "text_encoders" / "words.safetensors"
    state = load_file(words)
    save_file({n: v[..., :16].contiguous() for n, v in state.items()}, words)
    with pytest.raises(ValueError, match=r"are of another model than model\.safetensors: words\.safetensors"):
        open_model(file, companion=bare)
    words.rename(words.with_suffix(".gguf"))
    with pytest.raises(ValueError, match=r"has no partner: put its text encoder.*GGUF files are not read"):
        open_model(file, companion=bare)
    tiny_modern.modern_pipeline("lumina2").save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="describes another model"):
        open_model(file, companion=tmp_path / "other")
