"""The containers of checkpoints: plain pickles, and both layouts of torch.save. Nothing in a file is run."""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any

from styles.checkpoints.calls import is_text, key_of
from styles.checkpoints.stored import STORAGES, Name, Storage, UnsafeFileError
from styles.checkpoints.unpickle import Budget, Machine

MAX_BYTES = 4 << 30
"""Largest file that is opened."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
ZIP_MAGIC = b"PK\x03\x04"


def read_pickle(data: memoryview) -> Any:
    """The value of a plain pickle (official .pkl)."""
    return Machine(Budget(), read_legacy).run(data, 0)[0]


def _persistent_storage(identity: Any) -> tuple[str, Storage]:
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise UnsafeFileError("the file refers to data outside itself; refused.")
    kind, key, numel = identity[1], identity[2], identity[4]
    dtype = STORAGES.get(kind.path.removeprefix("torch.")) if isinstance(kind, Name) else None
    if dtype is None or not is_text(key) or type(numel) is not int or numel < 0:
        raise UnsafeFileError("the description of a tensor's storage is damaged.")
    if len(identity) > 5 and identity[5] is not None:
        raise UnsafeFileError(
            "views of storages (torch before 0.4) are not read; save the file anew with a later torch."
        )
    return key, Storage(dtype, numel)


def read_legacy(data: memoryview, budget: Budget | None = None) -> Any:
    """The value of a file of torch.save before 1.6: five pickles, then the raw storages one after another."""
    found: dict[str, Storage] = {}
    budget = budget or Budget()

    def storages(identity: Any) -> Storage:
        key, storage = _persistent_storage(identity)
        return found.setdefault(key, storage)

    values, position = [], 0
    for _ in range(5):
        value, position = Machine(budget, read_legacy, storages).run(data, position)
        values.append(value)
        if values[0] != LEGACY_MAGIC:
            raise UnsafeFileError("not a file of torch.save: wrong magic number.")
    if not isinstance(values[4], list) or any(key not in found for key in map(key_of, values[4])):
        raise UnsafeFileError("the list of storages in the file is damaged.")
    for key in values[4]:
        position = _take(found[key], data, position)
    return values[3]


def _take(storage: Storage, data: memoryview, position: int) -> int:
    """Point a storage to its numbers behind an 8-byte count; the position behind them."""
    count = int.from_bytes(data[position : position + 8], "little")
    end = position + 8 + count * storage.dtype.itemsize
    if len(data) < position + 8 or count != storage.numel or end > len(data):
        raise UnsafeFileError("the numbers in the file are cut off.")
    storage.data = data[position + 8 : end]
    return end


def read_zip(data: memoryview) -> Any:
    """The value of a file of torch.save from 1.6 on: a zip of data.pkl and one uncompressed entry per storage."""
    try:
        entries = {info.filename.partition("/")[2]: info for info in zipfile.ZipFile(_File(data)).infolist()}
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, struct.error) as error:
        raise UnsafeFileError(f"the zip in the file is damaged or cut off ({str(error)[:80]}).") from None

    found: dict[str, Storage] = {}

    def storages(identity: Any) -> Storage:
        """One storage a key: tensors that share numbers are counted together."""
        key, storage = _persistent_storage(identity)
        if key in found:
            return found[key]
        storage.data = _entry(entries, f"data/{key}", data)
        if len(storage.data) < storage.numel * storage.dtype.itemsize:
            raise UnsafeFileError("the numbers in the file are cut off.")
        return found.setdefault(key, storage)

    if "byteorder" in entries and bytes(_entry(entries, "byteorder", data)) != b"little":
        raise UnsafeFileError("big-endian checkpoints are not read.")
    return Machine(Budget(), read_legacy, storages).run(_entry(entries, "data.pkl", data), 0)[0]


class _File(io.RawIOBase):
    """A seekable read-only file over memory."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.position = data, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = max(0, offset + (0, self.position, len(self.data))[whence])
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = len(self.data) if size is None or size < 0 else self.position + size
        found = bytes(self.data[self.position : end])
        self.position += len(found)
        return found


def _entry(entries: dict[str, zipfile.ZipInfo], name: str, data: memoryview) -> memoryview:
    """The bytes of an uncompressed zip entry, in place."""
    info = entries.get(name)
    if info is None or info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise UnsafeFileError(f"the file has no plain entry {name!r}; torch.save writes one.")
    head = data[info.header_offset : info.header_offset + 30]
    if bytes(head[:4]) != ZIP_MAGIC:
        raise UnsafeFileError("the zip in the file is damaged.")
    start = info.header_offset + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    if start + info.file_size > len(data):
        raise UnsafeFileError("the zip in the file is cut off.")
    return data[start : start + info.file_size]


def read_file(path: Path) -> Any:
    """The value of a .pkl or .pt file, whichever its first bytes say it is."""
    size = path.stat().st_size
    if not 16 <= size <= MAX_BYTES:
        raise UnsafeFileError(f"{path.name} has {size} bytes; a checkpoint has 16 bytes to {MAX_BYTES >> 30} GiB.")
    with open(path, "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    head = bytes(data[:32])
    if head.startswith(ZIP_MAGIC):
        return read_zip(data)
    if LEGACY_MAGIC.to_bytes(10, "little") in head:
        return read_legacy(data)
    if head[:1] == b"\x80" and head[1] in range(2, 6):
        return read_pickle(data)
    raise UnsafeFileError(f"{path.name} is no pickle, torch or safetensors file: it starts with {head[:8]!r}.")
