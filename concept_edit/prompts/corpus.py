"""What ordinary captions look like to a text encoder: the moment that guarded and gated edits hold still.

    corpus = collect_corpus(model, captions)      # streamed, d_text x d_text memory however many captions
    corpus.save("k0.safetensors"); edit = solve(model, recipe, corpus=corpus)
    whole = shard_a + shard_b                      # sums: shards and processes merge

K0 = E k kᵀ over caption tokens: every subject token, EOS, and three pad rows that count as one between them. BOS is the
same in every prompt of a causal encoder and is held by an equality of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from concept_edit.files import read_tensors, write_tensors
from concept_edit.identity import digest
from concept_edit.memory.guard import Surroundings
from concept_edit.memory.solve import row_moment
from concept_edit.models.contract import Model
from concept_edit.prompts.captions import plain_captions
from concept_edit.prompts.kept import keep, recall
from concept_edit.prompts.tokens import PromptRows, prompt_rows
from concept_edit.reading.kinds import CORPUS as FORMAT
from concept_edit.reading.lists import csv_table, named
from concept_edit.reading.plain import read_text
from concept_edit.recipe import Recipe, normal

_SAMPLE = 1024
"""Caption tokens of a stream that are kept as they are, for gates."""
WIDE = 4096
"""Width from which on d_text x d_text matrices are not made: 15,360 in FLUX.2, where one takes 1.9 GB."""
_FAINT = 1e-4
"""Of the mean square of all channels; what lies below is not divided by."""
_SAVE_EVERY = 512
"""Captions between two saves of a run that can be resumed."""
_BATCH = 64
_HALF = 65504.0
"""The largest number of float16."""
_MOST_CAPTIONS = 1 << 30
"""Bytes of a file of captions: ten million short ones."""


@dataclass(frozen=True)
class Moments:
    """One stream's sums over caption tokens."""

    square: Float[Tensor, "rows d_text"]
    """Σ w k kᵀ, float64; of streams wider than `WIDE` its diagonal alone, as one row."""
    total: Float[Tensor, " d_text"]
    """Σ w k, float64."""
    weight: float
    """Σ w."""
    sample: Float[Tensor, "tokens d_text"]
    """Tokens of the first captions, float16."""
    caption: Int[Tensor, " tokens"]
    """Which caption of `Corpus.sampled` each of them is of."""

    @property
    def channels(self) -> Float[Tensor, " d_text"]:
        """E k² of each channel, float64."""
        return (self.square[0] if len(self.square) == 1 else self.square.diagonal()) / self.weight

    def plus(self, other: Moments, offset: int) -> Moments:
        """Sums of both; the other's sampled captions are counted from `offset` on."""
        room = max(0, _SAMPLE - len(self.sample))
        return Moments(
            self.square + other.square,
            self.total + other.total,
            self.weight + other.weight,
            torch.cat([self.sample, other.sample[:room]]),
            torch.cat([self.caption, other.caption[:room] + offset]),
        )


