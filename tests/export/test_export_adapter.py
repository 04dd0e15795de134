"""Rewritten facts in other programs' formats give the same logits there."""

from __future__ import annotations

import pytest
import torch

import concept_edit as ce
from concept_edit.language.facts import Fact
from concept_edit.language.tuning import Tuning
from concept_edit.language.values import Search
from tests.language.models import LINES, opened

FACTS = (
    Fact("The Space Needle", "{} is in the city of", "Rome", "Seattle"),
    Fact("Miles Davis", "{} plays the", "piano", "trumpet"),
)
SEARCH = Search(steps=6, contexts=0, clamp=20, kl=0, decay=0)


def logits(lm):
    with torch.no_grad():
        return lm.logits(lm.encode(LINES[:2]))


@pytest.mark.parametrize(("family", "method"), [("llama", "memit"), ("gpt2", "rome"), ("gpt_neox", "ft")])
def test_peft_loads_the_adapter_with_the_same_logits(tmp_path, family, method):
    peft = pytest.importorskip("peft")
    lm = opened(family)
    keys = ce.collect_keys(lm, [0, 1], LINES, shrinkage=0.1)
    layers = [0, 1] if method == "memit" else [1]
    edit = ce.rewrite(lm, FACTS, method, layers, keys, search=SEARCH, tuning=Tuning(rate=5e-3))
    before = logits(lm)
    with edit.applied(lm):
        wanted = logits(lm)
    assert not torch.allclose(before, wanted, atol=1e-3)
    told = ce.export_adapter(edit, lm, tmp_path / "adapter")
    assert told.matrices == tuple(edit.factors)
    other = opened(family)
    other.model = peft.PeftModel.from_pretrained(other.model, tmp_path / "adapter")
    torch.testing.assert_close(logits(other), wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(FileExistsError, match="files in it"):
        ce.export_adapter(edit, lm, tmp_path / "adapter")
    with pytest.raises(ValueError, match="changes nothing"):
        ce.export_adapter(ce.rewrite(lm, FACTS, "memit", [1], keys, search=SEARCH).without(*FACTS), lm, tmp_path / "b")


def test_the_folder_is_the_edited_model(tmp_path):
    lm = opened("gpt2")
    keys = ce.collect_keys(lm, [1], LINES, shrinkage=0.1)
    edit = ce.rewrite(lm, FACTS, "memit", [1], keys, search=SEARCH)
    before = logits(lm)
    told = ce.export_language_model(edit, lm, tmp_path / "model", strength=0.5)
    torch.testing.assert_close(logits(lm), before, rtol=0, atol=0)
    with edit.applied(lm, 0.5):
        wanted = logits(lm)
    found = ce.open_language_model(told.path)
    torch.testing.assert_close(logits(found), wanted, rtol=0, atol=0)
    with pytest.raises(ValueError, match="other weights"):
        edit.check(found)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
