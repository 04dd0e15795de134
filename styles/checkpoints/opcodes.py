"""The opcodes of a pickle, one after another, over memory that is not copied; which are constants and which texts."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from typing import Any

from styles.checkpoints.stored import UnsafeFileError

CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list,
}  # fmt: skip
LITERALS = frozenset({
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8", "UNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING",
    "STRING",
})  # fmt: skip
IGNORED = frozenset({"PROTO", "FRAME"})


def operations(data: memoryview, start: int) -> Iterator[tuple[str, Any, int]]:
    """The opcodes of one pickle; damage is told as UnsafeFileError."""
    try:
        for op, arg, position in pickletools.genops(_Window(data[start:])):  # type: ignore[arg-type]
            yield op.name, arg, position or 0
    except (ValueError, OverflowError, MemoryError, UnicodeError) as error:
        if isinstance(error, UnsafeFileError):
            raise
        raise UnsafeFileError(f"the file is damaged or cut off ({str(error)[:80]}).") from None


class _Window:
    """A read-only file over memory that is not copied as a whole."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.position = data, 0

    def tell(self) -> int:
        return self.position

    def read(self, count: int) -> bytes:
        found = bytes(self.data[self.position : self.position + max(count, 0)])
        self.position += len(found)
        return found

    def readline(self) -> bytes:
        piece = bytes(self.data[self.position : self.position + 4096])
        found = piece[: piece.find(b"\n") + 1]
        self.position += len(found)
        return found
