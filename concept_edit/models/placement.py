"""Where a model goes and in which precision."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

import torch

from concept_edit.notes import DeviceWarning

AUTO = "auto"
"""The device that is chosen here: `cuda` where there is one, else `mps`, else `cpu`."""

_DTYPES = {
    "float32": torch.float32, "fp32": torch.float32,
    "float16": torch.float16, "fp16": torch.float16,
    "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
}  # fmt: skip


@dataclass(frozen=True)
class Placement:
    """A device and a precision; no precision means the file's."""

    device: torch.device
    dtype: torch.dtype | None

    def precision(self, stored: torch.dtype) -> torch.dtype:
        """The dtype weights stored as `stored` are opened in."""
        if self.dtype is not None:
            return self.dtype
        return torch.float32 if self.device.type == "cpu" or stored not in _DTYPES.values() else stored

    def kept(self, stored: torch.dtype) -> torch.dtype:
        """The dtype of language models, which keep their file's also on the CPU; float8 becomes bfloat16."""
        return self.dtype or (stored if stored in _DTYPES.values() else torch.bfloat16)


def resolved(device: str) -> str:
    """The device's name, `auto` as what it means on this machine; a process says once where that is no CPU."""
    if device != AUTO:
        return device
    found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if found != "cpu":
        _tell(found)
    return found


@cache
def _tell(device: str) -> None:
    warnings.warn(DeviceWarning(device), stacklevel=3)


def placement(device: str, dtype: torch.dtype | str | None) -> Placement:
    """Check a device name and a precision given by the user.

    Raises:
        ValueError: a device that is not here, or no device; a precision that no model is opened in.
    """
    return Placement(_device(resolved(device)), _dtype(dtype))


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{name!r} is no device; expected auto, cpu, cuda, cuda:<number> or mps.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"{name!r} is not here: torch sees {torch.cuda.device_count()} CUDA devices. Use device='cpu'."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"{name!r} is not here: torch sees no Apple GPU. Use device='cpu'.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"{name!r} is not supported; expected cpu, cuda or mps.")
    return device


def _dtype(given: torch.dtype | str | None) -> torch.dtype | None:
    dtype = _DTYPES.get(given) if isinstance(given, str) else given
    if given is not None and dtype not in _DTYPES.values():
        raise ValueError(f"{given!r} is no precision to open a model in; expected float32, float16 or bfloat16.")
    return dtype
