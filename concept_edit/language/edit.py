"""The answer to some facts: a pair of factors for each matrix that was rewritten.

    edit = rewrite(lm, facts, method="memit", layers=[2, 3, 4, 5, 6])
    with edit.applied(lm, strength=1.0):
        lm.complete(["The Space Needle is in the city of"])
    edit.save("rome.safetensors")

W' = W + strength · left right, for the named matrices of one model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.files import read_tensors, write_tensors
from concept_edit.language.facts import Fact
from concept_edit.language.model import LanguageModel
from concept_edit.memory.hard import MatrixFactors, Memory, Mode, rewrite_matrix
from concept_edit.memory.verbs import Change, changed, write
from concept_edit.reading.kinds import FACTS

FORMAT = FACTS
_PARTS = ("keys", "wanted")
"""Of a memory, beside the factors: its reach is their right side."""


@dataclass(frozen=True, eq=False)
class FactEdit:
    """Facts rewritten in some matrices. Frozen; made by `rewrite` or `FactEdit.load`."""

    facts: tuple[Fact, ...]
    """What was asked."""
    method: str
    """`rome`, `memit`, `null` or `ft`."""
    layers: tuple[int, ...]
    """Blocks whose MLP was rewritten."""
    factors: Mapping[str, MatrixFactors]
    """Matrix -> left (d_out x rank) and right (rank x d_in), float32."""
    model: str
    """Name of the model it was solved on."""
    fingerprint: str
    """Of that model's weights and vocabulary."""
    mode: Mode | None = None
    """How the memories were solved; None for method `ft`, which has none."""
    memories: Mapping[str, Memory] = field(default_factory=dict)
    """Matrix -> what it holds, a row for each fact: all that is needed to take one out again."""
    toolkit: str = ""
    notes: tuple[str, ...] = ()
    """What was chosen for the caller: layers out of a trace, statistics, losses that stayed high."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """The facts it changes, a line each."""
        return tuple(fact.told for fact in self.facts)

    @property
    def tower(self) -> int | None:
        """Which text encoder of an image model it edits; None for a language model."""
        _, space, number = self.fingerprint.partition(" ")
        return int(number) if space and number.isdigit() else None

    def rank(self, name: str) -> int:
        """Rank of a matrix' change."""
        return self.factors[name].rank

    def check(self, lm: LanguageModel) -> None:
        """Refuse a model that this edit was not solved for.

        Raises:
            ValueError: another model; both are named.
        """
        if self.fingerprint != lm.fingerprint:
            raise ValueError(
                f"the edit was solved on {self.model} ({self.fingerprint[:12]}), and {lm.name} has other weights "
                f"({lm.fingerprint[:12]}); rewrite the facts on {lm.name}"
            )

    def delta(self, lm: LanguageModel) -> dict[str, Float[Tensor, "d_out d_in"]]:
        """Matrix name -> dense ΔW at strength 1, float32, out x in.

        Raises:
            ValueError: another model.
        """
        self.check(lm)
        weights = lm.weights()
        return {name: change(weights[name]) for name, change in self._changes().items()}

    @contextmanager
    def applied(self, lm: LanguageModel, strength: float = 1.0) -> Iterator[LanguageModel]:
        """Change the model inside a `with` block, and put the very same bits back after it. Blocks nest.

        Raises:
            ValueError: another model, or NaN in its weights; nothing is changed then.
        """
        self.check(lm)
        with changed(lm.weights(), self._changes(), strength):
            yield lm

    def merge_into(self, lm: LanguageModel, strength: float = 1.0) -> None:
        """Change the model for good; each matrix is rounded once to its own dtype. It is another model then: what was
        solved for the one before is refused.

        Raises:
            ValueError: as `applied`.
        """
        self.check(lm)
        write(lm.weights(), self._changes(), strength)
        lm.forget()

    def without(self, *facts: Fact | str) -> FactEdit:
        """The edit without these facts (or all facts of these subjects), solved anew from what it holds: no model.

        Where several layers share the work, the later ones keep what they were to add; rewriting anew is exact.

        Raises:
            ValueError: a fact it does not change, or method `ft`, where they cannot be told apart.
        """
        if self.mode is None:
            raise ValueError("fine-tuning mixes its facts in one change; rewrite the others anew")
        out = {n for n, held in enumerate(self.facts) if any(fact in (held, held.subject) for fact in facts)}
        for fact in facts:
            if not any(fact in (held, held.subject) for held in self.facts):
                told = fact.told if isinstance(fact, Fact) else fact
                raise ValueError(f"the edit does not change {told!r}; it changes {'; '.join(self.concepts)}")
        rows = [n for n in range(len(self.facts)) if n not in out]
        memories = {name: memory.pick(rows) for name, memory in self.memories.items()}
        factors = {name: rewrite_matrix(memory, self.mode) for name, memory in memories.items()}
        return replace(self, facts=tuple(self.facts[n] for n in rows), memories=memories, factors=factors)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file; the old one stays until the new one is whole.

        Raises:
            OSError: the file cannot be written.
        """
        tensors = {f"{name}:{side}": getattr(f, side) for name, f in self.factors.items() for side in f._fields}
        tensors |= {f"{name}:{part}": getattr(m, part) for name, m in self.memories.items() for part in _PARTS}
        header: dict[str, Any] = {"format": FORMAT, "toolkit": self.toolkit, "model": self.model}
        header |= {"fingerprint": self.fingerprint, "method": self.method, "mode": self.mode}
        header |= {"layers": self.layers, "notes": self.notes, "matrices": list(self.factors)}
        write_tensors(path, tensors, header | {"facts": [fact.plain() for fact in self.facts]})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FactEdit:
        """Read an edit file.

        Raises:
            ValueError: a pickle, a truncated or foreign file, or factors that do not fit; the message names the file.
            OSError: the file cannot be read.
        """
        tensors, header = read_tensors(path, FORMAT)
        try:
            return _read(tensors, header)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a whole edit file ({error}); rewrite or fetch it again") from error

    def _changes(self) -> dict[str, Change]:
        return {name: _change(factors) for name, factors in self.factors.items()}


def _change(factors: MatrixFactors) -> Change:
    return lambda weight: factors.left.to(weight.device) @ factors.right.to(weight.device)


def _read(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> FactEdit:
    def parts(name: str, wanted: Sequence[str]) -> list[Tensor]:
        return [tensors[f"{name}:{part}"] for part in wanted]

    factors = {name: MatrixFactors(*parts(name, MatrixFactors._fields)) for name in header["matrices"]}
    for name, (left, right) in factors.items():
        if left.shape[1] != right.shape[0] or not bool(torch.isfinite(left).all() & torch.isfinite(right).all()):
            raise ValueError(f"the factors of {name} do not fit each other or hold NaN")
    memories = {}
    for name, (_, right) in factors.items() if header["mode"] else ():
        keys, wanted = parts(name, _PARTS)
        memories[name] = Memory(keys, right, wanted)
    return FactEdit(
        tuple(Fact(**fact) for fact in header["facts"]), header["method"], tuple(header["layers"]), factors,
        header["model"], header["fingerprint"], header["mode"], memories, header["toolkit"], tuple(header["notes"]),
    )  # fmt: skip
