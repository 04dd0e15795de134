"""Reading safetensors: whole headers, chosen tensors, and clear words for damaged or unsafe files.

Tensors are read into memory of their own, never mapped: what a program looks at and lets go takes no room afterwards,
whatever the size of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import RawIOBase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concept_edit.reading.plain import read_object
from concept_edit.reading.tables import opened as bounded

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
PICKLED = (".ckpt", ".bin", ".pt", ".pth")
GGUF = ".gguf"
HOW_TO_CONVERT = (
    "convert it on a machine you can spare, e.g. `from safetensors.torch import save_file; "
    "save_file(torch.load(path, weights_only=True), 'model.safetensors')`, and open the .safetensors file"
)


FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
SCALES = (".scale_weight", ".weight_scale")
"""What stands in place of `.weight` in the name of the number that float8 weights are multiplied by."""
_PACKED = (torch.int8, torch.uint8)
_FETCH = "fetch the model in float16 or bfloat16 and open that"


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """`safe_open`, with a ValueError that names a damaged or foreign file."""
    if path.suffix in PICKLED:
        raise ValueError(f"{path} is a pickled file, which can run code when read: refused; {HOW_TO_CONVERT}.")
    if not path.is_file():
        raise ValueError(f"{path} is not a file.")
    if path.suffix == GGUF:
        raise ValueError(f"{path} is a GGUF file, which is not read here: {_FETCH}, as safetensors.")
    with bounded(path) as file:
        yield file


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
            with path.open("rb", buffering=0) as file:
                found |= {name: self._tensor(file, name) for name in names if self.where[name] == path}
        return {name: found[name] for name in names}

    def dtype(self, name: str) -> torch.dtype:
        """The dtype a matrix is stored in."""
        return self._about(name)[0]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._about(name)[1]

    def refuse_packed(self, names: Iterable[str]) -> None:
        """Refuse weights that are several numbers in one, or float8 with a scale of its own.

        Raises:
            ValueError: the first of `names` that is, and what to open instead.
        """
        for name in names:
            scaled = [s for ending in SCALES if (s := name.removesuffix(".weight") + ending) in self.where]
            kind = self.dtype(name)
            if kind in _PACKED or (kind in FLOAT8 and scaled):
                with_scale = f" with a scale ({scaled[0]})" if scaled else ""
                told = str(kind).removeprefix("torch.")
                raise ValueError(f"{name} in {self.place} is quantised: it is stored as {told}{with_scale}; {_FETCH}.")

    @cached_property
    def _tables(self) -> dict[Path, tuple[dict[str, Any], int]]:
        """Of each file the header, and where its data begin. `opened` has found them whole."""
        found: dict[Path, tuple[dict[str, Any], int]] = {}
        for path in dict.fromkeys(self.where.values()):
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                found[path] = json.loads(file.read(length)), 8 + length
        return found

    def _about(self, name: str) -> tuple[torch.dtype, tuple[int, ...], int]:
        """A tensor's dtype, its shape, and its first byte in its file."""
        table, start = self._tables[self.where[name]]
        about = table[name]
        if about["dtype"] not in _DTYPES:
            raise ValueError(f"{name} in {self.place} is stored as {about['dtype']}, which is not read here; {_FETCH}.")
        return _DTYPES[about["dtype"]], tuple(about["shape"]), start + about["data_offsets"][0]

    def _tensor(self, file: RawIOBase, name: str) -> Tensor:
        dtype, shape, start = self._about(name)
        found = torch.empty(shape, dtype=dtype)
        if not found.numel():
            return found
        room: Any = found.reshape(-1).view(torch.uint8).numpy()
        file.seek(start)
        done = 0
        while done < len(room):
            step = file.readinto(room[done:])
            if not step:
                raise ValueError(f"{self.where[name]} ends inside {name}: it is truncated; fetch it again.")
            done += step
        return found


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
        if any(folder.glob(f"*{GGUF}")):
            raise ValueError(f"{folder} holds a GGUF file, which is not read here: {_FETCH}, as safetensors.")
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
        listed = read_object(index).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise ValueError(f"{index} has no weight_map of tensors to files; fetch it again.")
        ours = {variant_of(Path(name)) for name in listed.values()} == variants
        missing = [name for name in listed if name not in where] if ours else []
        if missing:
            raise ValueError(f"{folder / listed[missing[0]]} is missing; {index.name} lists it: fetch it again.")
