"""The answer to a recipe: a pair of factors per text stream, that changes every matrix reading the stream.

    edit = solve(model, recipe)
    with edit.applied(model, strength=0.8):
        images = model.generate(["a village by Van Gogh"], seeds=[0])
    edit.save("edit.safetensors")

W' = W + strength · (W left) right. The factors know the text encoder and no denoiser: one edit serves every checkpoint
that shares the encoder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor

from concept_edit.answer.edit_file import FORMAT, STATISTICS, fields_of, named_tensors
from concept_edit.answer.solving import answer
from concept_edit.answer.writing import reader, text_columns, write
from concept_edit.files import read_tensors, write_tensors
from concept_edit.memory.gate import Gate
from concept_edit.memory.solve import Factors
from concept_edit.memory.verbs import restore
from concept_edit.models.contract import Model, Site
from concept_edit.models.gated import gated
from concept_edit.prompts.collect import collect, sites_edited
from concept_edit.prompts.corpus import Corpus
from concept_edit.prompts.stats import Statistics
from concept_edit.reading.kinds import FACTS
from concept_edit.reading.plain import sentence
from concept_edit.reading.tensor_file import format_of
from concept_edit.recipe import Recipe, explain
from concept_edit.version import __version__

__all__ = ["FORMAT", "Edit", "solve", "solve_statistics"]

AnyModel = TypeVar("AnyModel", bound=Model)


@dataclass(frozen=True, eq=False)
class Edit:
    """A solved recipe. Frozen; made by `solve`, `solve_statistics` or `Edit.load`."""

    recipe: Recipe
    """What was asked."""
    factors: Mapping[str, Factors]
    """Stream -> left (d_text x rank) and right (rank x d_text), float32."""
    counts: Mapping[str, tuple[int, ...] | None]
    """Stream -> how many rank rows each concept has, in order; None where the edit was compressed to rank d_text or its
    rows were merged."""
    model: str
    """Name of the model whose text encoder it was solved on."""
    fingerprint: str
    """Of that text encoder's weights and tokenizer."""
    statistics: Statistics | None = None
    """What it was solved from; a loaded edit has it if it was saved with it."""
    toolkit: str = ""
    """Version of the toolkit that solved it."""
    gates: Mapping[str, Gate] = field(default_factory=dict)
    """Stream -> gate, for method `gated`; its factors are empty then."""
    corpus: str = ""
    """Identity of the corpus it holds still, for methods `guarded` and `gated`."""
    predicted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Stream -> what a guarded solve foretells: `left`, `kept`, `unnamed`, `captions` (means; see `Guarded`), and
    `groups` where there were more rows than one matrix holds."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts it changes."""
        return self.recipe.concepts

    @property
    def layers(self) -> tuple[str, ...]:
        """Roles or name patterns of the matrices it changes; empty for all."""
        return self.recipe.layers

    def rank(self, stream: str) -> int:
        """Rank rows of a stream's factors."""
        return self.factors[stream].rank

    def rows(self, stream: str) -> tuple[str, ...] | None:
        """The concept each rank row came from; None where the edit was compressed or its rows were merged."""
        counts = self.counts[stream]
        if counts is None:
            return None
        return tuple(concept for concept, n in zip(self.concepts, counts, strict=True) for _ in range(n))

    def sites(self, model: Model) -> tuple[Site, ...]:
        """The matrices of `model` that it changes."""
        return tuple(site for site in sites_edited(model, self.recipe) if site.stream in self.factors)

    def check(self, model: Model) -> None:
        """Refuse a model that this edit was not solved for.

        Raises:
            ValueError: a model with another text encoder; both are named.
        """
        if self.fingerprint != model.fingerprint:
            raise ValueError(
                f"the edit was solved on the text encoder of {self.model} ({self.fingerprint[:12]}), "
                f"and {model.name} has another ({model.fingerprint[:12]}); solve the recipe on {model.name}"
            )

    def delta(self, model: Model) -> dict[str, Float[Tensor, "d_out d_in"]]:
        """Matrix name -> dense ΔW at strength 1, float32, in the matrix's full shape.

        Raises:
            ValueError: a model with another text encoder.
        """
        self.check(model)
        deltas, read = {}, reader(self.factors)
        for site in self.sites(model):
            weight = model.matrix(site.name)
            deltas[site.name] = torch.zeros_like(weight, dtype=torch.float32)
            deltas[site.name][:, : site.columns] = read(site, weight)
        return deltas

    @contextmanager
    def applied(self, model: AnyModel, strength: float = 1.0) -> Iterator[AnyModel]:
        """Change the model's matrices inside a `with` block, and put the very same bits back after it.

        Blocks nest: the inner edit acts on what the outer one made. `strength` 0 leaves the model as it is.

        Raises:
            ValueError: a model with another text encoder, NaN in its weights or an overflow; nothing is changed then.
        """
        self.check(model)
        with gated(model, self.gates, strength):
            before = self._write(model, strength)
            try:
                yield model
            finally:
                if before:
                    restore(text_columns(model, self.sites(model)), before)

    def merge_into(self, model: Model, strength: float = 1.0) -> None:
        """Change the model's matrices for good; each is rounded once to its own dtype.

        Raises:
            ValueError: as `applied`, or a gate, which is no change of weights; nothing is changed then.
        """
        self.refuse_gate("merged into a model's weights")
        self._write(model, strength)

    def refuse_gate(self, what: str) -> None:
        """Refuse what only a change of weights can be.

        Raises:
            ValueError: the edit is a gate.
        """
        if self.gates:
            raise ValueError(
                f"a gated edit moves rows of the text embedding while a model is served, and cannot be {what}; "
                "apply it with `applied`, or solve the recipe with method 'guarded'"
            )

    def without(self, *concepts: str, model: Model | None = None) -> Edit:
        """The edit of the same recipe without these concepts, solved anew from the statistics, or from `model`.

        Raises:
            ValueError: a concept it does not change, or neither statistics nor a model to solve from.
        """
        if model is not None:
            return solve(model, self.recipe.without(*concepts))
        return solve_statistics(self._statistics("taking a concept out").without(*concepts))

    def __add__(self, other: Edit) -> Edit:
        """The joint edit, solved from both statistics; the order of adding does not matter.

        Raises:
            ValueError: an edit without statistics, another text encoder or settings, a concept changed in two ways.
        """
        if not isinstance(other, Edit):
            return NotImplemented
        return solve_statistics(self._statistics("adding edits") + other._statistics("adding edits"))

    def save(self, path: str | os.PathLike[str], *, statistics: bool = False) -> None:
        """Write a safetensors file; the old one stays until the new one is whole.

        `statistics` also writes what it was solved from, so that the loaded edit can be added to and taken from.

        Raises:
            OSError: the file cannot be written.
        """
        tensors = named_tensors(self.factors, self.gates)
        header: dict[str, Any] = {"format": FORMAT, "toolkit": self.toolkit, "model": self.model}
        header |= {"text_encoder": self.fingerprint, "ridge": self.recipe.ridge}
        header |= {"recipe": json.loads(self.recipe.compact()), "counts": dict(self.counts)}
        header |= {"corpus": self.corpus} if self.corpus else {}
        header |= {"predicted": {name: dict(told) for name, told in self.predicted.items()}} if self.predicted else {}
        if statistics:
            held = self._statistics("saving them")
            header["statistics"] = held.header()
            tensors |= {STATISTICS + name: value for name, value in held.tensors().items()}
        write_tensors(path, tensors, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Edit:
        """Read an edit file. One of rewritten facts comes back as a `FactEdit`, which has the same verbs.

        Raises:
            ValueError: a pickle, a truncated or foreign file, or factors that do not fit; the message names the file.
            OSError: the file cannot be read.
        """
        if format_of(path) == FACTS:
            from concept_edit.language.edit import FactEdit

            return cast(Any, FactEdit.load(path))
        tensors, header = read_tensors(path, FORMAT)
        try:
            return cls(**fields_of(tensors, header))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else sentence(error)
            raise ValueError(f"{path} is not a whole edit file ({reason}); solve or fetch it again") from error

    def _write(self, model: Model, strength: float) -> dict[str, Tensor]:
        self.check(model)
        return write(model, self.sites(model), self.factors, strength)

    def _statistics(self, what: str) -> Statistics:
        if self.statistics is None:
            raise ValueError(
                f"{what} needs the statistics the edit was solved from, and its file was saved without them; "
                "solve its recipe anew, or save edits with statistics=True"
            )
        return self.statistics


def solve(
    model: Model,
    recipe: Recipe,
    *,
    corpus: Corpus | None = None,
    batch_size: int = 32,
    strict: bool = False,
    progress: bool = False,
) -> Edit:
    """Collect the recipe's statistics from the model's text encoder and solve them: `collect`, `solve_statistics`.

    Raises:
        ValueError: as these two.
    """
    found = collect(model, recipe, corpus=corpus, batch_size=batch_size, strict=strict, progress=progress)
    return solve_statistics(found)


def solve_statistics(statistics: Statistics, recipe: Recipe | None = None) -> Edit:
    """The edit that answers the statistics' recipe, or `recipe` with the same concepts and other scales.

    In float64 on the CPU; the same statistics give the same bits. What it costs is told by `answer`.

    Raises:
        ValueError: a recipe about other prompts, a ridge too small for the rows, or a guarded solve that foretells
            pictures of noise: more concepts than one matrix holds.
    """
    recipe = statistics.recipe if recipe is None else recipe
    for name in ("edits", "kept", "tokens", "layers"):
        if getattr(recipe, name) != getattr(statistics.recipe, name):
            raise ValueError(f"the statistics were collected for other {name}; collect the new recipe")
    held = replace(statistics, recipe=recipe)
    return Edit(
        recipe,
        **answer(held)._asdict(),
        model=statistics.model,
        fingerprint=statistics.fingerprint,
        statistics=held,
        toolkit=__version__,
        corpus=statistics.corpus,
    )
