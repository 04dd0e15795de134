"""Where a model goes and in which precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

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


def placement(device: str, dtype: torch.dtype | str | None) -> Placement:
    """Check a device name and a precision given by the user."""
    return Placement(_device(device), _dtype(dtype))


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{name!r} is no device; expected cpu, cuda, cuda:<number> or mps.") from error
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
