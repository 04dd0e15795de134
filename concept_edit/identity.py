"""What a thing is, as a hash: tensors, models, and plain data in one canonical form."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

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
    return digest({site.name: tensor_digest(model.matrix(site.name)) for site in model.sites})
