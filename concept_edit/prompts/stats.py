"""What a solve needs to know: rows of sources, goals and kept prompts per text stream.

They add, and a concept can be taken out again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import ValidationError
from torch import Tensor

from concept_edit.files import read_tensors, write_tensors
from concept_edit.memory.guard import Surroundings
from concept_edit.memory.solve import Problem
from concept_edit.reading.kinds import STATISTICS
from concept_edit.recipe import Recipe, explain, normal


@dataclass(frozen=True)
class Rows:
    """Rows with a weight and an owner each: pairs of source and goal, or kept rows, whose goal is themselves."""

    sources: Float[Tensor, "rows d_text"]
    goals: Float[Tensor, "rows d_text"] | None
    """None: each row's goal is the row itself."""
    weights: Float[Tensor, " rows"]
    """Float64; the recipe's own weights, before its scales."""
    owner: Int[Tensor, " rows"]
    """Index into `recipe.edits`, or `recipe.kept`, of each row."""
    moment: Float[Tensor, "d_text d_text"] | None = None
    """Σ w c cᵀ of rows no longer held, float64."""
    cross: Float[Tensor, "d_text d_text"] | None = None
    """Σ w (t − c) cᵀ of pairs no longer held, float64."""
    whole: Bool[Tensor, " rows"] | None = None
    """Whether a row has read the whole concept: of "red apple" that of "apple" and what follows, not that of "red".
    None: nobody noted it."""

    @property
    def summed(self) -> bool:
        """Whether some rows are held as sums only."""
        return self.moment is not None

    def pick(self, owners: Sequence[int]) -> Rows:
        """The rows of these owners, numbered anew in the given order."""
        found = [(self.owner == old).nonzero().flatten() for old in owners]
        index = torch.cat([*found, self.owner[:0]])
        owner = [torch.full_like(rows, new) for new, rows in enumerate(found)]
        goals = None if self.goals is None else self.goals[index]
        numbers = torch.cat([*owner, self.owner[:0]])
        whole = None if self.whole is None else self.whole[index]
        return Rows(self.sources[index], goals, self.weights[index], numbers, whole=whole)

    def renumber(self, numbers: Mapping[int, int]) -> Rows:
        """The same rows, each owner `n` called `numbers[n]`, sorted by owner."""
        owner = torch.tensor([numbers[int(n)] for n in self.owner], dtype=torch.long)
        order = owner.argsort(stable=True)
        goals = None if self.goals is None else self.goals[order]
        rows = replace(self, sources=self.sources[order], goals=goals, weights=self.weights[order], owner=owner[order])
        return rows if self.whole is None else replace(rows, whole=self.whole[order])

    def __add__(self, other: Rows) -> Rows:
        goals = None if self.goals is None or other.goals is None else torch.cat([self.goals, other.goals])
        return Rows(
            torch.cat([self.sources, other.sources]),
            goals,
            torch.cat([self.weights, other.weights]),
            torch.cat([self.owner, other.owner]),
            plus(self.moment, other.moment),
            plus(self.cross, other.cross),
            None if self.whole is None or other.whole is None else torch.cat([self.whole, other.whole]),
        )


@dataclass(frozen=True)
class Stream:
    """One text stream's share of the statistics."""

    pairs: Rows
    kept: Rows
    around: Surroundings | None = None
    """What else should stay, for guarded and gated solves."""

    @property
    def width(self) -> int:
        """d_text."""
        return self.pairs.sources.shape[1]

    def problem(self, recipe: Recipe) -> Problem:
        """The least squares these rows pose under the recipe's scales."""
        erase, keep = recipe.erase_scale, recipe.kept_scale
        assert self.pairs.goals is not None
        return Problem(
            self.pairs.sources,
            self.pairs.goals,
            self.pairs.weights * erase,
            self.kept.sources,
            self.kept.weights * keep,
            recipe.ridge,
            moment=plus(_times(erase, self.pairs.moment), _times(keep, self.kept.moment)),
            cross=_times(erase, self.pairs.cross),
        )


