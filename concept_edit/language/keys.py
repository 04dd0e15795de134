"""What ordinary text puts into an MLP's memory: second moments of keys, so that an edit can leave them alone.

Five projects' users ask for such files; here any text does, or text the model says itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from concept_edit.files import read_tensors, write_tensors
from concept_edit.identity import digest, tensor_digest
from concept_edit.language.contexts import starts
from concept_edit.language.model import LanguageModel
from concept_edit.language.states import states
from concept_edit.language.tokens import Tokens
from concept_edit.memory.moments import Moment, condition, shrink
from concept_edit.reading.kinds import KEYS

_TOGETHER = 8
"""Texts of each beginning that a model says at a time."""


@dataclass(frozen=True, eq=False)
class KeyStatistics:
    """E[k kᵀ] of some layers' keys; made by `collect_keys` or `KeyStatistics.load`."""

    moments: Mapping[int, Float[Tensor, "d_key d_key"]]
    """Layer -> E[k kᵀ] as counted, float32."""
    tokens: int
    """How many keys were counted in each layer."""
    shrinkage: float
    """Share spread evenly over all directions when the moment is used."""
    model: str
    fingerprint: str
    corpus: str
    """What was read: a name and how many texts."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers it has."""
        return tuple(self.moments)

    def moment(self, layer: int) -> Float[Tensor, "d_key d_key"]:
        """The shrunk moment of a layer, float64.

        Raises:
            ValueError: a layer it does not have.
        """
        if layer not in self.moments:
            raise ValueError(f"these statistics have layers {_said(self.layers)} and not {layer}; collect that one too")
        return shrink(self.moments[layer], self.shrinkage)

    def conditions(self) -> dict[int, tuple[float, float]]:
        """Layer -> largest by smallest eigenvalue, as counted and shrunk."""
        return {n: (condition(held), condition(self.moment(n))) for n, held in self.moments.items()}

    @property
    def identity(self) -> str:
        """One hash for what an edit is solved from."""
        held = {str(layer): tensor_digest(moment) for layer, moment in self.moments.items()}
        return digest({"moments": held, "shrinkage": self.shrinkage, "model": self.fingerprint})

    @property
    def told(self) -> str:
        """Tokens, text, and each layer's conditioning in one line."""
        parts = [f"layer {n}: {raw:.1e}, shrunk {used:.1e}" for n, (raw, used) in self.conditions().items()]
        return f"{self.tokens} tokens of {self.corpus}; conditioning of {'; '.join(parts)}"

    def check(self, lm: LanguageModel) -> None:
        """Refuse a model they were not collected on.

        Raises:
            ValueError: another model; both are named.
        """
        if lm.fingerprint != self.fingerprint:
            raise ValueError(
                f"the keys were collected on {self.model} ({self.fingerprint[:12]}) and this is {lm.name} "
                f"({lm.fingerprint[:12]}); collect them on this model"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file bound to the model; the old one stays until the new one is whole."""
        header = {"format": KEYS, "tokens": self.tokens, "shrinkage": self.shrinkage, "corpus": self.corpus}
        header |= {"model": self.model, "fingerprint": self.fingerprint, "layers": list(self.layers)}
        write_tensors(path, {f"layer.{n}": moment for n, moment in self.moments.items()}, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KeyStatistics:
        """Read what `save` wrote.

        Raises:
            ValueError: not such a file, or a truncated one.
        """
        tensors, header = read_tensors(path, KEYS)
        moments = {int(name.removeprefix("layer.")): value for name, value in tensors.items()}
        held = {layer: moments[layer] for layer in sorted(moments)}
        return cls(held, *(header[key] for key in ("tokens", "shrinkage", "model", "fingerprint", "corpus")))


def collect_keys(
    lm: LanguageModel,
    layers: Sequence[int],
    corpus: str | os.PathLike[str] | Iterable[str] | None = None,
    *,
    tokens: int = 100_000,
    length: int = 128,
    batch_size: int = 16,
    shrinkage: float = 0.01,
    seed: int = 0,
    progress: bool = False,
) -> KeyStatistics:
    """Second moments of the keys of `layers` over text, a batch at a time: memory does not grow with the text.

    `corpus`: a text file (one text a line) or a folder of .txt files, texts, or None for text the model says itself.
    Reading stops after `tokens`; texts are cut into pieces of `length` tokens.
    `shrinkage`: share of the moment spread evenly; 0.01 keeps it well conditioned where few tokens were read.

    Raises:
        ValueError: no text, or a file that is none.
    """
    sites = {lm.site("memory", layer).layer: lm.site("memory", layer) for layer in layers}
    if not sites:
        raise ValueError("no layers to collect keys of; give some numbers of layers")
    moments = {layer: Moment.empty(site.width) for layer, site in sites.items()}
    name, texts = _texts(lm, corpus, tokens, length, seed)
    bar, seen, read = tqdm(total=tokens, unit="tokens", disable=not progress), 0, 0
    for run, number in _runs(lm, texts, length, batch_size):
        found = states(lm, run, list(sites.values()))
        for layer, site in sites.items():
            moments[layer].add(found[site][run.mask])
        seen, read = seen + int(run.mask.sum()), number
        bar.update(int(run.mask.sum()))
        if seen >= tokens:
            break
    bar.close()
    if not seen:
        raise ValueError(f"{name} holds no text; give one text a line")
    held = {layer: moments[layer].mean.float() for layer in sorted(moments)}
    return KeyStatistics(held, seen, shrinkage, lm.name, lm.fingerprint, f"{read} texts of {name}")


def _texts(
    lm: LanguageModel, corpus: str | os.PathLike[str] | Iterable[str] | None, tokens: int, length: int, seed: int
) -> tuple[str, Iterator[str]]:
    if corpus is None:
        return "the model's own", _own_texts(lm, tokens, length, seed)
    if isinstance(corpus, str | os.PathLike):
        path = Path(corpus)
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise ValueError(f"{corpus} is neither a text file nor a folder of .txt files")
        return path.name, _lines(files)
    return "the caller's", (text for text in corpus if text.strip())


def _lines(files: Sequence[Path]) -> Iterator[str]:
    for path in files:
        with path.open(encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip())


def _own_texts(lm: LanguageModel, tokens: int, length: int, seed: int) -> Iterator[str]:
    """More than enough; each round draws anew."""
    begun = starts(lm)
    room = min(length, int(getattr(lm.model.config, "max_position_embeddings", length)))
    room -= max(lm.encode(begun).lengths)
    rounds = 1 + 2 * tokens // (len(begun) * room)
    together = min(_TOGETHER, rounds)
    begun = tuple(start for start in begun for _ in range(together))
    for round_ in range(-(-rounds // together)):
        said = lm.complete(begun, tokens=room, seed=seed + round_)
        yield from (start + text for start, text in zip(begun, said, strict=True))


def _runs(lm: LanguageModel, texts: Iterable[str], length: int, batch_size: int) -> Iterator[tuple[Tokens, int]]:
    """Batches of pieces, and how many texts were read until then."""
    pieces, number = list[Tensor](), 0
    for number, text in enumerate(texts, start=1):
        pieces += lm.own_ids(text).split(length)
        while len(pieces) >= batch_size:
            yield _batch(pieces[:batch_size]), number
            pieces = pieces[batch_size:]
    if pieces:
        yield _batch(pieces), number


def _batch(pieces: Sequence[Tensor]) -> Tokens:
    ids = torch.nn.utils.rnn.pad_sequence(list(pieces), batch_first=True)
    lengths = torch.tensor([len(piece) for piece in pieces], device=ids.device)
    mask = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
    return Tokens(("",) * len(pieces), ids, mask, tuple(((0, 0),) * len(piece) for piece in pieces))


def _said(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers)) or "none"
