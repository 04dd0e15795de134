"""What an edit makes of single matrices, without touching the model they come from."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from concept_edit.edit import Edit
from concept_edit.memory.solve import change
from concept_edit.models.contract import Model, Site


def changes_of(edit: Edit, model: Model, strength: float) -> dict[str, Callable[[Tensor], Tensor]]:
    """Site name -> a function from the stored matrix to the edited one: changed in float32, rounded once."""
    readers = {name: change(factors) for name, factors in edit.factors.items()}
    return {site.name: _changed(site, readers[site.stream], strength) for site in edit.sites(model)}


def _changed(site: Site, read: Callable[[Tensor], Tensor], strength: float) -> Callable[[Tensor], Tensor]:
    def edited(weight: Tensor) -> Tensor:
        if strength == 0:
            return weight
        new = weight.clone()
        part = weight[:, : site.columns]
        new[:, : site.columns] = (part.float() + strength * read(part)).to(weight.dtype)
        if not bool(new.isfinite().all()):
            raise ValueError(f"{site.name} holds NaN or infinite numbers, or would with this edit; nothing was written")
        return new

    return edited
