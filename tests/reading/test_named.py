"""Hostile edits, gates, corpora, statistics and JSON that were once accepted, or ended in a traceback: each by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import WIDTH, corpus, edit, joined, parts_of, rewritten, statistics, told

import concept_edit as ce
from concept_edit.reading.plain import DEEPEST, parse_json, read_object, read_text, short


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the hostile file lies."""
    return tmp_path / "e.safetensors"


def header(**changes: Any) -> Any:
    """A change of the toolkit's own header."""
    return lambda own: own.update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (header(counts=[1, 1]), "counts: .*dictionary"),
        (header(counts=None), "counts: .*dictionary"),
        (header(counts={"text": [1]}), "counts of the stream 'text' do not add up"),
        (header(counts={"text": [3, -1]}), "counts.text.* greater than or equal to 0"),
        (header(counts={"text": [1, 1], "other": None}), "lacks the tensor 'other.left'"),
        (header(counts={}), "'text.left' that belongs to no part"),
        (header(counts={"../text": None}), "counts"),
        (header(recipe=None), "recipe"),
        (header(recipe={"edits": 3}), "edits must be a list"),
        (header(recipe={"edits": [{"erase": "x"}] * 20_001}), "20,001 edits, over the limit"),
        (header(recipe={"edits": [{"erase": ["x"]}, {"erase": "y"}]}), "edits.*string"),
        (header(ridge=float("1e999")), "not JSON|finite"),
        (header(model=["x"]), "model: .*string"),
        (header(surprise=1), "the key 'surprise', which this version does not know"),
        (header(predicted={"text": {"left": "much"}}), "predicted.text.left"),
        (lambda own: own.pop("text_encoder"), "it lacks text_encoder"),
    ],
)
def test_headers(path: Path, change: Any, words: str) -> None:
    edit().save(path)
    rewritten(path, change)
    with pytest.raises(ValueError, match=rf"e\.safetensors.*{words}"):
        ce.Edit.load(path)
    assert len(told(lambda: ce.Edit.load(path))) < 500


@pytest.mark.parametrize("depth", [40, 900, 100_000])
def test_a_deep_header_and_deep_json(path: Path, depth: int) -> None:
    edit().save(path)
    table, data = parts_of(path)
    table["__metadata__"]["concept_edit"] = "[" * depth + "]" * depth
    path.write_bytes(joined(table, data))
    with pytest.raises(ValueError, match=f"nested more than {DEEPEST} levels deep"):
        ce.Edit.load(path)
    with pytest.raises(ValueError, match="nested more than"):
        parse_json('{"a": ' * depth + "1" + "}" * depth, "it")


def test_a_huge_header_is_not_read(path: Path) -> None:
    edit().save(path)
    table, data = parts_of(path)
    table["__metadata__"]["concept_edit"] = json.dumps({"format": "concept-edit 1", "recipe": "x" * (17 << 20)})
    path.write_bytes(joined(table, data))
    with pytest.raises(ValueError, match="header of 17 MB, over the limit of 16 MB"):
        ce.Edit.load(path)


def spoilt(path: Path, **changes: torch.Tensor | None) -> None:
    """Replace tensors of a file, or take them out."""
    from concept_edit.files import read_tensors, write_tensors

    kind = next(
        k
        for k in ("concept-edit 1", "concept-edit corpus 1", "concept-edit statistics 1")
        if k in path.read_text("latin-1")
    )
    tensors, own = read_tensors(path, kind)
    tensors |= {name.replace("_", "."): value for name, value in changes.items()}  # type: ignore[dict-item]
    write_tensors(path, {name: value for name, value in tensors.items() if value is not None}, own)


