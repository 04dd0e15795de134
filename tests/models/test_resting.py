"""Text encoders that rest in their file: the same rows to the last bit, and a block in memory at a time."""

from __future__ import annotations

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import concept_edit as ce
from concept_edit.models import open_model, resting

PROMPTS = ["a painting by Van Gogh", "", "the red apple"]


@pytest.fixture(scope="module", params=["sd1", "sdxl", "sd3", "flux"])
def folder(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    tiny.tiny_pipeline(request.param).save_pretrained(place)
    return place


@pytest.fixture
def asleep(monkeypatch):
    monkeypatch.setattr(resting, "SMALL", 0)


def halved(folder, place):
    """The same folder with its encoders in half precision."""
    import shutil

    shutil.copytree(folder, place)
    for path in place.glob("text_encoder*/*.safetensors"):
        save_file({name: value.half() for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    return place


def empty(model) -> bool:
    return all(value.is_meta for tower in model.towers for value in tower.encoder.parameters())


def test_rows_and_fingerprint_are_those_of_the_whole_encoder(folder, tmp_path, monkeypatch):
    half = halved(folder, tmp_path / "half")
    whole = open_model(half)
    assert not any(tower.asleep for tower in whole.towers)
    monkeypatch.setattr(resting, "SMALL", 0)
    model = open_model(half)
    assert all(tower.asleep for tower in model.towers)
    assert (model.fingerprint, model.arithmetic) == (whole.fingerprint, whole.arithmetic)
    ours, theirs = model.encode(PROMPTS), whole.encode(PROMPTS)
    for name in model.streams:
        assert torch.equal(ours[name].rows, theirs[name].rows)
    assert empty(model)


def test_one_block_is_in_memory_at_a_time(folder, asleep):
    model = open_model(folder)
    seen = []

    def held(module):
        return {id(value) for value in module.parameters() if not value.is_meta}

    for tower in model.towers:
        for _, unit in resting.units(tower.encoder):
            unit.register_forward_hook(
                lambda unit, *_, whole=tower.encoder: seen.append((held(unit), held(whole))), prepend=True
            )
    model.encode(PROMPTS)
    assert len(seen) > 4
    assert all(own and own == everything for own, everything in seen)


def test_a_block_that_fails_leaves_nothing_behind(folder, asleep, monkeypatch):
    model = open_model(folder)
    block = next(part for part in model.towers[0].encoder.modules() if isinstance(part, torch.nn.ModuleList))[0]

    def broken(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(block, "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.encode(PROMPTS)
    assert empty(model)


def test_a_picture_wakes_the_encoders_and_paints_the_same(folder, asleep, monkeypatch):
    model = open_model(folder)
    before = model.encode(PROMPTS)
    ours = model.generate("a cat", 1, steps=1, size=64)[0]
    assert not empty(model)
    assert not any(tower.asleep for tower in model.towers)
    after = model.encode(PROMPTS)
    for name in model.streams:
        assert torch.equal(before[name].rows, after[name].rows)
    monkeypatch.undo()
    assert ours.tobytes() == open_model(folder).generate("a cat", 1, steps=1, size=64)[0].tobytes()


def test_solving_diagnosing_and_exporting_hold_no_matrix(folder, tmp_path):
    model = open_model(folder)
    recipe = ce.Recipe(edits=[ce.Erase("dog", guide="cat")], method="uce")
    edit = ce.solve(model, recipe)
    ce.diagnose(model, edit)
    ce.export_lora(edit, model, tmp_path / "lora.safetensors")
    ce.export_kv(edit, model, tmp_path / "kv.safetensors")
    ce.export_checkpoint(edit, model, tmp_path / "edited")
    assert not model._matrices.held
    with edit.applied(model):
        assert set(model._matrices.held) == set(model.shapes)
        assert all(torch.equal(model.matrix(name), weight) for name, weight in model.weights().items())


def test_a_truncated_file_is_named(folder, tmp_path, asleep):
    import shutil

    shutil.copytree(folder, tmp_path / "short")
    model = open_model(tmp_path / "short")
    path = next((tmp_path / "short" / "text_encoder").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-400_000])
    with pytest.raises(ValueError, match=r"model\.safetensors ends inside .*truncated"):
        model.encode(PROMPTS)
