"""Reading safetensors: whole headers, chosen tensors, and clear words for damaged or unsafe files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

PICKLED = (".ckpt", ".bin", ".pt", ".pth")
HOW_TO_CONVERT = (
    "convert it on a machine you can spare, e.g. `from safetensors.torch import save_file; "
    "save_file(torch.load(path, weights_only=True), 'model.safetensors')`, and open the .safetensors file"
)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """`safe_open`, with a ValueError that names a damaged or foreign file."""
    if path.suffix in PICKLED:
        raise ValueError(f"{path} is a pickled file, which can run code when read: refused; {HOW_TO_CONVERT}.")
    if not path.is_file():
        raise ValueError(f"{path} is not a file.")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); fetch it again.") from error


@dataclass(frozen=True)
class Weights:
    """The tensors of one model part, in one file or several shards; nothing is read until asked for."""

    place: Path
    """The file or folder, for messages."""
    where: Mapping[str, Path]
    """Tensor name -> the file it lies in."""

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read the named tensors, in the dtype of the file."""
        missing = [name for name in names if name not in self.where]
        if missing:
            raise ValueError(f"{self.place} lacks {missing[0]} ({len(missing)} of {len(names)} tensors missing).")
        found: dict[str, Tensor] = {}
        for path in dict.fromkeys(self.where[name] for name in names):
            with opened(path) as file:
                found |= {name: file.get_tensor(name) for name in names if self.where[name] == path}
        return {name: found[name] for name in names}

    def dtype(self, name: str) -> torch.dtype:
        """The dtype a matrix is stored in."""
        with opened(self.where[name]) as file:
            return file.get_slice(name)[:0].dtype

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        with opened(self.where[name]) as file:
            return tuple(file.get_slice(name).get_shape())


def one_file(path: Path) -> Weights:
    """The tensors of a single `.safetensors` file."""
    with opened(path) as file:
        return Weights(path, dict.fromkeys(file.keys(), path))


def part(folder: Path) -> Weights:
    """The tensors of one part of a diffusers folder (`unet/`, `text_encoder/`), shards and variants included."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = [path for path in folder.glob("*") if path.suffix in PICKLED] if folder.is_dir() else []
        if pickled:
            raise ValueError(
                f"{pickled[0]} is a pickled file, which can run code when read: refused; {HOW_TO_CONVERT}."
            )
        raise ValueError(f"{folder} holds no .safetensors weights; is the model folder complete?")
    chosen = _of_one_variant(files)
    where: dict[str, Path] = {}
    for path in chosen:
        with opened(path) as file:
            where |= dict.fromkeys(file.keys(), path)
    _check_index(folder, where)
    return Weights(folder, where)


def variant_of(path: Path) -> str | None:
    """The variant in a weight file's name: `fp16` of `model.fp16.safetensors` and its shards."""
    pieces = path.name.removesuffix(".safetensors").split(".")[1:]
    named = [piece.split("-")[0] for piece in pieces]
    return named[0] if named else None


def _of_one_variant(files: Sequence[Path]) -> list[Path]:
    """The plain files where there are some, else those of the first variant."""
    variants = {variant_of(path): None for path in files}
    chosen = None if None in variants else next(iter(variants))
    return [path for path in files if variant_of(path) == chosen]


def _check_index(folder: Path, where: Mapping[str, Path]) -> None:
    """A sharded part names its tensors in an index; a missing shard is named."""
    variants = {variant_of(path) for path in where.values()}
    for index in folder.glob("*.safetensors.index*.json"):
        listed = json.loads(index.read_text("utf-8"))["weight_map"]
        ours = {variant_of(Path(name)) for name in listed.values()} == variants
        missing = [name for name in listed if name not in where] if ours else []
        if missing:
            raise ValueError(f"{folder / listed[missing[0]]} is missing; {index.name} lists it: fetch it again.")
