"""Seeded damage to every kind of file: each is read, or refused with a ValueError of one sentence; nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from samples import RECIPE, WIDTH, corpus, damaged, damaged_tensors, edit, statistics, told, with_nasty

import concept_edit as ce
from concept_edit.audit.history import read_history
from concept_edit.audit.manifest import read_manifest
from concept_edit.evaluation.rows import read_rows
from concept_edit.export.raw import entries
from concept_edit.language.fact_files import read_facts
from concept_edit.language.tasks import Task
from concept_edit.models.files.weights_files import one_file
from concept_edit.prompts.corpus import read_captions
from concept_edit.recipe import read_concepts
from concept_edit.search.heads import Heads
from concept_edit.search.traces import Trace

CASES = 60


def whole_edit(path: Path) -> None:
    """An edit that is read is one that can be used."""
    found = ce.Edit.load(path)
    rows = torch.ones(2, WIDTH)
    for name, gate in found.gates.items():
        if found.factors[name].left.shape[0] == WIDTH:
            assert bool(gate(rows).isfinite().all())
    assert all(bool(factors.dense().isfinite().all()) for factors in found.factors.values())


TENSORS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "edit": (lambda path: edit().save(path, statistics=True), whole_edit),
    "gate": (lambda path: edit(gated=True).save(path), whole_edit),
    "statistics": (lambda path: statistics().save(path), ce.Statistics.load),
    "corpus": (lambda path: corpus().save(path), ce.Corpus.load),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensor_files(kind: str, tmp_path: Path) -> None:
    write, read = TENSORS[kind]
    path, rng = tmp_path / "f.safetensors", random.Random(f"{kind} 1")
    write(tmp_path / "whole.safetensors")
    assert told(lambda: read(tmp_path / "whole.safetensors")) == ""
    refused = 0
    for _ in range(CASES):
        path.write_bytes(damaged_tensors(tmp_path / "whole.safetensors", rng))
        text = told(lambda: read(path))
        refused += bool(text)
        assert not text or "f.safetensors" in text, text
    assert refused > CASES // 2


YAML = RECIPE.to_yaml().encode()
HISTORY = b'{"manifest":"a","parent":null,"when":"2026"}\n{"manifest":"b","parent":"a","when":"2026"}\n'
CSV = 'concept,guide,weight\nVan Gogh,art,1.5\n"a, b",,\n'
FACTS = """facts:
- subject: The Space Needle
  prompt: '{} is in the city of'
  new: Rome
  old: Seattle
  paraphrases: ['Where is {}? In']
- {subject: Mount Fuji, prompt: '{} lies in', new: Spain}
"""
TABLE = [[0.1, 0.2]]
TRACE = {
    "format": "concept-edit trace 1", "model": "m", "rows": ["a"], "roles": ["last"], "effects": {"mlp": TABLE},
    "clean": 0.9, "corrupted": 0.1, "windows": {"mlp": 1}, "title": "t", "low": {}, "high": {}, "exact": {},
}  # fmt: skip
HEADS = {
    "format": "concept-edit heads 1", "model": "m", "tasks": ["t"], "effects": TABLE, "low": TABLE, "high": TABLE,
    "exact": [[True, False]], "per_task": {"t": TABLE}, "screened": None, "prompts": 3,
}  # fmt: skip
TEXTS: dict[str, tuple[str, bytes, Callable[[Path], Any]]] = {
    "recipe": ("f.yaml", YAML, ce.Recipe.load),
    "recipe in JSON": ("f.json", RECIPE.compact().encode(), ce.Recipe.load),
    "concepts": ("f.csv", CSV.encode(), read_concepts),
    "concepts, one a line": ("f.txt", b"Van Gogh\nMonet\n", read_concepts),
    "captions": ("f.csv", b'prompt\n"a dog, running"\na cat\n', read_captions),
    "prompts": ("f.csv", b"prompt,evaluation_seed,group\na dog,1,near\na cat,2.0,\n", read_rows),
    "history": ("history.jsonl", HISTORY, read_history),
    "task": ("f.json", b'[{"input": "hot", "output": "cold"}, {"input": "up", "output": ["down"]}]', Task.load),
    "task in columns": ("f.csv", b"input,output\nhot,cold\nup,down\n", Task.load),
    "facts": ("f.yaml", FACTS.encode(), read_facts),
    "facts in JSON": ("f.json", json.dumps(yaml.safe_load(FACTS)).encode(), read_facts),
    "trace": ("f.json", json.dumps(TRACE).encode(), Trace.load),
    "heads": ("f.json", json.dumps(HEADS).encode(), Heads.load),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts(kind: str, tmp_path: Path) -> None:
    name, whole, read = TEXTS[kind]
    path, rng = tmp_path / name, random.Random(f"{kind} 2")
    path.write_bytes(whole)
    assert told(lambda: read(path)) == ""
    for i in range(2 * CASES if name.endswith("json") else CASES):
        nasty = i % 2 and name.endswith("json")
        path.write_bytes(json.dumps(with_nasty(json.loads(whole), rng)).encode() if nasty else damaged(whole, rng))
        told(lambda: read(path))


def test_recipes_of_nasty_values() -> None:
    plain, rng = json.loads(RECIPE.compact()), random.Random(3)
    refused = [told(lambda: ce.Recipe.from_yaml(json.dumps(with_nasty(plain, rng)))) for _ in range(3 * CASES)]
    assert sum(map(bool, refused)) > CASES


MANIFEST = {
    "format": "concept-edit manifest 1", "parent": None, "decision": {"text": "", "reviewers": [], "barred": []},
    "model": {"name": "a", "family": "b", "text_encoder": "c", "matrices": {"w": "d"}},
    "edit": {"recipe": {}, "recipe_sha256": "e", "factors": {}, "text_encoder": "c", "strength": 1.0},
    "result": {"matrices": {"w": "d"}, "changed": []},
}  # fmt: skip


def test_manifests(tmp_path: Path) -> None:
    path, rng = tmp_path / "manifest.json", random.Random(4)
    path.write_text(json.dumps(MANIFEST))
    assert read_manifest(path)[0] == MANIFEST
    refused = 0
    for i in range(2 * CASES):
        whole = json.dumps(with_nasty(MANIFEST, rng) if i % 2 else MANIFEST).encode()
        path.write_bytes(whole if i % 2 else damaged(whole, rng))
        refused += bool(told(lambda: read_manifest(path)))
    assert refused > CASES // 2


def test_weights_of_other_programs(tmp_path: Path) -> None:
    """Every tensor of what is opened is described and read within the file."""
    edit().save(tmp_path / "whole.safetensors")
    path, rng = tmp_path / "f.safetensors", random.Random(5)

    def read() -> None:
        file = one_file(path)
        for name in file.where:
            assert file.read([name])[name].shape == file.shape(name)
        entries(path)

    for _ in range(2 * CASES):
        path.write_bytes(damaged_tensors(tmp_path / "whole.safetensors", rng))
        told(read)
