"""The file of a rule: the same rule comes back, for its generator alone; anything else is refused in a sentence."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import tiny
from safetensors.torch import save_file

import styles
from styles.generator import Generator
from styles.rules.keys import identity

GOOD = {"left": torch.ones(16, 2), "right": torch.ones(2, 144)}


def rule(model: Generator) -> styles.RuleEdit:
    torch.manual_seed(0)
    return styles.RuleEdit(
        "b16.conv1", torch.randn(16, 2), torch.randn(2, 144), identity(model), "a lamp", (("reached", 0.5),)
    )


def test_round_trip(model: Generator, w: torch.Tensor, tmp_path: Path) -> None:
    edit = rule(model)
    edit.save(tmp_path / "e.safetensors")
    found = styles.RuleEdit.load(tmp_path / "e.safetensors", model)
    assert torch.equal(found.left, edit.left)
    assert torch.equal(found.right, edit.right)
    assert (found.layer, found.note, found.measured, found.rank) == (edit.layer, "a lamp", (("reached", 0.5),), 2)
    with edit.applied(model):
        shown = model.synthesize(w)
    with found.applied(model):
        assert torch.equal(model.synthesize(w), shown)


def test_another_generator_is_refused_and_one_with_rules_is_not(model: Generator, tmp_path: Path) -> None:
    edit, other, merged = rule(model), tiny(seed=1), tiny()
    edit.save(tmp_path / "e.safetensors")
    with pytest.raises(ValueError, match="was solved for another generator"):
        styles.RuleEdit.load(tmp_path / "e.safetensors", other)
    with pytest.raises(ValueError, match="was solved for another generator"), edit.applied(other):
        pass
    with pytest.raises(ValueError, match="was solved for another generator"):
        edit.merge_into(other)
    edit.merge_into(merged)
    assert styles.RuleEdit.load(tmp_path / "e.safetensors", merged).layer == "b16.conv1"


@pytest.mark.parametrize(
    ("tensors", "told", "words"),
    [
        ({"left": torch.ones(16, 3)}, {}, "do not fit together"),
        ({"left": torch.ones(16, 2, dtype=torch.float64)}, {}, "do not fit together"),
        ({"right": torch.ones(2, 145)}, {}, "do not fit together"),
        ({"more": torch.ones(1)}, {}, "left and right alone"),
        ({"left": torch.full((16, 2), float("nan"))}, {}, "NaN"),
        ({"left": torch.ones(5, 2)}, {}, "does not fit the shape"),
        ({}, {"generator": "x"}, "generator"),
        ({}, {"surprise": 1}, "surprise"),
        ({}, {"layer": 3}, "layer"),
        ({}, {"layer": "b99.conv1"}, "no layer"),
        ({}, {"layer": "b16.torgb"}, "holds no rule"),
    ],
)
def test_what_is_no_rule_is_refused(
    tensors: dict[str, torch.Tensor], told: dict[str, Any], words: str, model: Generator, tmp_path: Path
) -> None:
    header = {"layer": "b16.conv1", "generator": identity(model), "note": "", "measured": {}} | told
    metadata = {"format": "styles.rule-edit/1", "rule": json.dumps(header)}
    save_file(GOOD | tensors, tmp_path / "e.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=rf"e\.safetensors.*{words}") as error:
        styles.RuleEdit.load(tmp_path / "e.safetensors", model)
    assert "\n" not in str(error.value)


def test_damaged_and_foreign_files(model: Generator, tmp_path: Path) -> None:
    rule(model).save(tmp_path / "e.safetensors")
    data, rng, path = (tmp_path / "e.safetensors").read_bytes(), random.Random(1), tmp_path / "f"
    said: list[str] = []
    for _ in range(100):
        made = bytearray(data)
        made[rng.randrange(500)] = rng.randrange(256)
        path.write_bytes(bytes(made[: rng.choice((len(made), rng.randrange(len(made))))]))
        try:
            styles.RuleEdit.load(path, model)
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 50
    assert not any("\n" in sentence for sentence in said)
    styles.save_generator(model, tmp_path / "g.safetensors")
    with pytest.raises(ValueError, match="is no rule"):
        styles.RuleEdit.load(tmp_path / "g.safetensors")
    (tmp_path / "e.json").write_text("{}")
    with pytest.raises(ValueError, match="is no rule"):
        styles.RuleEdit.load(tmp_path / "e.json")
    with pytest.raises(ValueError, match=r"saved as \.safetensors"):
        rule(model).save(tmp_path / "e.json")
