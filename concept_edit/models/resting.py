"""A text encoder that rests in its file: a block's weights are in memory while the block runs, and no longer.

SDXL's two encoders take 3.3 GB in float32, the largest of their blocks 79 MB. Bringing the blocks in costs a hundredth
of what running them on 32 prompts does, and the rows are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

SMALL = 64 * 2**20
"""Bytes in the opened precision up to which an encoder is read whole: there is nothing to spare."""
_TOGETHER = 64 * 2**20
"""Bytes of the file that are read together when all weights are looked at."""


class Resting:
    """A text encoder and where its weights lie. It runs as any other; a module of it that is not running is empty."""

    def __init__(
        self,
        encoder: Any,
        read: Callable[[Sequence[str]], Mapping[str, Tensor]],
        precision: Callable[[str], torch.dtype],
    ) -> None:
        """`encoder`: on `meta`. `read`: names -> tensors as stored. `precision`: name -> the dtype it runs in."""
        self.encoder = encoder
        self._read, self._precision = read, precision
        self._hooks = [hook for prefix, unit in units(encoder) for hook in self._hooked(prefix, unit)]
        self.asleep = True
        size = sum(value.numel() * precision(name).itemsize for name, value in encoder.named_parameters())
        if size <= SMALL:
            self.wake()

    @property
    def dtype(self) -> torch.dtype:
        """The precision it runs in."""
        return self._precision("")

    def wake(self, device: torch.device | str = "cpu") -> Any:
        """The encoder with all its weights in the memory of `device`, from now on."""
        if self.asleep:
            for hook in self._hooks:
                hook.remove()
            self._fill(device)
            self.asleep = False
        return self.encoder.to(device)

    def _fill(self, device: torch.device | str) -> None:
        names: dict[int, list[str]] = {}
        for name, value in weight_names(self.encoder).items():
            names.setdefault(id(value), []).append(name)
        empty = dict(self.encoder.named_parameters())
        for portion in self._portions():
            for name, value in self._cast(portion, device).items():
                weight = nn.Parameter(value, requires_grad=False)
                for same in names[id(empty[name])]:
                    _put(self.encoder, same, weight)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight by name, sorted without the prefix that transformers' versions differ in, some at a time."""
        for names in self._portions():
            yield from self._cast(names, "cpu", exact=True).items()

    def _hooked(self, prefix: str, unit: nn.Module) -> Iterator[Any]:
        names = {f"{prefix}.{name}": (f"{prefix}.{name}", value) for name, value in weight_names(unit).items()}
        rows_only = isinstance(unit, nn.Embedding)

        def before(*_: Any) -> None:
            for name, value in self._cast(list(names), "cpu", exact=rows_only).items():
                _put(self.encoder, name, value)

        def after(_module: Any, _given: Any, output: Any) -> Any:
            for name, (_, empty) in names.items():
                _put(self.encoder, name, empty)
            return output.to(self._precision(next(iter(names)))) if rows_only and output is not None else output

        yield unit.register_forward_pre_hook(before)
        yield unit.register_forward_hook(after, always_call=True)

    def _portions(self) -> Iterator[list[str]]:
        """All names, sorted, in portions of a bounded size."""
        portion: list[str] = []
        held = 0
        named = dict(self.encoder.named_parameters())
        for name in sorted(named, key=lambda name: name.removeprefix("text_model.")):
            portion.append(name)
            held += 4 * named[name].numel()
            if held > _TOGETHER:
                yield portion
                portion, held = [], 0
        if portion:
            yield portion

    def _cast(self, names: Sequence[str], device: torch.device | str, *, exact: bool = False) -> dict[str, Tensor]:
        """Weights in the precision they run in; with `exact` those that float32 would only repeat stay as stored."""
        found = self._read(names)
        ready: dict[str, Tensor] = {}
        for name in names:
            dtype = self._precision(name)
            stays = exact and dtype == torch.float32 and found[name].is_floating_point()
            ready[name] = found[name].to(device) if stays else found[name].to(device, dtype)
        return ready


def units(encoder: nn.Module) -> list[tuple[str, nn.Module]]:
    """What is brought in together: each block of the encoder, and each other module that has weights of its own."""
    found: list[tuple[str, nn.Module]] = []
    for name, module in encoder.named_modules(remove_duplicate=False):
        inside = any(name.startswith(f"{prefix}.") for prefix, _ in found)
        stacked = isinstance(encoder.get_submodule(name.rpartition(".")[0]), nn.ModuleList) if name else False
        if not inside and (stacked or any(True for _ in module.parameters(recurse=False))):
            found.append((name, module))
    return found


def weight_names(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter under every name it has."""
    return dict(module.named_parameters(remove_duplicate=False))


def _put(encoder: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    held = value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=False)
    encoder.get_submodule(owner)._parameters[leaf] = held