@dataclass(frozen=True)
class Corpus:
    """What `collect_corpus` saw."""

    streams: Mapping[str, Moments]
    captions: int
    """How many were read."""
    sampled: tuple[str, ...]
    """The captions whose tokens are kept as they are."""
    model: str
    fingerprint: str
    """Of the text encoders."""

    @property
    def identity(self) -> str:
        """A hash of the sums, short enough to show."""
        facts = {n: [_trace(m.square), float(m.total.sum()), m.weight] for n, m in self.streams.items()}
        return digest({"streams": facts, "captions": self.captions, "text_encoder": self.fingerprint})[:16]

    def around(
        self,
        stream: str,
        recipe: Recipe,
        fixed: Float[Tensor, "fixed d_text"],
        lens: Float[Tensor, "seen d_text"] | None = None,
    ) -> Surroundings:
        """What a solve should leave alone in a stream: K0, shrunk towards a multiple of the identity by the share that
        d_text has in d_text and tokens together; its mean; and tokens of captions that ask for none of the concepts.

        With a `lens`, what the readers make of rows, lengths are those it sees and the ridge is relative to each
        channel. In a stream wider than `WIDE` the sampled tokens alone make up K0, as rows."""
        found = self.streams[stream]
        scale = None if lens is None else (found.channels / found.channels.mean()).clamp(min=_FAINT).sqrt()
        moment, floor = _moment(found, scale)
        asked = [normal(concept) for concept in recipe.concepts]
        clear = torch.tensor(
            [not any(word in normal(text) for word in asked) for text in self.sampled], dtype=torch.bool
        )
        ordinary = found.sample[clear[found.caption]] if len(self.sampled) else found.sample
        mean = found.total / found.weight
        return Surroundings(moment, mean, fixed, ordinary.float(), floor=floor, scale=scale, lens=lens)

    def __add__(self, other: Corpus) -> Corpus:
        """The corpus of both.

        Raises:
            ValueError: another text encoder.
        """
        if not isinstance(other, Corpus):
            return NotImplemented
        if self.fingerprint != other.fingerprint:
            raise ValueError(f"the two were read with other text encoders: {self.model} and {other.model}")
        full = all(len(found.sample) >= _SAMPLE for found in self.streams.values())
        sampled = self.sampled if full else self.sampled + other.sampled
        offset = len(self.sampled)
        streams = {name: found.plus(other.streams[name], offset) for name, found in self.streams.items()}
        return Corpus(streams, self.captions + other.captions, sampled, self.model, self.fingerprint)

    def save(self, path: str | os.PathLike[str], *, more: Mapping[str, Any] | None = None) -> None:
        """Write a safetensors file; the old one stays until the new one is whole."""
        write_tensors(path, self.tensors(), self.header() | dict(more or {}))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under its name in a file."""
        return {
            f"{name}.{key}": getattr(found, key).contiguous()
            for name, found in self.streams.items()
            for key in ("square", "total", "sample", "caption")
        }

    def header(self) -> dict[str, Any]:
        """Everything else a file needs."""
        about = {"format": FORMAT, "captions": self.captions, "sampled": list(self.sampled), "model": self.model}
        about["text_encoder"] = self.fingerprint
        return about | {"weights": {name: found.weight for name, found in self.streams.items()}}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Corpus:
        """Read what `save` wrote.

        Raises:
            ValueError: not such a file, or a truncated one.
        """
        return cls.read(*read_tensors(path, FORMAT))

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Corpus:
        """Put `tensors` and `header` together again."""
        streams = {
            name: Moments(
                tensors[f"{name}.square"],
                tensors[f"{name}.total"],
                weight,
                tensors[f"{name}.sample"],
                tensors[f"{name}.caption"],
            )
            for name, weight in header["weights"].items()
        }
        return cls(streams, header["captions"], tuple(header["sampled"]), header["model"], header["text_encoder"])


def collect_corpus(
    model: Model,
    captions: Sequence[str],
    *,
    out: str | os.PathLike[str] | None = None,
    batch_size: int = _BATCH,
    progress: bool = False,
) -> Corpus:
    """Read captions through the model's text encoder, in memory that does not grow with their number.

    With `out` the corpus is written there as it grows; called again with the same captions, it goes on where it was.

    Raises:
        ValueError: no caption, or a file at `out` begun with other captions or another text encoder.
    """
    if not captions:
        raise ValueError("no caption to read; give a text file, one a line, or a CSV with a 'prompt' column")
    mark = digest(list(captions))
    found = _begun(model, out, mark)
    done = found.captions if found else 0
    rest = iter(captions[done:])
    with tqdm(total=len(captions), initial=done, desc="reading", unit="caption", disable=not progress) as bar:
        while batch := list(islice(rest, batch_size)):
            seen = _batch(model, batch)
            found = seen if found is None else found + seen
            bar.update(len(batch))
            if out is not None and (found.captions % _SAVE_EVERY < batch_size or found.captions == len(captions)):
                found.save(out, more={"of": mark})
    assert found is not None
    return found


def read_captions(path: str | os.PathLike[str], *, limit: int | None = None) -> list[str]:
    """Captions of a text file, one a line, or of a CSV's `prompt` or `caption` column.

    Raises:
        ValueError: a CSV without such a column, or no caption in it.
        OSError: the file cannot be read.
    """
    text = read_text(path, most=_MOST_CAPTIONS)
    listed = list(_csv_captions(text, path)) if Path(path).suffix.lower() == ".csv" else text.splitlines()
    captions = [line.strip() for line in listed if line.strip()][:limit]
    if not captions:
        raise ValueError(f"{path} holds no caption; write one a line, or a CSV with a 'prompt' column")
    return captions


def default_corpus(model: Model) -> Corpus:
    """Plain captions as the model sees them, from the user's cache folder where they were read before."""
    captions = plain_captions()
    return read_once(model, {"captions": digest(captions)}, lambda: collect_corpus(model, captions))


