"""Read pickled checkpoints without running anything in them.

Not `pickle.Unpickler`: a small interpreter of the pickle opcodes that knows a closed table of names. Any other name is
refused, embedded source code is never looked at, tensors become descriptions (`StoredTensor`) that are checked before a
byte is touched, and the number of opcodes, the nesting, keys and sizes are bounded.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_OPS = 150_000
"""Most opcodes in one file, pickles within pickles included; a 32 px official file holds 11,000."""
MAX_SHARING = 4
"""How often the numbers of one storage may be handed out: tensors that share them would multiply the memory."""
MAX_DEPTH = 200
"""Most open marks at a time."""


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


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def _array_type(*args: Any) -> ArrayType:
    if not args or not is_text(args[0]) or args[0] not in ARRAY_TYPES:
        raise UnsafeFileError(f"numpy type {str(args[:1])[:40]} is not a plain number type.")
    return ArrayType(args[0])


def _scalar(kind: Any, raw: Any = b"") -> Any:
    if not isinstance(kind, ArrayType) or not isinstance(raw, bytes) or len(raw) != kind.dtype().itemsize:
        raise UnsafeFileError("a numpy scalar in the file is damaged.")
    return np.frombuffer(raw, kind.dtype())[0].item()


def _tensor(*args: Any) -> StoredTensor:
    if len(args) < 4 or not isinstance(args[0], Storage):
        raise UnsafeFileError("a tensor in the file is damaged.")
    return StoredTensor(args[0], args[1], _whole(args[2]), _whole(args[3]))


def _whole(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > 8 or any(type(n) is not int for n in values):
        raise UnsafeFileError("a tensor shape in the file is not a short tuple of whole numbers.")
    return values


def _pairs(*args: Any) -> dict[Any, Any]:
    rows = args[0] if args else []
    if not isinstance(rows, list | tuple) or any(not isinstance(row, list | tuple) or len(row) != 2 for row in rows):
        raise UnsafeFileError("a dictionary in the file is damaged.")
    return {key_of(key): value for key, value in rows}


def key_of(key: Any) -> str | int | None:
    """Keys are short texts or numbers: hashing a nested tuple could take for ever."""
    if key is not None and type(key) not in (str, int, bool):
        raise UnsafeFileError(f"a dictionary key of type {type(key).__name__} is not allowed.")
    return key


def _members(*args: Any) -> list[Any]:
    return [key_of(item) for item in (args[0] if args and isinstance(args[0], list | tuple) else [])]


def _persistent(meta: Any = None, *_: Any) -> Record:
    if not isinstance(meta, dict) or not is_text(meta.get("class_name")) or not isinstance(meta.get("state"), dict):
        raise UnsafeFileError("a stored module lacks its class name or its state.")
    return Record(meta["class_name"], meta["state"])


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _pairs,
    "dnnlib.util.EasyDict": _pairs,
    "builtins.set": _members,
    "__builtin__.set": _members,
    "numpy.dtype": _array_type,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data=None, *_: data,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: Array() for core in ("core", "_core")},
}
"""What REDUCE may call. The arguments are checked by the function."""
NESTED = "torch.storage._load_from_bytes"
"""The one call that reads another pickle."""
RECORDS = frozenset({"dnnlib.tflib.network.Network", "argparse.Namespace"})
"""Classes whose instances become records."""
BARE = frozenset({"numpy.ndarray", *(f"torch.{name}" for name in STORAGES)})
"""Names that may be mentioned but not called."""


@dataclass
class Budget:
    """Opcodes that a file may still use."""

    left: int = MAX_OPS


Nested = Callable[[memoryview, Budget], Any]
"""Reads the pickle inside a pickle."""


class Machine:
    """One pickle program's stack, marks and memo."""

    def __init__(self, budget: Budget, nested: Nested, storages: Callable[[Any], Storage] | None = None) -> None:
        self.budget, self.nested = budget, nested
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages = storages

    def run(self, data: memoryview, start: int) -> tuple[Any, int]:
        """Interpret one pickle; its value and the position behind it."""
        for op, arg, position in operations(data, start):
            self.budget.left -= 1
            if self.budget.left < 0 or len(self.marks) > MAX_DEPTH:
                raise UnsafeFileError("the pickle is longer or more deeply nested than any checkpoint; refused.")
            if op == "STOP":
                return self.pop(), start + position + 1
            self.execute(op, arg)
        raise UnsafeFileError("the pickle has no end; the file is cut off.")

    def execute(self, op: str, arg: Any) -> None:
        """One opcode: a constant, or one of the methods below."""
        if op in CONSTANTS:
            self.stack.append(CONSTANTS[op]())
        elif op in LITERALS:
            self.stack.append(arg)
        elif op not in IGNORED:
            method = getattr(self, f"op_{op.lower()}", None)
            if method is None:
                raise UnsafeFileError(f"pickle opcode {op} has no place in a checkpoint; refused.")
            method(arg)

    def pop(self) -> Any:
        """Take the top of the stack, not reaching below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise UnsafeFileError("the pickle takes more from its stack than it put there; the file is damaged.")
        return self.stack.pop()

    def slice(self) -> list[Any]:
        """Take everything above the last mark."""
        if not self.marks:
            raise UnsafeFileError("the pickle misses a mark; the file is damaged.")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self, kind: type) -> Any:
        """The top of the stack, which must be of that type."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise UnsafeFileError(f"the pickle fills something that is no {kind.__name__}; the file is damaged.")
        return self.stack[-1]

    def op_mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def op_pop(self, _: Any) -> None:
        self.pop()

    def op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.slice()))

    def op_tuple1(self, _: Any) -> None:
        self.stack.append((self.pop(),))

    def op_tuple2(self, _: Any) -> None:
        second, first = self.pop(), self.pop()
        self.stack.append((first, second))

    def op_tuple3(self, _: Any) -> None:
        third, second, first = self.pop(), self.pop(), self.pop()
        self.stack.append((first, second, third))

    def op_append(self, _: Any) -> None:
        item = self.pop()
        self.top(list).append(item)

    def op_appends(self, _: Any) -> None:
        items = self.slice()
        self.top(list).extend(items)

    def op_additems(self, _: Any) -> None:
        items = [key_of(item) for item in self.slice()]
        self.top(list).extend(items)

    def op_setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.top(dict)[key_of(key)] = value

    def op_setitems(self, _: Any) -> None:
        items = self.slice()
        if len(items) % 2:
            raise UnsafeFileError("a dictionary in the file misses a value.")
        self.top(dict).update((key_of(key), value) for key, value in zip(items[::2], items[1::2], strict=True))

    def op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.top(object)

    def op_binput(self, index: int) -> None:
        self.memo[index] = self.top(object)

    op_long_binput = op_put = op_binput

    def op_binget(self, index: int) -> None:
        if index not in self.memo:
            raise UnsafeFileError("the pickle refers to something it never stored; the file is damaged.")
        self.stack.append(self.memo[index])

    op_long_binget = op_get = op_binget

    def op_global(self, arg: str) -> None:
        self.stack.append(allowed(arg.replace(" ", ".", 1)))

    def op_stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (is_text(name) and is_text(module)):
            raise UnsafeFileError("the pickle names a global by something else than text.")
        self.stack.append(allowed(f"{module}.{name}"))

    def op_reduce(self, _: Any) -> None:
        args, call = self.pop(), self.pop()
        if not isinstance(call, Name) or not isinstance(args, tuple):
            raise UnsafeFileError("the pickle calls something that is not a known name; refused.")
        if call.path == NESTED:
            self.stack.append(self.inner(args))
        else:
            self.stack.append(called(call.path, args))

    op_newobj = op_reduce

    def inner(self, args: tuple[Any, ...]) -> Storage:
        """`torch.storage._load_from_bytes` would unpickle once more; the bytes are read by the same rules."""
        if len(args) != 1 or not isinstance(args[0], bytes):
            raise UnsafeFileError("a stored tensor is not made of bytes.")
        found = self.nested(memoryview(args[0]), self.budget)
        if not isinstance(found, Storage):
            raise UnsafeFileError("a stored tensor holds something else than numbers.")
        return found

    def op_build(self, _: Any) -> None:
        state = self.pop()
        build(self.top(object), state)

    def op_binpersid(self, _: Any) -> None:
        if self.storages is None:
            raise UnsafeFileError("the pickle refers to data outside itself; refused.")
        self.stack.append(self.storages(self.pop()))


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


