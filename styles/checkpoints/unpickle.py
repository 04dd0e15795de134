"""Read pickled checkpoints without running anything in them.

Not `pickle.Unpickler`: a small interpreter of the pickle opcodes that knows a closed table of names. Any other name is
refused, embedded source code is never looked at, tensors become descriptions (`StoredTensor`) that are checked before a
byte is touched, and the number of opcodes, the nesting, keys and sizes are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from styles.checkpoints.calls import NESTED, allowed, build, called, is_text, key_of
from styles.checkpoints.opcodes import CONSTANTS, IGNORED, LITERALS, operations
from styles.checkpoints.stored import Array, Name, Record, Storage, UnsafeFileError

__all__ = ["Array", "Budget", "Machine", "Record", "UnsafeFileError"]

MAX_OPS = 150_000
"""Most opcodes in one file, pickles within pickles included; a 32 px official file holds 11,000."""
MAX_DEPTH = 200
"""Most open marks at a time."""


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
