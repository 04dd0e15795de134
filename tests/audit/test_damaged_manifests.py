"""A damaged manifest is a verdict of `verify`, named, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

import concept_edit as ce
from concept_edit.audit.release import EDIT, HISTORY, MANIFEST, read_history, read_manifest, verify, write_release


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.tiny_model("sd1")


@pytest.fixture(scope="module")
def release(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], layers=("v",), method="uce")
    return write_release(model, ce.solve(model, recipe), tmp_path_factory.mktemp("release")).folder


def without(part: str) -> Any:
    return lambda manifest: {key: value for key, value in manifest.items() if key != part}


DAMAGE: dict[str, Any] = {
    "no edit": without("edit"),
    "no result": without("result"),
    "null": lambda manifest: None,
    "list": lambda manifest: [manifest],
    "edit is null": lambda manifest: manifest | {"edit": None},
    "no factors": lambda manifest: manifest | {"edit": without("factors")(manifest["edit"])},
    "factors of another kind": lambda manifest: manifest | {"edit": manifest["edit"] | {"factors": [1]}},
    "strength is a word": lambda manifest: manifest | {"edit": manifest["edit"] | {"strength": "much"}},
    "strength too large": lambda manifest: manifest | {"edit": manifest["edit"] | {"strength": 1e308}},
    "matrices of numbers": lambda manifest: manifest | {"model": manifest["model"] | {"matrices": {"a": 1}}},
    "deep": lambda manifest: manifest | {"evaluation": json.loads("[" * 200 + "]" * 200)},
    "half a character": lambda manifest: manifest | {"rollback": "\ud800"},
    "parent is a number": lambda manifest: manifest | {"parent": 3},
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_a_verdict(kind: str, release: Path, model: Any, tmp_path: Path) -> None:
    manifest = json.loads((release / MANIFEST).read_text())
    for name in (EDIT, HISTORY):
        (tmp_path / name).write_bytes((release / name).read_bytes())
    (tmp_path / MANIFEST).write_text(json.dumps(DAMAGE[kind](manifest)))
    found = verify(tmp_path / EDIT, model)
    assert not found.ok
    assert "manifest" in found.touched
    assert all("\n" not in finding.text and len(finding.text) < 600 for finding in found.findings)


@pytest.mark.parametrize("data", [b"", b"{" * 100_000, b"\xff\xfe", b'{"a": NaN}', b"[" * 2000 + b"]" * 2000])
def test_what_is_not_even_json(data: bytes, release: Path, model: Any, tmp_path: Path) -> None:
    (tmp_path / EDIT).write_bytes((release / EDIT).read_bytes())
    (tmp_path / MANIFEST).write_bytes(data)
    assert "manifest" in verify(tmp_path / EDIT, model).touched
    with pytest.raises(ValueError, match=r"manifest\.json is no manifest"):
        read_manifest(tmp_path / MANIFEST)


@pytest.mark.parametrize("line", ["null", "[1]", '{"manifest": 1}', "[" * 5000, '{"manifest": "a", "parent": "b"}'])
def test_a_damaged_history_is_named_with_its_line(line: str, tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_text('{"manifest":"a","parent":null,"when":"now"}\n' + line + "\n")
    with pytest.raises(ValueError, match="line 2"):
        read_history(tmp_path / HISTORY)
