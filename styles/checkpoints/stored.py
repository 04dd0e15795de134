"""What a checkpoint may hold, as descriptions: classes by name, storages, tensors and arrays, checked before a byte is
touched."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_SHARING = 4
"""How often the numbers of one storage may be handed out: tensors that share them would multiply the memory."""


class UnsafeFileError(ValueError):
    """The file asks for something that is not plain weights, or is damaged."""


@dataclass(eq=False)
class Record:
    """An instance of a foreign class, kept as its name and its state."""

    name: str
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Name:
    """A global name that the table allows."""

    path: str


@dataclass(eq=False)
class Storage:
    """Raw numbers of one torch storage."""

    dtype: torch.dtype
    numel: int
    data: memoryview | None = None
    taken: int = 0


@dataclass(eq=False)
class StoredTensor:
    """Where a tensor lies in its storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """A copy of the numbers, after checking that they lie inside the storage."""
        sizes = (*self.size, *self.stride, self.offset)
        if any(not isinstance(n, int) or n < 0 for n in sizes) or len(self.size) != len(self.stride):
            raise UnsafeFileError("a tensor in the file has an impossible shape.")
        count = math.prod(self.size)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if self.storage.data is None or count > self.storage.numel or (count and last >= self.storage.numel):
            raise UnsafeFileError(
                f"a tensor of shape {self.size} does not fit into the {self.storage.numel} numbers stored."
            )
        if not count:
            return torch.empty(self.size, dtype=self.storage.dtype)
        self.storage.taken += last + 1 - self.offset
        if self.storage.taken > MAX_SHARING * self.storage.numel:
            raise UnsafeFileError("many tensors in the file share the same numbers; refused.")
        step = self.storage.dtype.itemsize
        span = bytearray(self.storage.data[self.offset * step : (last + 1) * step])
        return torch.frombuffer(span, dtype=self.storage.dtype).as_strided(self.size, self.stride).clone()


STORAGES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
ARRAY_TYPES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])


@dataclass(eq=False)
class ArrayType:
    """A plain numeric numpy dtype."""

    code: str
    order: str = "<"

    def dtype(self) -> np.dtype[Any]:
        """The numpy type itself."""
        return np.dtype((self.order if self.order in "<>" else "") + self.code)


@dataclass(eq=False)
class Array:
    """A numpy array that is filled by BUILD."""

    values: np.ndarray[Any, Any] | None = None
