"""K/V files out and in: the round trip finds rank and change again; foreign files are named. And the hub folder."""

from __future__ import annotations

import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file, save_file

import concept_edit as ce
from concept_edit.export import export_kv, import_kv_dump, push
from concept_edit.export.lora import LoraOptions

RECIPE = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art"), ce.Erase("Monet"), ce.Erase("cat")], method="uce")


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def model(request):
    return tiny.tiny_model(request.param)


@pytest.fixture(scope="module")
def edit(model):
    return ce.solve(model, RECIPE)


def relative(got, wanted):
    return max(float((got[name] - delta).norm() / delta.norm()) for name, delta in wanted.items())


def test_round_trip_recovers_rank_and_change(model, edit, tmp_path):
    written = export_kv(edit, model, tmp_path / "kv.safetensors")
    tensors = load_file(written.path)
    with edit.applied(model):
        assert all(torch.equal(tensors[name], weight) for name, weight in model.weights().items())
    assert set(tensors) == {site.name for site in model.sites}
    found = import_kv_dump(written.path, model)
    assert found.ranks == {stream: edit.rank(stream) for stream in model.streams}
    assert found.residual < 1e-5
    assert found.edit is not None
    assert relative(found.edit.delta(model), edit.delta(model)) < 1e-5
    found.edit.save(tmp_path / "again.safetensors")
    assert relative(ce.Edit.load(tmp_path / "again.safetensors").delta(model), edit.delta(model)) < 1e-5


def test_imported_change_becomes_a_lora(model, edit, tmp_path):
    export_kv(edit, model, tmp_path / "kv.safetensors")
    found = import_kv_dump(tmp_path / "kv.safetensors", model)
    written = found.save_lora(tmp_path / "lora.safetensors", LoraOptions(dtype="fp32"))
    assert written.rank == max(edit.rank(stream) for stream in model.streams)
    before, wanted = {name: w.float().clone() for name, w in model.weights().items()}, edit.delta(model)
    model.pipeline.load_lora_weights(written.path, adapter_name="edit")
    try:
        model.pipeline.fuse_lora(components=[model.family.denoiser])
        got = {name: weight.float() - before[name] for name, weight in model.weights().items()}
        assert relative(got, wanted) < 1e-4
        model.pipeline.unfuse_lora(components=[model.family.denoiser])
    finally:
        model.pipeline.unload_lora_weights()
    for name, weight in model.weights().items():
        weight.copy_(before[name])


def test_half_precision_file_still_tells_its_rank(tmp_path):
    model = tiny.tiny_model("sd1")
    edit = ce.solve(model, RECIPE)
    export_kv(edit, model, tmp_path / "kv.safetensors", "fp16")
    found = import_kv_dump(tmp_path / "kv.safetensors", model)
    assert found.ranks == {"text": 3}
    assert found.edit is not None
    assert relative(found.edit.delta(model), edit.delta(model)) < 0.05


