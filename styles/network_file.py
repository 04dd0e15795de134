"""A small network's own file: safetensors with its shape as JSON beside the weights, read with every step checked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from styles.files import whole
from styles.placement import placed
from styles.reading import parse_json, sentence

Net = TypeVar("Net", bound=nn.Module)
GROUPS = 8
"""Channels that are normed together; widths are multiples of it."""
DEEPEST, WIDEST = 6, 512
"""Bounds on what a file may ask for."""


def save_network(
    net: nn.Module,
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    *,
    form: str,
    kind: str,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write weights and config; `form` names the format, `kind` is what messages call the network.

    Raises:
        ValueError: a name that does not end in .safetensors.
        OSError: the folder is missing or cannot be written.
    """
    target = Path(path)
    if target.suffix != ".safetensors":
        raise ValueError(f"{kind}s are saved as .safetensors, got {target.name!r}.")
    weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in net.state_dict().items()}
    with whole(target) as part:
        save_file(weights, part, metadata={"format": form, "config": json.dumps(dict(config), sort_keys=True)})
        part.chmod(0o644)


def load_network(
    source: str | os.PathLike[str],
    shaped: Callable[[Mapping[str, Any], str], Net],
    *,
    form: str,
    kind: str,
    embedded: Callable[[], Path],
    device: str | torch.device,
) -> Net:
    """The network of a file, or of the `embedded` one for "demo", frozen, in float32, on a device.

    `shaped(config, name)` builds it, its numbers still to come, and complains of a config that makes no sense.

    Raises:
        ValueError: no such file, another format, damaged, or weights that do not fit.
    """
    path = embedded() if source == "demo" else Path(source)
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}; give 'demo' or a .safetensors file of a {kind}.")
    try:
        with safe_open(path, "pt") as file:
            net = shaped(_config(file.metadata() or {}, path.name, form, kind), path.name)
            wanted = {name: list(value.shape) for name, value in net.state_dict().items()}
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            if wanted != found:
                raise ValueError(f"{path.name}: its weights do not have the shapes that it says; train it anew.")
            net.load_state_dict({name: file.get_tensor(name).float() for name in wanted})
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged or no .safetensors file ({sentence(error)}).") from None
    if not all(bool(value.isfinite().all()) for value in net.state_dict().values()):
        raise ValueError(f"{path.name} holds weights that are no numbers; train it anew.")
    return net.to(placed(device)).eval().requires_grad_(False)


def widths_of(config: Mapping[str, Any], name: str) -> list[int]:
    """The widths that a file asks for.

    Raises:
        ValueError: none that a network of this toolkit can have.
    """
    widths = config.get("widths")
    if not isinstance(widths, list) or not 2 <= len(widths) <= DEEPEST or not all(map(_width, widths)):
        raise ValueError(f"{name}: widths must be 2 to {DEEPEST} multiples of {GROUPS} up to {WIDEST}.")
    return widths


def _width(value: object) -> bool:
    return type(value) is int and 0 < value <= WIDEST and value % GROUPS == 0


def _config(metadata: Mapping[str, str], name: str, form: str, kind: str) -> Mapping[str, Any]:
    if metadata.get("format") != form:
        said = sentence(metadata.get("format", "nothing"))
        raise ValueError(f"{name} says {said!r} is its format, expected {form!r}: no {kind} of this toolkit.")
    config = parse_json(metadata.get("config", ""), name)
    return config if isinstance(config, dict) else {}
