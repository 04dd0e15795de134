"""What an edit is, as hashes: of its factors, and of all that it does."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any

from concept_edit.answer.edit_file import named_tensors
from concept_edit.identity import digest, tensor_digest
from concept_edit.recipe import Recipe

if TYPE_CHECKING:
    from concept_edit.edit import Edit

_SETTINGS = {
    *("edits", "preserve", "ridge", "erase_scale", "preserve_scale", "keep_null", "tokens", "method", "layers"),
    *("erased_to", "kept_within", "corpus_within", "rounds", "false_alarm", "caption_alarm"),
}
_ITEMS = {"erase", "moderate", "debias", "guide", "weight", "wordings", "across", "phrase", "aims"}
"""What recipes and the items of their edits held when digests were first taken: in every digest, whatever it says.

Runs that were left unfinished are known by such digests. A name that is younger is never added here; give it a default
that means what a recipe meant before it had the name, and change that default no more.
"""


def factor_digests(edit: Edit) -> dict[str, str]:
    """`<stream>.left`, `<stream>.right` and the parts of gates, `<stream>.gate.ways` and so on -> hash."""
    held = named_tensors(edit.factors, edit.gates)
    return {name: tensor_digest(value) for name, value in held.items()}


def edit_digest(edit: Edit) -> str:
    """One hash for what an edit does: its recipe, its factors and the text encoder it is bound to."""
    told = {"recipe": stated(edit.recipe), "factors": factor_digests(edit), "text_encoder": edit.fingerprint}
    return digest(told)


def stated(recipe: Recipe) -> dict[str, Any]:
    """The recipe as its digest sees it: a setting that came later is left out where it stands at its default.

    So a new setting changes the digest of no edit that does not use it, and pictures painted before are found again.
    """
    plain = recipe.model_dump(mode="json", by_alias=True)
    chosen = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    edits = [_stated(*pair, _ITEMS) for pair in zip(plain["edits"], chosen.get("edits", ()), strict=True)]
    return _stated(plain, chosen, _SETTINGS) | {"edits": edits}


def _stated(plain: Mapping[str, Any], chosen: Mapping[str, Any], always: Set[str]) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if name in always or name in chosen}