def test_training_that_no_single_edit_explains_becomes_a_lora(tmp_path):
    """ESD trains every matrix on its own: another rank-2 change in each."""
    model, generator = tiny.tiny_model("sd1"), torch.Generator().manual_seed(0)
    deltas = {}
    for name, weight in model.weights().items():
        sides = (
            torch.randn(weight.shape[0], 2, generator=generator),
            torch.randn(2, weight.shape[1], generator=generator),
        )
        deltas[name] = 0.01 * sides[0] @ sides[1]
    changed = {name: weight + deltas[name] for name, weight in model.weights().items()}
    save_file(changed | {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight": torch.zeros(16, 16)},
              tmp_path / "esd.safetensors")  # fmt: skip
    found = import_kv_dump(tmp_path / "esd.safetensors", model)
    assert found.edit is None
    assert found.residual > 0.5
    assert found.ranks == {"text": 2}
    assert found.left_out == ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight",)
    written = found.save_lora(tmp_path / "lora.safetensors", LoraOptions(dtype="fp32"))
    assert (written.rank, written.matrices) == (2, len(model.sites))
    assert relative({name: pair.up.float() @ pair.down.float() for name, pair in found.pairs.items()}, deltas) < 1e-4


def test_keys_alone_and_prefixed_names_are_read(tmp_path):
    model = tiny.tiny_model("sd1")
    edit = ce.solve(model, RECIPE)
    with edit.applied(model):
        keys = {f"unet.{name}": w.clone() for name, w in model.weights().items() if name.endswith("to_k.weight")}
    save_file(keys, tmp_path / "k.safetensors")
    found = import_kv_dump(tmp_path / "k.safetensors", model)
    assert found.edit is not None
    assert {site.role for site in found.edit.sites(model)} == {"k"}
    wanted = {name: delta for name, delta in edit.delta(model).items() if name.endswith("to_k.weight")}
    assert relative(found.edit.delta(model), wanted) < 1e-4


def test_files_that_are_no_dump_are_named(tmp_path):
    model, other = tiny.tiny_model("sd1"), tiny.tiny_model("sdxl")
    export_kv(ce.solve(other, RECIPE), other, tmp_path / "sdxl.safetensors")
    save_file({"x": torch.zeros(2, 2)}, tmp_path / "foreign.safetensors")
    save_file({k: v.clone() for k, v in model.weights().items()}, tmp_path / "same.safetensors")
    save_file({k: v * float("nan") for k, v in model.weights().items()}, tmp_path / "nan.safetensors")
    save_file({k: torch.zeros(3, 3) for k in model.weights()}, tmp_path / "wide.safetensors")
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "same.safetensors").read_bytes()[:-100])
    (tmp_path / "old.pt").write_bytes(b"x")
    for name, words in (
        ("foreign.safetensors", "none of the text-side matrices"),
        ("same.safetensors", "changes nothing"),
        ("nan.safetensors", "NaN"),
        ("wide.safetensors", "another family or base"),
        ("sdxl.safetensors", "another family or base|none of the text-side"),
        ("short.safetensors", "not a whole safetensors file"),
        ("old.pt", "pickled file"),
        ("missing.safetensors", "not a file"),
    ):
        with pytest.raises(ValueError, match=words):
            import_kv_dump(tmp_path / name, model)


def test_push_dry_run_writes_the_whole_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = tiny.tiny_model("sd1")
    edit = ce.solve(model, RECIPE)
    done = push(
        edit,
        model,
        "someone/no-gogh",
        tmp_path / "hub",
        base_model="owner/base",
        measured={"named": "3 %"},
        dry_run=True,
    )
    assert done.files == ("README.md", "edit.safetensors", "no-gogh.safetensors", "recipe.yaml")
    assert done.url is None
    card = (tmp_path / "hub" / "README.md").read_text("utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front["base_model"] == "owner/base"
    assert front["base_model_relation"] == "adapter"
    for part in ("Van Gogh", "## Measured", "| named | 3 % |", "## Limits", edit.fingerprint, "guide: art"):
        assert part in card
    assert ce.Recipe.load(tmp_path / "hub" / "recipe.yaml") == RECIPE
    with pytest.raises(ValueError, match="hub id"):
        push(edit, model, "no-owner", tmp_path / "hub2", dry_run=True)
    with pytest.raises(FileExistsError, match="files in it"):
        push(edit, model, "someone/no-gogh", tmp_path / "hub", dry_run=True)


def test_push_uploads_the_folder_it_wrote(tmp_path, monkeypatch):
    calls = []

    class Recorded:
        def create_repo(self, repo, **more):
            calls.append(("create", repo, more))
            return f"hub/{repo}"

        def upload_folder(self, **more):
            calls.append(("upload", more["repo_id"], sorted(path.name for path in more["folder_path"].iterdir())))

    monkeypatch.setattr("huggingface_hub.HfApi", Recorded)
    model = tiny.tiny_model("sd1")
    done = push(ce.solve(model, RECIPE), model, "someone/no-gogh", tmp_path / "hub")
    assert done.url == "hub/someone/no-gogh"
    assert calls[0] == ("create", "someone/no-gogh", {"private": True, "exist_ok": True})
    assert calls[1] == ("upload", "someone/no-gogh", list(done.files))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.T.contiguous(), "another family or base"),
        (lambda w: w.reshape(-1), "another family or base"),
        (lambda w: w.int(), "stored as int32"),
        (lambda w: w.to(torch.float8_e4m3fn), "stored as float8"),
        (lambda w: w * float("nan"), "NaN"),
    ],
)
def test_matrices_that_are_no_weights_are_refused_by_the_header(change, words, tmp_path):
    model = tiny.tiny_model("sd1")
    tensors = {name: weight.clone() for name, weight in model.weights().items()}
    first = next(name for name, weight in tensors.items() if weight.shape[0] != weight.shape[1])
    save_file(tensors | {first: change(tensors[first])}, tmp_path / "kv.safetensors")
    with pytest.raises(ValueError, match=words):
        import_kv_dump(tmp_path / "kv.safetensors", model)
