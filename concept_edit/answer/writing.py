"""Factors written into the columns of a model's matrices that read text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from concept_edit.memory import verbs
from concept_edit.memory.solve import Factors, change
from concept_edit.models.contract import Model, Site


def reader(factors: Mapping[str, Factors]) -> Callable[[Site, Tensor], Tensor]:
    """The function (site, W) -> W A, in float32 on the matrix's device, over the columns that read text."""
    ready: dict[tuple[str, torch.device], Callable[[Tensor], Tensor]] = {}

    def read(site: Site, weight: Tensor) -> Tensor:
        key = (site.stream, weight.device)
        if key not in ready:
            ready[key] = change(factors[site.stream], weight.device)
        return ready[key](weight[:, : site.columns])

    return read


def text_columns(model: Model, sites: Sequence[Site]) -> dict[str, Tensor]:
    """The columns that read text of each matrix, as views: writing into one changes the model."""
    weights = model.weights()
    return {site.name: weights[site.name][:, : site.columns] for site in sites}


def write(model: Model, sites: Sequence[Site], factors: Mapping[str, Factors], strength: float) -> dict[str, Tensor]:
    """Change the matrices and return copies of what their `text_columns` were; after any failure they are what they
    were. Where nothing would change, no weight is brought into memory.

    Raises:
        ValueError: a strength that is no number, NaN in the weights or an overflow.
    """
    moved = [site for site in sites if strength != 0 and factors[site.stream].rank]
    columns, read = text_columns(model, moved) if moved else {}, reader(factors)
    return verbs.write(columns, {site.name: partial(read, site) for site in moved}, strength)
