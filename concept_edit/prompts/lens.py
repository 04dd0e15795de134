"""How the matrices of a stream see its rows: lengths after them, without holding all of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.models.contract import Model

SEEN = 1024
"""Rows of a lens at most."""


def lens_of(model: Model, stream: str) -> Float[Tensor, "seen d_text"]:
    """A matrix L with ‖L x‖ ≈ ‖W x‖ for the stacked matrices W that read the stream, float32 on the CPU.

    W itself where it has few rows; else each of its rows is added to one of `SEEN` with a sign, both drawn once for all
    (a count sketch: squared lengths are right on average and within some per cent each).
    """
    generator, parts, count = torch.Generator().manual_seed(0), list[Tensor](), 0
    lens = torch.zeros(SEEN, model.streams[stream])
    for site in (site for site in model.sites if site.stream == stream):
        part = model.matrix(site.name)[:, : site.columns].detach().float().cpu()
        places = torch.randint(SEEN, (len(part),), generator=generator)
        signs = torch.randint(2, (len(part), 1), generator=generator) * 2 - 1
        lens.index_add_(0, places, signs * part)
        count += len(part)
        parts = [*parts, part] if count <= SEEN else []
    return torch.cat(parts) if parts else lens
