"""The share of this process: alone, one of several machines (`--shard i/n`), or under `accelerate launch`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from concept_edit.evaluation.rows import shard
from concept_edit.models.placement import resolved

_DAYS = 7
Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Share `index` (from 0) of `count`, with a way to wait for the others."""

    index: int = 0
    count: int = 1
    state: Any = None
    """accelerate's `PartialState`, where it launched us."""

    @property
    def name(self) -> str:
        """As in a file name."""
        return f"{self.index + 1}-of-{self.count}"

    @property
    def partial(self) -> bool:
        """Whether other shares are painted elsewhere, so that this run is not the whole."""
        return self.count > 1 and self.state is None

    def pick(self, items: Sequence[Item]) -> list[Item]:
        """Every `count`-th item: interleaved, so that all shares end at about the same time."""
        return list(items[self.index :: self.count])

    def wait(self) -> None:
        """Until all processes of this launch are here."""
        if self.state is not None:
            self.state.wait_for_everyone()


def my_share(text: str | None, device: str) -> Share:
    """From `--shard i/n`, else from accelerate's environment, else everything.

    Raises:
        ValueError: a shard that is not of the form i/n, or one given under `accelerate launch`.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if text is not None and launched:
        raise ValueError("accelerate launch shares the rows out itself; leave out --shard")
    if text is not None:
        index, count = shard(text)
        return Share(index - 1, count)
    if not launched:
        return Share()
    from datetime import timedelta

    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=timedelta(days=_DAYS))
    return Share(state.process_index, state.num_processes, state)


def launched_first() -> bool:
    """Whether this process is the one that speaks, also where `accelerate launch` started several."""
    return int(os.environ.get("RANK", "0")) == 0


def own_device(device: str) -> str:
    """The device's name, 'auto' resolved. Under `accelerate launch` each process has a GPU of its own: 'cuda' becomes
    'cuda:1' for the second."""
    device = resolved(device)
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" and "LOCAL_RANK" in os.environ else device