@dataclass(frozen=True)
class Statistics:
    """All a solve needs to know: no model, no images. `solve_statistics` turns it into an edit."""

    recipe: Recipe
    streams: Mapping[str, Stream]
    model: str
    """Name of the model that encoded the prompts."""
    fingerprint: str
    """Of its text encoders."""
    cut: Mapping[str, str] = field(default_factory=dict)
    """Prompt -> the text that the tokenizer's length cut off."""
    corpus: str = ""
    """Identity of the corpus that guarded and gated solves hold still."""
    common: tuple[str, ...] = ()
    """The prompts of common names whose rows the streams' surroundings hold."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file; the old one stays until the new one is whole."""
        write_tensors(path, self.tensors(), {"format": STATISTICS, **self.header()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Statistics:
        """Read what `save` wrote.

        Raises:
            ValueError: not such a file, a truncated one, or tensors that do not fit the header; the file is named.
        """
        tensors, header = read_tensors(path, STATISTICS)
        try:
            return cls.read(tensors, header)
        except ValidationError as error:
            raise ValueError(f"{path} is not a whole file of statistics ({explain(error)}); collect it again") from None

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under its name in a file, `<stream>.pairs.sources` and so on."""
        named = {
            f"{name}.{part}.{key}": value
            for name, stream in self.streams.items()
            for part, rows in (("pairs", stream.pairs), ("kept", stream.kept), ("around", stream.around))
            if rows is not None
            for key, value in vars(rows).items()
        }
        return {name: value.contiguous() for name, value in named.items() if value is not None}

    def header(self) -> dict[str, Any]:
        """Everything else a file needs."""
        recipe = json.loads(self.recipe.compact())
        about = {"recipe": recipe, "model": self.model, "text_encoder": self.fingerprint, "cut": dict(self.cut)}
        return {**about, "streams": list(self.streams), "corpus": self.corpus, "common": list(self.common)}

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Statistics:
        """Put `tensors` and `header` together again."""
        streams = {
            name: Stream(
                _read_rows(tensors, f"{name}.pairs"),
                _read_rows(tensors, f"{name}.kept"),
                _read_around(tensors, f"{name}.around"),
            )
            for name in header["streams"]
        }
        recipe = Recipe.stored(header["recipe"])
        told, common = header.get("corpus", ""), tuple(header.get("common", ()))
        return cls(recipe, streams, header["model"], header["text_encoder"], header["cut"], told, common)

    def without(self, *concepts: str) -> Statistics:
        """The statistics of the same recipe with these concepts no longer changed.

        Raises:
            ValueError: a concept the recipe does not change, or rows that are held as sums only.
        """
        recipe = self.recipe.without(*concepts)
        stay = [i for i, edit in enumerate(self.recipe.edits) if edit in recipe.edits]
        for stream in self.streams.values():
            _refuse_sums(stream.pairs, "taking a concept out")
        streams = {name: replace(s, pairs=s.pairs.pick(stay)) for name, s in self.streams.items()}
        return replace(self, recipe=recipe, streams=streams)

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of both recipes joined. What stands in both counts once.

        Raises:
            ValueError: other encoders or settings, a concept changed in two ways, or shared rows held as sums only.
        """
        if not isinstance(other, Statistics):
            return NotImplemented
        if self.fingerprint != other.fingerprint or set(self.streams) != set(other.streams):
            raise ValueError(f"the two were collected with other text encoders: {self.model} and {other.model}")
        recipe = self.recipe + other.recipe
        edits = [_places(part.recipe.edits, recipe.edits) for part in (self, other)]
        kept = [_places(list(map(normal, p.recipe.kept)), list(map(normal, recipe.kept))) for p in (self, other)]
        streams = {
            name: Stream(
                _join(s.pairs, other.streams[name].pairs, *edits),
                _join(s.kept, other.streams[name].kept, *kept),
                _same(s.around, other.streams[name].around),
            )
            for name, s in self.streams.items()
        }
        common = self.common if self.common == other.common else ()
        if not common:
            streams = {name: replace(s, around=s.around and s.around.without_common()) for name, s in streams.items()}
        return replace(self, recipe=recipe, streams=streams, cut={**self.cut, **other.cut}, common=common)


def _read_rows(tensors: Mapping[str, Tensor], prefix: str) -> Rows:
    return Rows(
        tensors[f"{prefix}.sources"],
        tensors.get(f"{prefix}.goals"),
        tensors[f"{prefix}.weights"],
        tensors[f"{prefix}.owner"],
        tensors.get(f"{prefix}.moment"),
        tensors.get(f"{prefix}.cross"),
        tensors.get(f"{prefix}.whole"),
    )


def _read_around(tensors: Mapping[str, Tensor], prefix: str) -> Surroundings | None:
    if f"{prefix}.moment" not in tensors:
        return None
    return Surroundings(**{field.name: tensors.get(f"{prefix}.{field.name}") for field in fields(Surroundings)})  # type: ignore[arg-type]


def _same(a: Surroundings | None, b: Surroundings | None) -> Surroundings | None:
    """The surroundings both were collected in; ordinary tokens are those that neither's concepts are asked for in."""
    if a is None or b is None:
        return None
    if not torch.equal(a.moment, b.moment) or not torch.equal(a.fixed, b.fixed):
        raise ValueError("the two were collected with other corpora; collect them with the same one")
    if torch.equal(a.ordinary, b.ordinary):
        return a
    common = set(map(_bytes, a.ordinary)) & set(map(_bytes, b.ordinary))
    return replace(a, ordinary=a.ordinary[[i for i, row in enumerate(a.ordinary) if _bytes(row) in common]])


def _bytes(row: Tensor) -> bytes:
    return row.numpy().tobytes()


def _places(mine: Sequence[object], joint: Sequence[object]) -> dict[int, int]:
    return {old: joint.index(item) for old, item in enumerate(mine)}


def _join(a: Rows, b: Rows, mine: Mapping[int, int], theirs: Mapping[int, int]) -> Rows:
    """Rows of both under their new numbers; what both have is taken once."""
    shared = set(mine.values()) & set(theirs.values())
    if shared == set(theirs.values()):
        return a.renumber(mine)
    if shared == set(mine.values()):
        return b.renumber(theirs)
    if shared and b.summed:
        a, b, mine, theirs = b, a, theirs, mine
    if shared:
        _refuse_sums(b, "joining what both keep")
        b = b.pick([old for old, new in theirs.items() if new not in shared])
        theirs = dict(enumerate(new for new in theirs.values() if new not in shared))
    both = a.renumber(mine) + b.renumber(theirs)
    return both.renumber({new: new for new in (*mine.values(), *theirs.values())})


def _refuse_sums(rows: Rows, what: str) -> None:
    if rows.summed:
        raise ValueError(
            f"{what} needs the single rows, which were too many to hold; solve the new recipe with its model"
        )


def plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """The sum of two matrices, where None is nothing."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _times(scale: float, matrix: Tensor | None) -> Tensor | None:
    return None if matrix is None else scale * matrix
