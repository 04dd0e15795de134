"""Which attention heads carry a task: what a head says in examples of it, put where the examples show nothing.

    heads = ce.rank_heads(lm, [task, other])
    heads.top(10); heads.plot("heads.png"); heads.save("heads.json")

Todd et al. 2024 (2310.15213), section 2: ā, the mean output of each head at the last token of prompts with examples;
the causal effect p(answer | shuffled examples, head <- ā) - p(answer | shuffled examples); its mean over prompts.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from concept_edit.files import replace_file
from concept_edit.language.tasks import Task
from concept_edit.reading.plain import object_of, one_sentence
from concept_edit.search.head_effects import Against, Searched, search_tasks

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

_FORMAT = "concept-edit heads 1"
_RESAMPLES = 1000
_NAMED = 2
"""Tasks that a plot's title has room for."""


class Head(NamedTuple):
    """An attention head."""

    layer: int
    head: int


class HeadRow(NamedTuple):
    """A head in a ranking."""

    layer: int
    head: int
    effect: float
    """Probability of the answer gained, mean over prompts and tasks."""
    low: float
    high: float
    """95 % interval, bootstrap over prompts."""
    exact: bool
    """False: the gradient's estimate."""


@dataclass(frozen=True, eq=False)
class Heads:
    """A ranking of all heads. Made by `rank_heads` or `Heads.load`."""

    model: str
    tasks: tuple[str, ...]
    effects: Float[Tensor, "layers heads"]
    """Mean over tasks."""
    low: Float[Tensor, "layers heads"]
    high: Float[Tensor, "layers heads"]
    exact: Bool[Tensor, "layers heads"]
    per_task: Mapping[str, Float[Tensor, "layers heads"]]
    screened: float | None
    """Spearman's correlation of the gradient's estimates with the computed effects, over the computed heads."""
    prompts: int
    """Of each task."""
    seconds: float = 0.0
    """Of CPU, in this process; what was taken from a folder counts as it was."""
    about: Mapping[str, Any] = field(default_factory=dict)

    def top(self, count: int, *, task: str | None = None, but: str | None = None) -> tuple[Head, ...]:
        """The `count` heads with the largest computed effects.

        Args:
            task: By this task alone.
            but: By all tasks but this one: heads that were found on others.

        Raises:
            ValueError: no such task, or more heads than were computed.
        """
        table = self.effects
        for name in (task, but):
            if name is not None and name not in self.per_task:
                raise ValueError(f"{name} was not ranked; there are {', '.join(self.tasks)}")
        if task is not None:
            table = self.per_task[task]
        elif but is not None:
            others = [self.per_task[name] for name in self.tasks if name != but]
            if not others:
                raise ValueError(f"{but} is the only task ranked; heads of others need a second")
            table = torch.stack(others).mean(dim=0)
        known = int(self.exact.sum())
        if not 1 <= count <= known:
            raise ValueError(f"{count} heads asked, {known} were computed")
        ranked = torch.where(self.exact, table, torch.full_like(table, -torch.inf)).flatten().topk(count).indices
        return tuple(Head(int(i) // table.shape[1], int(i) % table.shape[1]) for i in ranked)

    def random(self, count: int, *, seed: int = 0) -> tuple[Head, ...]:
        """As a control: `count` heads drawn from all but the top `count`."""
        best = set(self.top(min(count, int(self.exact.sum()))))
        layers, heads = self.effects.shape
        others = [Head(n, h) for n in range(layers) for h in range(heads) if (n, h) not in best]
        return tuple(random.Random(seed).sample(others, min(count, len(others))))

    def rows(self, count: int) -> list[HeadRow]:
        """The top `count` with their intervals."""
        return [
            HeadRow(*at, float(self.effects[at]), float(self.low[at]), float(self.high[at]), exact=bool(self.exact[at]))
            for at in self.top(count)
        ]

    def table(self, count: int = 10) -> str:
        """The top `count` as text."""
        lines = [f"{len(self.tasks)} tasks, {self.prompts} prompts each: {', '.join(self.tasks)}"]
        for r in self.rows(count):
            lines.append(f"layer {r.layer:2d} head {r.head:2d}  {r.effect:+.4f}  [{r.low:+.4f}, {r.high:+.4f}]")
        if self.screened is not None:
            known = int(self.exact.sum())
            lines.append(
                f"{known} heads computed; the gradient that chose them agrees with Spearman {self.screened:.2f}"
            )
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str], *, task: str | None = None, marked: int = 10) -> None:
        """Draw the map of squares, the top `marked` framed."""
        from concept_edit.search.plots import plot_squares

        table = self.effects if task is None else self.per_task[task]
        names = ", ".join(self.tasks) if len(self.tasks) <= _NAMED else f"{len(self.tasks)} tasks"
        title = f"{self.model}: what each head carries of {task or names}"
        plot_squares(table.numpy(), path, title=title, marked=self.top(min(marked, int(self.exact.sum())), task=task))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON; `Heads.load` reads it."""
        data: dict[str, Any] = {"format": _FORMAT}
        for name, value in vars(self).items():
            if isinstance(value, Mapping):
                value = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in value.items()}
            data[name] = value.tolist() if isinstance(value, Tensor) else value
        replace_file(path, json.dumps(data, ensure_ascii=False).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Heads:
        """Read what `save` wrote.

        Raises:
            ValueError: another file, or a damaged one.
        """
        data = object_of(path, _FORMAT, "ranking of heads")
        with one_sentence(path, "read as a ranking of heads"):
            for name in ("effects", "low", "high"):
                data[name] = torch.tensor(data[name], dtype=torch.float64)
            data["exact"] = torch.tensor(data["exact"], dtype=torch.bool)
            data["per_task"] = {k: torch.tensor(v, dtype=torch.float64) for k, v in data["per_task"].items()}
            return cls(**data | {"tasks": tuple(data["tasks"])})


def rank_heads(
    lm: LanguageModel,
    tasks: Task | Sequence[Task],
    *,
    method: Literal["screened", "exact"] = "screened",
    exact: int = 40,
    prompts: int = 20,
    examples: int = 40,
    shots: int = 10,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
    against: Against = "shuffled",
) -> Heads:
    """Rank heads by their mean causal effect on one task, or on several.

    Args:
        method: "screened": a gradient ranks all heads and the top `exact` are computed; "exact": all are computed.
        prompts: With shuffled labels, of each task, on which the effect is measured.
        examples: Prompts whose heads' outputs are averaged.
        shots: Examples in a prompt.
        folder: What is done is kept there, and a run started again goes on from it.
        progress: Show a bar on stderr.
        against: Prompts on which the effect is measured: "shuffled" has examples with outputs of other pairs, as
            published; "bare" has none, for tasks that the words of their answers give away however they are shuffled.

    Raises:
        ValueError: no task, two of one name, too few pairs, or heads that nothing depends on.
    """
    listed = (tasks,) if isinstance(tasks, Task) else tuple(tasks)
    names = [task.name for task in listed]
    if not listed or len(set(names)) < len(names):
        raise ValueError(f"give one task or more, each with a name of its own; got {names}")
    if method not in ("screened", "exact"):
        raise ValueError(f"method is {method!r}; it is 'screened' or 'exact'")
    if against not in ("shuffled", "bare"):
        raise ValueError(f"against is {against!r}; it is 'shuffled' or 'bare'")
    count = None if method == "exact" else exact
    found = search_tasks(lm, listed, count, prompts, examples, shots, seed, folder, progress, against)
    return _ranking(lm.name, listed, found, prompts)


def _ranking(model: str, tasks: Sequence[Task], found: Searched, prompts: int) -> Heads:
    means = {task.name: found.effects[task.name].mean(dim=0) for task in tasks}
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(_RESAMPLES):
        rows = [found.effects[t.name][torch.from_numpy(rng.integers(prompts, size=prompts))].mean(dim=0) for t in tasks]
        draws.append(torch.stack(rows).mean(dim=0))
    ends = torch.quantile(torch.stack(draws), torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return Heads(
        model=model,
        tasks=tuple(means),
        effects=torch.stack(list(means.values())).mean(dim=0),
        low=ends[0],
        high=ends[1],
        exact=found.exact,
        per_task=means,
        screened=found.screened,
        prompts=prompts,
        seconds=found.seconds,
    )
