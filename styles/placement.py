"""Where a generator goes: to a GPU where there is one."""

from __future__ import annotations

import warnings
from functools import cache

import torch

AUTO = "auto"
"""The device that is chosen here: `cuda` where there is one, else `mps`, else `cpu`."""


class DeviceWarning(UserWarning):
    """Work that goes to another device than the CPU, unasked."""


def placed(device: str | torch.device) -> torch.device:
    """The device of this name, `auto` as what it means on this machine; a process says once where that is no CPU.

    Raises:
        ValueError: no device of that name, or none here.
    """
    if device == AUTO:
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if found != "cpu":
            _tell(found)
        return torch.device(found)
    try:
        named = torch.device(device)
    except RuntimeError:
        raise ValueError(f"{device!r} is no device; expected auto, cpu, cuda, cuda:<number> or mps.") from None
    if named.type == "cuda" and (named.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{str(device)!r} is not here: torch sees {torch.cuda.device_count()} CUDA devices.")
    if named.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"{str(device)!r} is not here: torch sees no Apple GPU.")
    return named


@cache
def _tell(device: str) -> None:
    text = f"running on {device}, which is here; device 'cpu' (--device cpu) runs on the processor"
    warnings.warn(text, DeviceWarning, stacklevel=4)