NAN = torch.full((WIDTH, 2), float("nan"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_left": torch.ones(WIDTH)}, "'text.left' has 1 axes, expected text width x text rank"),
        ({"text_left": torch.ones(2, WIDTH), "text_right": torch.ones(WIDTH, 2)}, "do not add up|would fit"),
        ({"text_left": torch.ones(WIDTH, 3)}, "has 2 where 3 .text rank. would fit"),
        ({"text_left": torch.ones(WIDTH, 2).int()}, "stored as I32, expected F32"),
        ({"text_left": torch.ones(WIDTH, 2).to(torch.float8_e4m3fn)}, "stored as F8_E4M3, expected F32"),
        ({"text_left": NAN}, "holds NaN"),
        ({"pooled_left": torch.ones(WIDTH, 2)}, "belongs to no part its header names"),
        ({"text_right": None}, "lacks the tensor 'text.right'"),
        ({"text_gate_ways": torch.ones(2, WIDTH)}, "lacks the tensor 'text.gate.mean'"),
        ({"statistics_text_pairs_owner": torch.tensor([0, 7])}, "pairs.owner points at 7, and there are 2"),
        ({"statistics_text_around_mean": torch.ones(WIDTH)}, "stored as F32, expected F64"),
    ],
)
def test_tensors_of_edits(path: Path, changes: dict[str, Any], words: str) -> None:
    edit().save(path, statistics=True)
    spoilt(path, **changes)
    with pytest.raises(ValueError, match=words):
        ce.Edit.load(path)


def test_a_rank_beyond_width_and_rows(path: Path) -> None:
    edit().save(path)
    rewritten(path, header(counts={"text": None}))
    spoilt(path, text_left=torch.ones(WIDTH, WIDTH + 1), text_right=torch.ones(WIDTH + 1, WIDTH))
    with pytest.raises(ValueError, match="have rank 7 and are 6 wide"):
        ce.Edit.load(path)


@pytest.mark.parametrize("part", ["ways", "sources", "mean", "thresholds", "left", "reach"])
def test_nan_in_a_gate(path: Path, part: str) -> None:
    edit(gated=True).save(path)
    held = getattr(edit(gated=True).gates["text"], part)
    worn = torch.full_like(held, float("nan")) if held.numel() else torch.full((WIDTH, 1), float("nan"))
    spoilt(path, **{f"text_gate_{part}": worn})
    with pytest.raises(ValueError, match=r"holds NaN|would fit"):
        ce.Edit.load(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text_caption": torch.tensor([0, 0, 2])}, "text.caption points at 2, and there are 2"),
        ({"text_caption": torch.tensor([0, -1, 0])}, "text.caption points at"),
        ({"text_square": torch.eye(WIDTH + 1).double()}, "would fit"),
        ({"text_sample": torch.ones(3, WIDTH)}, "stored as F32, expected F16"),
        ({"text_total": torch.full((WIDTH,), float("inf")).double()}, "holds NaN or infinite"),
    ],
)
def test_corpora(path: Path, changes: dict[str, Any], words: str) -> None:
    corpus().save(path)
    spoilt(path, **changes)
    with pytest.raises(ValueError, match=words):
        ce.Corpus.load(path)


def test_a_corpus_of_no_weight(path: Path) -> None:
    corpus().save(path)
    rewritten(path, header(weights={"text": 0}))
    with pytest.raises(ValueError, match=r"weights\.text: .*greater than 0"):
        ce.Corpus.load(path)


def test_statistics_of_a_broken_recipe(path: Path) -> None:
    statistics().save(path)
    rewritten(path, header(recipe={"edits": [{"erase": "  "}, {"erase": "y"}]}))
    with pytest.raises(ValueError, match=r"e\.safetensors is not a whole file of statistics .*empty"):
        ce.Statistics.load(path)


def test_a_header_longer_than_the_file(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 50) + b"{}")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        ce.Edit.load(path)


def test_texts_are_bounded_and_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("preserve: [Café]".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.yaml is not UTF-8 text"):
        ce.Recipe.load(tmp_path / "latin.yaml")
    with pytest.raises(ValueError, match=r"larger than 0 MB"):
        read_text(tmp_path / "latin.yaml", most=3)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds no JSON object"):
        read_object(tmp_path / "list.json")
    for text in ('{"a": NaN}', '{"a": "\\ud800"}', "1" * 5000):
        with pytest.raises(ValueError, match="it "):
            parse_json(text, "it")


def test_what_was_given_is_shown_short() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for value in ("x" * 10**6, deep, list(range(10**5)), {"a": deep}, 10**400):
        assert len(short(value)) <= 80
    with pytest.raises(ValueError, match="preserve") as caught:
        ce.Recipe.from_yaml(f"preserve: {{a: {'x' * 100_000}}}")
    assert len(str(caught.value)) < 300
