"""Checkpoints in and out: official .pkl, rosinality .pt, and this project's safetensors. Nothing in a file is run.

The formats are told apart by their first bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from styles.checkpoints.config import stored_config
from styles.checkpoints.foreign import assemble, empty, from_object
from styles.checkpoints.stored import UnsafeFileError
from styles.checkpoints.torchfile import read_file
from styles.files import whole
from styles.generator import Generator
from styles.placement import placed
from styles.reading import sentence

FORMAT = "styles.generator/1"
_STORED = ("F32", "F16")
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float16": torch.float16}


def load_generator(
    source: str | os.PathLike[str], *, device: str | torch.device = "auto", dtype: str = "float32"
) -> Generator:
    """A generator from "demo", or from a .pkl, .pt or .safetensors file, ready for use.

    `device`: "auto" (cuda where there is one, else mps, else cpu), or the name of one.
    `dtype` is the arithmetic of the features, float32 or float16; weights, mapping and the RGB sum stay float32.
    ValueError tells why a file is refused; `UnsafeFileError` (a ValueError) when it asks for code or is damaged.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    if source == "demo":
        from styles.demo import weights_file

        source = weights_file()
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}; give 'demo' or a .pkl, .pt or .safetensors file.")
    model = _read(path).to(placed(device)).eval().requires_grad_(False)
    model.compute_dtype = DTYPES[dtype]
    return model


def _read(path: Path) -> Generator:
    if is_safetensors(path):
        return _from_safetensors(path)
    try:
        return from_object(read_file(path))
    except RecursionError:
        raise UnsafeFileError(f"{path.name} is nested more deeply than any checkpoint; refused.") from None
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError) as error:
        raise UnsafeFileError(f"{path.name} is damaged: its parts do not fit ({sentence(error)}).") from None


def save_generator(model: Generator, path: str | os.PathLike[str], *, dtype: str = "float32") -> None:
    """Write weights and configuration to a .safetensors file; a half-written file never replaces a good one."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    target = Path(path)
    if target.suffix != ".safetensors":
        raise ValueError(f"generators are saved as .safetensors, got {target.name!r}.")
    weights = {name: value.detach().to("cpu", DTYPES[dtype]).contiguous() for name, value in model.state_dict().items()}
    metadata = {"format": FORMAT, "config": json.dumps(model.config.to_dict(), sort_keys=True)}
    with whole(target) as part:
        save_file(weights, part, metadata=metadata)
        part.chmod(0o644)


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str], *, dtype: str = "float32") -> Generator:
    """Read any known checkpoint and write it as safetensors; the generator that was written."""
    model = load_generator(source, device="cpu")
    save_generator(model, target, dtype=dtype)
    return model


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_safetensors(path: Path) -> bool:
    """Whether the first bytes are a safetensors header: its length, then a brace."""
    with open(path, "rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] <= path.stat().st_size


def _from_safetensors(path: Path) -> Generator:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                found = sentence(metadata.get("format", "nothing"))
                raise ValueError(
                    f"{path.name} says {found!r} is its format, expected {FORMAT!r}: no file of this toolkit."
                )
            config = stored_config(metadata.get("config", ""), path.name)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            empty(config, {name: tuple(part.get_shape()) for name, part in slices.items()})
            other = next((name for name, part in slices.items() if part.get_dtype() not in _STORED), None)
            if other is not None:
                kind = slices[other].get_dtype()
                raise ValueError(f"weight {other!r} is stored as {kind}, expected {' or '.join(_STORED)}.")
            weights = {name: file.get_tensor(name).float() for name in slices}
    except SafetensorError as error:
        raise UnsafeFileError(f"{path.name} is damaged or cut off ({sentence(error)}).") from None
    return assemble(config, weights)
