"""What an edit is, as hashes: of its factors, and of all that it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from concept_edit.answer.edit_file import named_tensors
from concept_edit.identity import digest, tensor_digest

if TYPE_CHECKING:
    from concept_edit.edit import Edit


def factor_digests(edit: Edit) -> dict[str, str]:
    """`<stream>.left`, `<stream>.right` and the parts of gates, `<stream>.gate.ways` and so on -> hash."""
    held = named_tensors(edit.factors, edit.gates)
    return {name: tensor_digest(value) for name, value in held.items()}


def edit_digest(edit: Edit) -> str:
    """One hash for what an edit does: its recipe, its factors and the text encoder it is bound to."""
    recipe: Mapping[str, Any] = json.loads(edit.recipe.compact())
    return digest({"recipe": recipe, "factors": factor_digests(edit), "text_encoder": edit.fingerprint})
