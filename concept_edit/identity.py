"""What a thing is, as a hash: tensors, models, edits, and plain data in one canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from concept_edit.edit import Edit
    from concept_edit.models.contract import Model


def canonical(data: Any) -> bytes:
    """Plain data as JSON with one spelling: sorted keys, no spaces, UTF-8, a newline at the end.

    Raises:
        ValueError: NaN or infinite numbers, which JSON does not have.
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def digest(data: Any) -> str:
    """SHA-256 of the canonical form, hex."""
    return hashlib.sha256(canonical(data)).hexdigest()


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's dtype, shape and bytes, hex."""
    import torch

    held = tensor.detach().contiguous().cpu()
    found = hashlib.sha256(f"{held.dtype} {tuple(held.shape)}\n".encode())
    found.update(held.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def matrices_digest(model: Model) -> str:
    """One hash for the matrices of `model` that read text: what an edit starts from."""
    return digest({name: tensor_digest(weight) for name, weight in model.weights().items()})


def factor_digests(edit: Edit) -> dict[str, str]:
    """`<stream>.left`, `<stream>.right` and the parts of gates, `<stream>.gate.ways` and so on -> hash."""
    held = {f"{name}.{side}": getattr(f, side) for name, f in edit.factors.items() for side in f._fields}
    held |= {f"{name}.gate.{part}": value for name, g in edit.gates.items() for part, value in g._asdict().items()}
    return {name: tensor_digest(value) for name, value in held.items()}


def edit_digest(edit: Edit) -> str:
    """One hash for what an edit does: its recipe, its factors and the text encoder it is bound to."""
    recipe: Mapping[str, Any] = json.loads(edit.recipe.compact())
    return digest({"recipe": recipe, "factors": factor_digests(edit), "text_encoder": edit.fingerprint})
