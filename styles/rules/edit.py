"""A rewritten rule: a low-rank change of one convolution, applied and undone bit for bit, merged, saved and loaded."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from styles.files import whole
from styles.generator import Generator
from styles.rules.edit_file import FORMAT, read_rule
from styles.rules.keys import as_weight, convolution, identity


@dataclass(frozen=True, eq=False)
class RuleEdit:
    """W' = W + strength · left right, for the matrix of one convolution over its unfolded keys."""

    layer: str
    left: Float[Tensor, "outputs rank"]
    right: Float[Tensor, "rank keys"]
    generator: str
    """`identity` of the generator that it was solved for."""
    note: str = ""
    measured: tuple[tuple[str, float], ...] = ()
    """(name, number): what it was measured to do to the marked pictures at strength 1."""

    @property
    def rank(self) -> int:
        """Directions of keys that are changed."""
        return len(self.right)

    def told(self, measured: Mapping[str, float]) -> RuleEdit:
        """The same edit with what was measured."""
        return replace(self, measured=tuple((name, round(value, 4)) for name, value in measured.items()))

    def delta(self, model: Generator, *, strength: float = 1.0) -> Float[Tensor, "outputs inputs 3 3"]:
        """The change of the convolution's weight.

        Raises:
            ValueError: another generator than the one it was solved for, or a strength that is no number.
        """
        if not math.isfinite(strength):
            raise ValueError(f"strength must be a finite number, got {strength}.")
        if identity(model) != self.generator:
            raise ValueError("this rule was solved for another generator; solve it anew for this one.")
        module = convolution(model, self.layer)
        change = as_weight(module, strength * (self.left @ self.right)).to(module.weight)
        if change.shape != module.weight.shape:
            raise ValueError(f"this rule does not fit the shape of {self.layer}; it is damaged.")
        return change

    @contextlib.contextmanager
    def applied(self, model: Generator, *, strength: float = 1.0) -> Iterator[Generator]:
        """The generator with the rule while the block runs; its weights come back bit for bit, also when it raises.

        Raises:
            ValueError: as `delta`.
        """
        weight = convolution(model, self.layer).weight
        kept = weight.data
        weight.data = kept + self.delta(model, strength=strength)
        try:
            yield model
        finally:
            weight.data = kept

    @torch.no_grad()
    def merge_into(self, model: Generator, *, strength: float = 1.0) -> None:
        """Write the rule into the generator for good.

        Raises:
            ValueError: as `delta`.
        """
        change = self.delta(model, strength=strength)
        convolution(model, self.layer).weight.add_(change)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .safetensors file.

        Raises:
            ValueError: another ending.
            OSError: the folder is missing or cannot be written.
        """
        target = Path(path)
        if target.suffix != ".safetensors":
            raise ValueError(f"a rule is saved as .safetensors, got {target.name!r}.")
        told = {
            "layer": self.layer,
            "generator": self.generator,
            "note": self.note,
            "measured": dict(self.measured),
        }
        tensors = {"left": self.left.detach().float().cpu(), "right": self.right.detach().float().cpu()}
        with whole(target) as part:
            save_file({name: value.contiguous() for name, value in tensors.items()}, part, metadata=_header(told))
            part.chmod(0o644)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Generator | None = None) -> RuleEdit:
        """Read a file; with `model`, only one that was solved for it.

        Raises:
            ValueError: it is no rule, is damaged, or was solved for another generator.
            OSError: there is no such file.
        """
        told, left, right = read_rule(path)
        edit = cls(told.layer, left, right, told.generator, told.note, tuple(told.measured.items()))
        if model is not None:
            try:
                edit.delta(model)
            except ValueError as error:
                raise ValueError(f"{Path(path).name}: {error}") from None
        return edit


def _header(told: Mapping[str, object]) -> dict[str, str]:
    return {"format": FORMAT, "rule": json.dumps(told, sort_keys=True)}