def read_once(model: Model, what: Mapping[str, str], read: Callable[[], Corpus]) -> Corpus:
    """The corpus that `read` would read from the texts that `what` tells, from the user's cache folder where the same
    text encoder read them before."""
    about = {"text_encoder": model.fingerprint, "arithmetic": model.arithmetic, **what}
    held = recall(about, FORMAT)
    if held is not None:
        return Corpus.read(*held)
    found = read()
    keep(about, found.tensors(), found.header())
    return found


def _csv_captions(text: str, path: str | os.PathLike[str]) -> Iterator[str]:
    columns, rows = csv_table(text, str(path))
    column = next((name for name in ("prompt", "caption") if name in columns), None)
    if column is None:
        raise ValueError(f"{path}: expected a 'prompt' or 'caption' column, found {named(columns)}")
    for _, row in rows:
        yield row[column]


def _begun(model: Model, out: str | os.PathLike[str] | None, mark: str) -> Corpus | None:
    """What an earlier run left at `out`."""
    if out is None or not Path(out).exists():
        return None
    tensors, header = read_tensors(out, FORMAT)
    if header.get("of") != mark or header["text_encoder"] != model.fingerprint:
        raise ValueError(f"{out} was begun with other captions or another text encoder; give another name")
    return Corpus.read(tensors, header)


def _batch(model: Model, captions: Sequence[str]) -> Corpus:
    encoded = model.encode(captions, batch_size=len(captions))
    streams = {
        name: _moments([prompt_rows(stream, i) for i in range(len(captions))]) for name, stream in encoded.items()
    }
    return Corpus(streams, len(captions), tuple(captions), model.name, model.fingerprint)


def _moments(prompts: Sequence[PromptRows]) -> Moments:
    places = [_places(prompt) for prompt in prompts]
    rows = torch.cat([prompt.rows[list(own)] for prompt, own in zip(prompts, places, strict=True)])
    weights = torch.tensor([w for own in places for w in own.values()], dtype=torch.float64)
    which = torch.tensor([i for i, own in enumerate(places) for _ in own])
    total = (weights[:, None] * rows.double()).sum(dim=0)
    square = row_moment(rows, weights) if rows.shape[1] <= WIDE else _diagonal(rows, weights)
    return Moments(square, total, float(weights.sum()), _halved(rows[:_SAMPLE]), which[:_SAMPLE])


def sampled_rows(prompts: Sequence[Float[Tensor, "rows d_text"]]) -> Moments:
    """Some rows of each prompt, all of them sampled, with their sums."""
    rows = torch.cat(list(prompts))
    which = torch.tensor([i for i, own in enumerate(prompts) for _ in own])
    weights = torch.ones(len(rows), dtype=torch.float64)
    return Moments(_diagonal(rows, weights), rows.double().sum(dim=0), float(len(rows)), _halved(rows), which)


def _halved(rows: Tensor) -> Tensor:
    return rows.clamp(-_HALF, _HALF).half()


def _diagonal(rows: Tensor, weights: Tensor) -> Float[Tensor, "1 d_text"]:
    return (weights.sqrt()[:, None] * rows.double()).square().sum(dim=0, keepdim=True)


def _trace(square: Tensor) -> float:
    return float(square.sum() if len(square) == 1 else square.trace())


def _moment(found: Moments, scale: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """K0 and no floor; or rows of it and what is left for all channels alike."""
    width, mean = len(found.total), found.channels.mean()
    squares = torch.ones(width, dtype=torch.float64) if scale is None else scale.square()
    if len(found.square) > 1:
        shrink = width / (width + found.weight)
        return (1 - shrink) * found.square / found.weight + shrink * mean * squares.diag(), None
    shrink = width / (width + len(found.sample))
    rows = found.sample.float() * math.sqrt((1 - shrink) / max(1, len(found.sample)))
    return rows, shrink * mean


def _places(prompt: PromptRows) -> dict[int, float]:
    """Row -> weight: subject tokens and EOS 1 each, the pads 1 between them; a pooled vector 1."""
    if prompt.pooled:
        return {0: 1.0}
    own = {token: 1.0 for span in prompt.spans for token in (*span.subject, *span.suffix)}
    return own | {pad: 1 / len(span.pads) for span in prompt.spans for pad in span.pads}
