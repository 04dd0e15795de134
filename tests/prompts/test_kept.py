"""Corpora kept between runs: the same bits, and anything but a whole file of the same encoder is read anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

import concept_edit as ce
from concept_edit import cache
from concept_edit.models.opened import OpenedModel
from concept_edit.models.reading import where_it_is
from concept_edit.prompts import kept
from concept_edit.prompts.captions import plain_captions
from concept_edit.prompts.corpus import Corpus, default_corpus
from concept_edit.prompts.names import COMMON

ROOT = Path(__file__).parents[2]
RECIPE = ce.Recipe(edits=[ce.Erase("dog")], method="guarded")


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sdxl")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def encoded(monkeypatch):
    """Prompts that were encoded, in order."""
    seen: list[str] = []
    encode = OpenedModel.encode

    def counted(self, prompts, **settings):
        seen.extend([prompts] if isinstance(prompts, str) else prompts)
        return encode(self, prompts, **settings)

    monkeypatch.setattr(OpenedModel, "encode", counted)
    return seen


def same(a: Corpus, b: Corpus) -> bool:
    tensors, others = a.tensors(), b.tensors()
    return a.header() == b.header() and all(torch.equal(tensors[name], others[name]) for name in tensors)


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_the_second_time_nothing_is_encoded_and_the_bits_are_the_same(model, folder, encoded):
    first = default_corpus(model)
    assert set(plain_captions()) <= set(encoded)
    encoded.clear()
    assert same(default_corpus(model), first)
    assert not encoded


def test_a_solve_a_verification_and_a_diagnosis_share_it(model, folder, encoded, tmp_path):
    edit = ce.solve(model, RECIPE)
    edit.save(tmp_path / "e.safetensors")
    encoded.clear()
    again = ce.solve(model, RECIPE)
    assert all(torch.equal(again.factors[n].right, edit.factors[n].right) for n in model.streams)
    ce.diagnose(model, ce.Edit.load(tmp_path / "e.safetensors"))
    assert not ({*plain_captions(), *COMMON} - {"dog"}) & set(encoded)


def test_a_diagnosis_encodes_each_prompt_once(model, folder, encoded):
    edit = ce.solve(model, RECIPE)
    encoded.clear()
    ce.diagnose(model, edit, held_out=["a cat", "dog"])
    assert len(encoded) == len(set(encoded)) > 2


@pytest.mark.parametrize("damage", ["truncated", "a bit", "empty", "text", "another's"])
def test_a_damaged_file_is_read_anew(model, folder, encoded, damage):
    first = default_corpus(model)
    path, data = only(folder), bytearray(only(folder).read_bytes())
    if damage == "another's":
        stranger = tiny.tiny_model("sdxl", seed=1)
        default_corpus(stranger)
        (other,) = set(folder.iterdir()) - {path}
        other.replace(path)
    else:
        data[-9] ^= 1
        path.write_bytes({"truncated": data[:-40], "a bit": data, "empty": b"", "text": b"{}" * 40}[damage])
    encoded.clear()
    assert same(default_corpus(model), first)
    assert set(plain_captions()) <= set(encoded)
    encoded.clear()
    default_corpus(model)
    assert not encoded


def test_another_encoder_has_its_own_and_another_precision_shares_it_unless_it_reads(model, folder):
    default_corpus(model)
    default_corpus(tiny.tiny_model("sdxl", seed=1))
    assert len(list(folder.iterdir())) == 2
    double = ce.open_model(tiny.tiny_pipeline("sdxl").to(torch.float64))
    default_corpus(double)
    assert len(list(folder.iterdir())) == 2, "encoders are read in float32 wherever they run"
    with where_it_is():
        default_corpus(double)
    assert len(list(folder.iterdir())) == 3


def test_nothing_is_kept_where_the_user_wants_none_or_nothing_can_be_written(model, tmp_path, monkeypatch):
    monkeypatch.setenv(cache.FOLDER, "")
    assert cache.cache_folder() is None
    default_corpus(model)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "file" / "cache"))
    assert default_corpus(model).captions == len(plain_captions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_folder_stays_within_its_limit_and_the_oldest_go(folder, monkeypatch):
    tensors = {"text.square": torch.zeros(1000)}
    monkeypatch.setattr(kept, "LIMIT", 10_000)
    for number in range(4):
        kept.keep({"n": number}, tensors, {"format": "plain"})
        newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))  # clocks of files are coarse
        kept.recall({"n": 0}, "plain")  # used, so it stays
    assert kept.recall({"n": 0}, "plain") is not None
    assert kept.recall({"n": 3}, "plain") is not None
    assert kept.recall({"n": 1}, "plain") is None
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000


def test_two_processes_keep_the_same_corpus_at_once(folder):
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import torch; torch.set_num_threads(1)\n"
        "from concept_edit.prompts import kept\n"
        "for _ in range(60):\n"
        "    kept.keep({'n': 1}, {'a': torch.arange(50_000.0)}, {'format': 'plain'})\n"
        "    found = kept.recall({'n': 1}, 'plain')\n"
        "    assert found is not None and torch.equal(found[0]['a'], torch.arange(50_000.0))\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    assert len(list(folder.iterdir())) == 1
