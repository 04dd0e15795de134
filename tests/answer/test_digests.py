"""Digests of edits: those of earlier versions are found again, also once recipes have settings they did not know."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import torch
from pydantic import Field, create_model
from pydantic.dataclasses import dataclass

import concept_edit as ce
from concept_edit.answer.digests import edit_digest, stated
from concept_edit.asked.items import AnyEdit
from concept_edit.evaluation.folder import RunFolder
from concept_edit.memory.solve import Factors

EDITS = (
    ce.Erase("Van Gogh", guide="art", wordings=("art",)),
    ce.Moderate("bomb"),
    ce.Debias("doctor", across={"man": 0.5, "woman": 0.5}, aims={"man": 0.0, "woman": 0.4}),
)
KNOWN = [
    ({"method": "uce"}, "919c97b3cdc9434c603bd76b4e30cc772e320437a2ea736ee05f3c627f1cf29d"),
    ({"method": "guarded"}, "11b4f734b0c8629807004acc7bacefa9a2c950addf5786004f0cb22babbcb421"),
    (
        {"method": "uce", "tokens": "aligned", "ridge": 0.1, "layers": ("v",)},
        "0f02fe783ef9ef56ffaf93200feb42d9ec3d64c897cf53042af6b31f2d28e8a8",
    ),
]
"""Digests that the version before `guarded` became the default wrote into run folders; it stated every setting."""


def edit(recipe: ce.Recipe) -> ce.Edit:
    factors = {"text": Factors(torch.arange(8.0).reshape(4, 2), torch.ones(2, 4))}
    return ce.Edit(recipe, factors, {"text": None}, "a model", "f" * 64)


@pytest.mark.parametrize(("settings", "digest"), KNOWN)
def test_digests_that_stated_every_setting_still_hold(settings: dict[str, Any], digest: str) -> None:
    recipe = ce.Recipe(edits=EDITS, preserve=["Monet"], **settings)
    assert edit_digest(edit(recipe)) == digest
    assert edit_digest(edit(recipe.model_copy(update={"ridge": 0.7}))) != digest


@dataclass(frozen=True)
class LaterErase(ce.Erase):
    """`Erase` as a later version might have it."""

    fade: float = 1.0


Later = create_model(
    "Later",
    __base__=ce.Recipe,
    edits=(tuple[LaterErase | AnyEdit, ...], ()),
    softness=(Annotated[float, Field(ge=0)], 0.0),
)
"""A recipe with a setting and an item that this version does not have."""


def test_a_setting_that_came_later_counts_only_where_it_is_used(tmp_path):
    settings, digest = KNOWN[1]
    newer = Later(edits=EDITS, preserve=["Monet"], **settings)
    assert "softness" in newer.model_dump()
    assert edit_digest(edit(newer)) == digest
    assert edit_digest(edit(newer.model_copy(update={"softness": 0.5}))) != digest
    RunFolder(tmp_path, {"all": {}, "after": {"edit": digest}})
    RunFolder(tmp_path, {"all": {}, "after": {"edit": edit_digest(edit(newer))}})
    with pytest.raises(ValueError, match="other settings"):
        RunFolder(tmp_path, {"all": {}, "after": {"edit": edit_digest(edit(newer.model_copy(update={"ridge": 2.0})))}})


def test_so_does_a_later_setting_of_one_concept():
    today = ce.Recipe(edits=[ce.Erase("cat")])
    later, used = (Later(edits=[LaterErase("cat", fade=fade)]) for fade in (1.0, 0.5))
    assert stated(later) == stated(today)
    assert stated(used)["edits"][0] == stated(today)["edits"][0] | {"fade": 0.5}
    assert stated(ce.Recipe()) == stated(Later())