def allowed(path: str) -> Name:
    """The name, if the table has it."""
    if path != NESTED and path not in CALLS and path not in RECORDS and path not in BARE:
        raise UnsafeFileError(f"the file asks for {path[:80]!r}, which no checkpoint needs; refused, nothing was run.")
    return Name(path)


def called(path: str, args: tuple[Any, ...]) -> Any:
    """The value of a call that the table knows."""
    if path in RECORDS:
        return Record(path)
    if path not in CALLS:
        raise UnsafeFileError(f"the file calls {path!r}; refused, nothing was run.")
    try:
        return CALLS[path](*args)
    except TypeError:
        raise UnsafeFileError(f"the file calls {path!r} with arguments that do not fit.") from None


def build(target: Any, state: Any) -> None:
    """BUILD: hand a state to what was just made."""
    if isinstance(target, Record | dict) and isinstance(state, dict):
        (target.state if isinstance(target, Record) else target).update(state)
    elif (
        isinstance(target, ArrayType)
        and isinstance(state, tuple)
        and len(state) > 1
        and state[1] in ("<", ">", "|", "=")
    ):
        target.order = state[1]
    elif isinstance(target, Array) and isinstance(state, tuple) and len(state) == 5:
        target.values = _filled(*state[1:])
    elif state is not None:
        raise UnsafeFileError(f"the file sets the state of a {type(target).__name__}; refused.")


def _filled(shape: Any, kind: Any, fortran: Any, raw: Any) -> np.ndarray[Any, Any]:
    if not isinstance(kind, ArrayType) or not isinstance(raw, bytes):
        raise UnsafeFileError("an array in the file is not made of plain numbers.")
    sizes = _whole(shape)
    if min(sizes, default=1) < 0 or math.prod(sizes) * kind.dtype().itemsize != len(raw):
        raise UnsafeFileError(f"an array of shape {sizes} does not fit its {len(raw)} bytes.")
    return np.frombuffer(raw, kind.dtype()).reshape(sizes, order="F" if fortran else "C")
