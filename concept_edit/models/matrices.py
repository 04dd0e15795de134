"""The text-side matrices of a model on disk: read one by one, or held once something may write in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from concept_edit.models.files.weights_files import Weights


@dataclass
class Matrices:
    """Where each matrix lies. SDXL's 141 take 1.4 GB in float32, and only an edit that is applied needs them all."""

    weights: Weights
    names: Mapping[str, str]
    """Site name -> name in the file."""
    device: torch.device
    dtype: torch.dtype
    """The precision the model is opened in."""
    held: dict[str, Tensor] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Site name -> shape."""
        return {name: self.weights.shape(stored) for name, stored in self.names.items()}

    def look(self, name: str) -> Tensor:
        """One matrix in the model's precision, to read: the held one, or a copy that belongs to the caller."""
        return self.held[name] if name in self.held else self.stored(name).to(self.device, self.dtype)

    def stored(self, name: str) -> Tensor:
        """One matrix as the file has it."""
        return self.weights.read([self.names[name]])[self.names[name]]

    def hold(self) -> dict[str, Tensor]:
        """All of them in memory, the same tensors from now on."""
        for name in self.names:
            if name not in self.held:
                self.held[name] = self.look(name)
        return self.held
