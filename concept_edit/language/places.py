"""The output matrix at chosen places alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn


@contextmanager
def read_at(network: nn.Module, rows: Int[Tensor, " places"], columns: Int[Tensor, " places"]) -> Iterator[None]:
    """Inside the block the output matrix, a quarter of a small model's work, reads these places alone."""
    output: Any = network.get_output_embeddings()  # type: ignore[operator]
    handle = output.register_forward_pre_hook(lambda module, args: (args[0][rows, columns], *args[1:]))
    try:
        yield
    finally:
        handle.remove()
