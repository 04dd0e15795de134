"""Text and JSON from strangers, bounded in size and depth; every complaint is one sentence that names the file."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_BYTES = 16 << 20
"""Largest text that is read: a header, a recipe, a manifest, a list of captions."""
DEEPEST = 32
"""Lists and objects within each other; the deepest file this toolkit writes has 8."""
_LONGEST = 80
"""Characters of a foreign value that a message shows."""
_SENTENCE = 300
"""Characters of another library's complaint that a message keeps."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _LONGEST
_REPR.maxlevel = 3


def short(value: object) -> str:
    """What was given, for a message: at most 80 characters, however large or deep it is."""
    text = _REPR.repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def sentence(error: object) -> str:
    """Another library's complaint on one line, cut at 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= _SENTENCE else text[: _SENTENCE - 3] + "..."


@contextmanager
def one_sentence(name: object, what: str) -> Iterator[None]:
    """Other libraries raise what they like on a damaged file; here it becomes a ValueError of one line.

    Raises:
        ValueError: whatever the block raised; '`name` cannot be `what` (...)'.
    """
    try:
        yield
    except ValueError as error:
        if len(str(error).splitlines()) == 1:
            raise
        raise ValueError(f"{name} cannot be {what} ({sentence(error)})") from error
    except Exception as error:
        told = f"{name} cannot be {what} ({type(error).__name__}: {sentence(error)}); is it whole?"
        raise ValueError(told) from error


def read_bytes(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file that is not larger than `most`.

    Raises:
        ValueError: it is larger; nothing was read.
        OSError: there is no such file, or it cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path} is larger than {most >> 20} MB, which no such file needs; it was not read")
    return data


def read_text(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> str:
    """The text of a UTF-8 file that is not larger than `most` bytes; a byte order mark is dropped.

    Raises:
        ValueError: it is larger, or not UTF-8.
        OSError: there is no such file, or it cannot be read.
    """
    data = read_bytes(path, most=most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None


def parse_json(text: str | bytes, name: str, *, most: int = MOST_BYTES, finite: bool = True) -> Any:
    """The value of a JSON text; `name` is how messages call it. `finite` False lets pass what Python's writer makes of
    infinite numbers.

    Raises:
        ValueError: too long, too deep, not JSON, NaN or infinite numbers.
    """
    if len(text) > most:
        raise ValueError(f"{name} is longer than {most >> 20} MB, which no such file needs; it was not read")
    try:
        value = json.loads(text, parse_constant=_refuse_constant if finite else None)
    except RecursionError:
        raise ValueError(f"{name} is nested more than {DEEPEST} levels deep; refused") from None
    except ValueError as error:
        raise ValueError(f"{name} is not JSON ({sentence(error)}); write or fetch it again") from None
    if _deeper(value, DEEPEST):
        raise ValueError(f"{name} is nested more than {DEEPEST} levels deep; refused")
    if (b"\\u" if isinstance(text, bytes) else "\\u") in text and not _is_text(value):  # type: ignore[operator]
        raise ValueError(f"{name} holds half of a character (a lone surrogate), which cannot be written; refused")
    return value


def read_object(path: str | os.PathLike[str], *, most: int = MOST_BYTES, finite: bool = True) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        ValueError: as `read_bytes` and `parse_json`, or another value than an object.
        OSError: there is no such file, or it cannot be read.
    """
    found = parse_json(read_bytes(path, most=most), str(path), most=most, finite=finite)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object but {short(found)}; write or fetch it again")
    return found


def _is_text(value: Any) -> bool:
    """Whether all of it can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def object_of(path: str | os.PathLike[str], form: str, what: str, *, most: int = 256 << 20) -> dict[str, Any]:
    """The JSON object of a file of the format `form`, without its format; `what` is how messages call it.

    Raises:
        ValueError: too large, too deep, not JSON, or of another format.
        OSError: there is no such file, or it cannot be read.
    """
    try:
        found = read_object(path, most=most, finite=False)
    except ValueError as error:
        raise ValueError(f"{path} is no {what} ({form} was expected): {error}") from None
    if found.pop("format", None) != form:
        raise ValueError(f"{path} is no {what} ({form} was expected)")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _deeper(value: Any, most: int) -> bool:
    """Whether lists and objects lie more than `most` levels within each other; level by level, without recursion."""
    level = [value]
    for _ in range(most + 1):
        level = [part for whole in level if isinstance(whole, dict | list) for part in _parts(whole)]
        if not level:
            return False
    return True


def _parts(whole: dict[str, Any] | list[Any]) -> list[Any]:
    return list(whole.values()) if isinstance(whole, dict) else whole
