"""What a classifier loses when units are removed: per-class accuracy, and which answers flip.

Bau et al. 2020, section "The role of individual units": remove a unit, sets of 1, 2, 4, ... units, or all but N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from styles.dissection.activations import as_maps, module_of


@dataclass(frozen=True)
class Removed:
    """A network without some units."""

    units: tuple[int, ...]
    accuracy: float
    by_class: tuple[float, ...]
    """Share of each class's pictures that are still named right; nan for a class without pictures."""
    flips: tuple[tuple[int, int, int], ...]
    """(class answered with all units, class answered without these, pictures), most first."""


@contextmanager
def without(network: nn.Module, layer: str, units: Sequence[int], *, keep: bool = False) -> Iterator[None]:
    """Inside, these units of the layer give nothing; `keep` turns it round: all others give nothing.

    Raises:
        ValueError: no such layer; a unit that it does not have, told when the network runs.
    """

    def cut(_: nn.Module, __: object, out: Tensor) -> Tensor:
        count = as_maps(out, layer).shape[1]
        wrong = [unit for unit in units if not 0 <= unit < count]
        if wrong:
            raise ValueError(f"{layer} has units 0 to {count - 1}, no {wrong[0]}")
        chosen = torch.zeros(count, dtype=torch.bool, device=out.device)
        chosen[list(units)] = True
        gone = ~chosen if keep else chosen
        out = out.clone()
        if out.ndim == 4:
            out[:, gone] = 0
        else:
            out[..., gone] = 0
        return out

    hook = module_of(network, layer).register_forward_hook(cut)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def removed(
    network: nn.Module,
    layer: str,
    sets: Sequence[Sequence[int]],
    probe: Tensor,
    labels: Int[Tensor, " pictures"],
    *,
    classes: int,
    answer: Callable[[Tensor], Tensor] = lambda logits: logits.argmax(dim=1),
    keep: bool = False,
    batch: int = 64,
) -> list[Removed]:
    """Each set of units removed (or with `keep` all others), measured on labelled pictures; () is the whole network.

    `answer` makes classes of what the network gives. Flips are counted among all pictures.

    Raises:
        ValueError: labels that do not fit the probe, as `without`.
    """
    if len(labels) != len(probe) or not len(probe):
        raise ValueError(f"{len(labels)} labels for {len(probe)} pictures; give one for each, and some")

    def answers() -> Tensor:
        return torch.cat([answer(network(part)) for part in probe.split(batch)]).cpu()

    whole, found = answers(), []
    for units in sets:
        with without(network, layer, units, keep=keep):
            said = answers()
        right = (said == labels).float()
        by_class = [
            float(right[labels == k].mean()) if bool((labels == k).any()) else float("nan") for k in range(classes)
        ]
        changed = said != whole
        pairs, counts = torch.stack([whole[changed], said[changed]], 1).unique(dim=0, return_counts=True)
        order = counts.argsort(descending=True).tolist()
        flips = tuple((int(pairs[i, 0]), int(pairs[i, 1]), int(counts[i])) for i in order)
        found.append(Removed(tuple(units), float(right.mean()), tuple(by_class), flips))
    return found


@torch.no_grad()
def importance(
    network: nn.Module,
    layer: str,
    probe: Tensor,
    of: int,
    *,
    units: int,
    logits: Callable[[Tensor], Tensor] = lambda out: out,
) -> list[int]:
    """The layer's units by how much the mean log probability of one class falls without each alone, most first.

    `probe`: pictures of that class. Accuracy itself says nothing where the network is sure of every picture. `logits`
    picks the classes' logits from what the network gives.
    """

    def sure() -> float:
        return float(logits(network(probe)).log_softmax(dim=1)[:, of].mean())

    left = []
    for unit in range(units):
        with without(network, layer, [unit]):
            left.append(sure())
    return sorted(range(units), key=lambda unit: left[unit])
