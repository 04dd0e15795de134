"""Baked checkpoints: the text-side matrices and nothing else, whole or not at all, and loadable by diffusers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import concept_edit as ce
from concept_edit.export import checkpoint as checkpoint_module
from concept_edit.export import export_checkpoint
from concept_edit.export.raw import HEADER_LIMIT, entries
from concept_edit.models import FAMILIES
from concept_edit.models.files.names import unet_name
from concept_edit.models.files.original import original_state

SD1 = pytest.mark.parametrize("files", ["sd1"], indirect=True)
RECIPE = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], method="uce")


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def files(request, tmp_path_factory):
    """A tiny model as a diffusers folder and as one file in the original layout."""
    place = tmp_path_factory.mktemp(request.param)
    pipeline = tiny.tiny_pipeline(request.param)
    pipeline.save_pretrained(place / "folder")
    save_file(
        original_state(pipeline, FAMILIES[request.param]), place / "model.safetensors", {"note": "the user's own"}
    )
    return place


@pytest.fixture(scope="module")
def single(files):
    return ce.open_model(files / "model.safetensors", companion=files / "folder")


@pytest.fixture(scope="module")
def edit(single):
    return ce.solve(single, RECIPE)


def hashes(path):
    data = path.read_bytes()
    return {name: hashlib.sha256(data[e.start : e.end]).hexdigest() for name, e in entries(path).items()}


def header(path):
    data = path.read_bytes()
    return data[: 8 + int.from_bytes(data[:8], "little")]


def test_patched_file_differs_in_exactly_the_edited_matrices(files, single, edit, tmp_path):
    source, before = files / "model.safetensors", (files / "model.safetensors").read_bytes()
    written = export_checkpoint(edit, single, tmp_path / "out.safetensors")
    old, new = hashes(source), hashes(written.path)
    assert {name for name in old if old[name] != new[name]} == set(written.changed)
    assert len(written.changed) == len(single.sites)
    assert header(written.path) == header(source)
    assert source.read_bytes() == before
    with edit.applied(single):
        wanted = {single.origin.names[name]: w.clone() for name, w in single.weights().items()}
    got = load_file(written.path)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_patched_file_loads_with_from_single_file(files, single, edit, tmp_path):
    import diffusers

    export_checkpoint(edit, single, tmp_path / "out.safetensors")
    given = {spec.encoder: getattr(single.pipeline, spec.encoder) for spec in single.family.towers}
    given |= {spec.tokenizer: getattr(single.pipeline, spec.tokenizer) for spec in single.family.towers}
    loaded = getattr(diffusers, single.family.pipeline).from_single_file(
        str(tmp_path / "out.safetensors"), config=str(files / "folder"), local_files_only=True, **given
    )
    named = dict(loaded.unet.named_parameters())
    with edit.applied(single):
        assert all(torch.equal(named[name], weight) for name, weight in single.weights().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_precision_of_the_file_is_kept(files, edit, dtype, tmp_path):
    state = {name: value.to(dtype) for name, value in load_file(files / "model.safetensors").items()}
    save_file(state, tmp_path / "half.safetensors")
    half = ce.open_model(tmp_path / "half.safetensors", companion=files / "folder")
    assert all(weight.dtype == torch.float32 for weight in half.weights().values())
    own = ce.solve(half, RECIPE)
    written = export_checkpoint(own, half, tmp_path / "out.safetensors")
    got = load_file(written.path)
    assert {value.dtype for value in got.values()} == {dtype}
    with own.applied(half):
        for name, weight in half.weights().items():
            assert torch.equal(got[half.origin.names[name]], weight.to(dtype))


@SD1
def test_ema_copies_are_edited_too(files, edit, tmp_path):
    state = load_file(files / "model.safetensors")
    model_names = [name for name in state if name.startswith("model.")]
    ema = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": state[name].clone() for name in model_names}
    save_file(state | ema, tmp_path / "ema.safetensors")
    model = ce.open_model(tmp_path / "ema.safetensors", companion=files / "folder")
    written = export_checkpoint(edit, model, tmp_path / "out.safetensors")
    got = load_file(written.path)
    for name in model.origin.names.values():
        assert torch.equal(got[f"model_ema.{name.removeprefix('model.').replace('.', '')}"], got[name])
    assert len(written.changed) == 2 * len(model.sites)


def test_folder_becomes_a_single_file_in_the_original_layout(files, tmp_path):
    model = ce.open_model(files / "folder")
    edit = ce.solve(model, RECIPE)
    written = export_checkpoint(edit, model, tmp_path / "out.safetensors")
    again = ce.open_model(written.path, companion=files / "folder")
    with edit.applied(model):
        assert all(torch.equal(again.weights()[name], weight) for name, weight in model.weights().items())
        wanted = model.generate("a cat", 1, steps=2)
    got = again.generate("a cat", 1, steps=2)
    assert np.abs(np.asarray(got[0], dtype=int) - np.asarray(wanted[0], dtype=int)).max() <= 1


def test_patched_folder_differs_in_the_denoiser_only(files, tmp_path):
    source = tmp_path / "hub"
    shutil.copytree(files / "folder", source)
    (source / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (source / "v1-5-pruned.safetensors").write_bytes(b"whole")
    shutil.copy(
        source / "unet/diffusion_pytorch_model.safetensors", source / "unet/diffusion_pytorch_model.fp16.safetensors"
    )
    model = ce.open_model(source)
    edit = ce.solve(model, RECIPE)
    written = export_checkpoint(edit, model, tmp_path / "out")
    before = {p.relative_to(source): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    after = {p.relative_to(written.path): p.read_bytes() for p in written.path.rglob("*") if p.is_file()}
    gone = {str(path) for path in before.keys() - after.keys()}
    assert gone == {"unet/diffusion_pytorch_model.bin", "v1-5-pruned.safetensors"}
    assert all(name in written.notes[0] for name in ("diffusion_pytorch_model.bin", "v1-5-pruned.safetensors"))
    changed = {str(path) for path in after if before[path] != after[path]}
    assert changed == {"unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"}
    again = ce.open_model(written.path)
    with edit.applied(model):
        assert all(torch.equal(again.weights()[name], weight) for name, weight in model.weights().items())


def test_shards_are_patched_each(tmp_path):
    pipeline = tiny.tiny_pipeline("sd1")
    pipeline.save_pretrained(tmp_path / "in", max_shard_size="100KB")
    shards = sorted(p.name for p in (tmp_path / "in/unet").glob("*.safetensors"))
    assert len(shards) > 2
    model = ce.open_model(tmp_path / "in")
    edit = ce.solve(model, RECIPE)
    written = export_checkpoint(edit, model, tmp_path / "out")
    assert len(written.changed) == len(model.sites)
    again = ce.open_model(tmp_path / "out")
    with edit.applied(model):
        assert all(torch.equal(again.weights()[name], weight) for name, weight in model.weights().items())


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_live_pipeline_becomes_a_folder(family, tmp_path):
    model = tiny.tiny_model(family)
    edit = ce.solve(model, RECIPE)
    before = {name: weight.clone() for name, weight in model.weights().items()}
    export_checkpoint(edit, model, tmp_path / "out")
    assert all(torch.equal(model.weights()[name], weight) for name, weight in before.items())
    again = ce.open_model(tmp_path / "out")
    assert again.fingerprint == model.fingerprint
    with edit.applied(model):
        assert all(torch.equal(again.weights()[name], weight) for name, weight in model.weights().items())


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_fused_layouts_are_offered_a_folder(family, tmp_path):
    model = tiny.tiny_model(family)
    with pytest.raises(ValueError, match="diffusers folder"):
        export_checkpoint(ce.solve(model, RECIPE), model, tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == []


@SD1
def test_strength_is_baked_in(files, single, edit, tmp_path):
    none = export_checkpoint(edit, single, tmp_path / "none.safetensors", strength=0.0)
    assert none.path.read_bytes() == (files / "model.safetensors").read_bytes()
    half = load_file(export_checkpoint(edit, single, tmp_path / "half.safetensors", strength=0.5).path)
    with edit.applied(single, 0.5):
        for name, weight in single.weights().items():
            assert torch.equal(half[single.origin.names[name]], weight)


@SD1
def test_too_little_room_is_said_before_anything_is_written(single, edit, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match="MB free"):
        export_checkpoint(edit, single, tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == []


@SD1
def test_failure_half_way_leaves_the_old_file(single, edit, tmp_path, monkeypatch):
    (tmp_path / "out.safetensors").write_bytes(b"the old one")

    def failing(source, part, changes):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "patched_copy", failing)
    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(edit, single, tmp_path / "out.safetensors", force=True)
    assert (tmp_path / "out.safetensors").read_bytes() == b"the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]


@SD1
def test_kill_half_way_leaves_the_original(files, single, edit, tmp_path, monkeypatch):
    """A process killed while it patches the user's file under its own name."""
    shutil.copy(files / "model.safetensors", tmp_path / "model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()

    def killed(source, part, changes):
        part.write_bytes(before[: len(before) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(checkpoint_module, "patched_copy", killed)
    child = os.fork()
    if child == 0:
        export_checkpoint(edit, single, tmp_path / "model.safetensors", force=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (half_done,) = (path.name for path in tmp_path.iterdir() if path.name != "model.safetensors")
    assert half_done.startswith(".model.safetensors.")
    assert half_done.endswith(f"-{child}.part")
    assert (tmp_path / "model.safetensors").read_bytes() == before
    monkeypatch.undo()
    export_checkpoint(edit, single, tmp_path / "model.safetensors", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"], "the next write sweeps"


@SD1
def test_files_of_another_base_and_damaged_files_are_refused(files, edit, tmp_path):
    other = tiny.tiny_model("sd1", seed=3)
    with pytest.raises(ValueError, match="text encoder"):
        export_checkpoint(edit, other, tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == []


@SD1
def test_damaged_headers_are_named(files, tmp_path):
    data, path = (files / "model.safetensors").read_bytes(), tmp_path / "x.safetensors"
    for content, words in (
        (data[:100], "truncated"),
        (data[:-5], "truncated"),
        ((HEADER_LIMIT + 1).to_bytes(8, "little") + b"{}", "over the limit"),
        ((20).to_bytes(8, "little") + b"not json at all, no!", "no readable"),
        ((2).to_bytes(8, "little") + b"[]", "no safetensors header"),
        ((13).to_bytes(8, "little") + b'{"a": [1, 2]}', "no way safetensors knows"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            entries(path)


@SD1
def test_targets_that_cannot_be_written_are_named(single, edit, tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(IsADirectoryError):
        export_checkpoint(edit, single, tmp_path / "a.safetensors")
    (tmp_path / "old.safetensors").write_bytes(b"old")
    with pytest.raises(FileExistsError, match="force"):
        export_checkpoint(edit, single, tmp_path / "old.safetensors")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    with pytest.raises(FileExistsError, match="files in it"):
        export_checkpoint(edit, single, tmp_path / "full")


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_full_size_names_are_a_bijection_that_diffusers_inverts(family):
    from importlib.resources import files as package_files

    from accelerate import init_empty_weights
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    text = (package_files("concept_edit") / "families" / family / "unet" / "config.json").read_text("utf-8")
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(json.loads(text))
    names = list(unet.state_dict())
    levels = {i for i, block in enumerate(unet.up_blocks) if hasattr(block, "attentions")}
    original = {f"model.diffusion_model.{unet_name(name, 2, levels)}": name for name in names}
    assert len(original) == len(names)
    assert convert_ldm_unet_checkpoint(dict(original), dict(unet.config)) == {name: name for name in names}
