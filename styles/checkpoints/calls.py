"""The closed table of names that a pickled checkpoint may use, and what each makes of its arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from styles.checkpoints.stored import (
    ARRAY_TYPES,
    STORAGES,
    Array,
    ArrayType,
    Name,
    Record,
    Storage,
    StoredTensor,
    UnsafeFileError,
)


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
