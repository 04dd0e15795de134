"""A text encoder's new meanings as LoRA files: diffusers loads them, and the weights are the edited ones."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import concept_edit as ce
from concept_edit.__main__ import run
from concept_edit.language.edit import FactEdit
from concept_edit.language.values import Search

FACTS = (ce.Fact("cat", "{}", "pizza"), ce.Fact("doctor", "{}", "farmer"))
TEXTS = ["a dog on a table", "a red house", "a farmer", "a cat and a star", "the sun over a tree"]


@pytest.fixture(scope="module")
def made():
    encoder = ce.open_text_encoder(ce.open_model("demo", device="cpu"))
    keys = ce.collect_keys(encoder, [0], TEXTS, shrinkage=0.5)
    return encoder, ce.rewrite(encoder, FACTS, "memit", [0], keys, search=Search(steps=3, rate=0.1, enough=0))


@pytest.fixture
def pipeline():
    return ce.open_model("demo", device="cpu").pipeline


@pytest.mark.parametrize("naming", ["kohya", "diffusers"])
def test_diffusers_loads_the_lora_with_the_edited_weights(made, pipeline, tmp_path, naming):
    pytest.importorskip("peft")
    encoder, edit = made
    told = ce.export_encoder_lora(edit, encoder, tmp_path / "edit.safetensors", naming, strength=0.5)
    assert (told.rank, told.matrices) == (2, tuple(edit.factors))
    with pytest.raises(FileExistsError, match="force"):
        ce.export_encoder_lora(edit, encoder, told.path, naming)
    wanted, before = edit.delta(encoder), {name: encoder.weights()[name].clone() for name in edit.factors}
    pipeline.load_lora_weights(tmp_path, weight_name="edit.safetensors")
    pipeline.fuse_lora(components=["text_encoder"])
    pipeline.unload_lora_weights()
    held = dict(pipeline.text_encoder.named_parameters())
    for name, delta in wanted.items():
        assert float(delta.norm()) > 0
        torch.testing.assert_close(held[name] - before[name], 0.5 * delta, rtol=1e-4, atol=1e-5)
    other = next(name for name in held if name.endswith("layers.1.mlp.fc2.weight"))
    assert torch.equal(held[other], encoder.weights()[other])


def test_kohya_names_and_their_alpha(made, tmp_path):
    encoder, edit = made
    path = ce.export_encoder_lora(edit, encoder, tmp_path / "edit.safetensors").path
    tensors = load_file(path)
    stem = "lora_te_text_model_encoder_layers_0_mlp_fc2"
    assert set(tensors) == {f"{stem}.lora_up.weight", f"{stem}.lora_down.weight", f"{stem}.alpha"}
    assert float(tensors[f"{stem}.alpha"]) == tensors[f"{stem}.lora_down.weight"].shape[0] == 2
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["concept_edit"])["facts"] == list(edit.concepts)
    with pytest.raises(ValueError, match="no naming"):
        ce.export_encoder_lora(edit, encoder, path, "comfy", force=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="changes nothing"):
        ce.export_encoder_lora(edit.without(*FACTS), encoder, path, force=True)


def test_peft_and_transformers_read_the_encoder(made, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import CLIPTextModel

    encoder, edit = made
    ids = encoder.encode(["a cat"]).ids
    with edit.applied(encoder), torch.no_grad():
        wanted = encoder.model(input_ids=ids).last_hidden_state.clone()
    folder = ce.export_language_model(edit, encoder, tmp_path / "encoder").path
    adapter = ce.export_adapter(edit, encoder, tmp_path / "adapter").path
    found = CLIPTextModel.from_pretrained(folder)
    plain = ce.open_text_encoder(ce.open_model("demo", device="cpu"))
    adapted = peft.PeftModel.from_pretrained(plain.model, adapter)
    with torch.no_grad():
        torch.testing.assert_close(found(input_ids=ids).last_hidden_state, wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(adapted(input_ids=ids).last_hidden_state, wanted, rtol=1e-4, atol=1e-5)


def test_the_common_verbs_show_and_export_it(made, tmp_path, capsys):
    _, edit = made
    path = tmp_path / "edit.safetensors"
    edit.save(path)
    assert FactEdit.load(path).tower == 0
    assert run(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "2 facts, memit in layer 0" in shown
    assert "- cat pizza" in shown
    assert run(["show", str(path), "--json"]) == 0
    (matrix,) = json.loads(capsys.readouterr().out)["matrices"].values()
    assert matrix["rank"] == 2
    out = tmp_path / "lora.safetensors"
    assert run(["export", str(path), "--as", "lora", "--device", "cpu", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"][0]["rank"] == 2
    assert "lora_te_text_model_encoder_layers_0_mlp_fc2.alpha" in load_file(out)
    for kind, reason in (("kv", "is for edits of images"), ("folder", "files in it")):
        assert run(["export", str(path), "--as", kind, "--device", "cpu", "--out", str(tmp_path)]) == 2
        assert reason in capsys.readouterr().err
    assert run(["export", str(path), "--as", "lora", "--per-concept"]) == 2
    assert "bound to one model" in capsys.readouterr().err
