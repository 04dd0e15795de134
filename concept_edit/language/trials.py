"""What a function vector does: before and after, under several conditions, beside controls, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.evaluation.intervals import wilson
from concept_edit.language.answering import Added, first_tokens, whole_words
from concept_edit.language.tasks import OTHER_TEMPLATES, Prompt, Task

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel
    from concept_edit.language.vectors import FunctionVector


@dataclass(frozen=True)
class Share:
    """Prompts answered rightly."""

    condition: str
    """`10-shot`, `zero-shot`, `shuffled`, or a template."""
    who: str
    """`plain`, `vector`, or a control."""
    hits: int
    n: int
    measure: str = "first token"
    """`first token` of the answer, or the `whole word`."""

    @property
    def value(self) -> float:
        """Of 1."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson."""
        return wilson(self.hits, self.n)


@dataclass(frozen=True)
class Trial:
    """One vector, tried on one task."""

    task: str
    vector: str
    layer: int
    strength: float
    shares: tuple[Share, ...]

    def share(self, condition: str, who: str, measure: str = "first token") -> Share:
        """One of them.

        Raises:
            ValueError: it was not measured.
        """
        for each in self.shares:
            if (each.condition, each.who, each.measure) == (condition, who, measure):
                return each
        raise ValueError(f"{condition} with {who} was not measured by {measure}")

    def table(self) -> str:
        """As Markdown."""
        who = list(dict.fromkeys(each.who for each in self.shares))
        rows = list(dict.fromkeys((each.condition, each.measure) for each in self.shares))
        lines = ["| prompts | " + " | ".join(who) + " |", "|---" * (len(who) + 1) + "|"]
        for condition, measure in rows:
            cells = [_cell(self.shares, condition, measure, name) for name in who]
            shown = condition.replace("\n", "⏎").replace("|", "\\|")
            lines.append(f"| {shown}, {measure} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Zero-shot accuracy over layers and strengths."""

    accuracy: Float[Tensor, "layers strengths"]
    layers: tuple[int, ...]
    strengths: tuple[float, ...]
    n: int

    @property
    def best(self) -> tuple[int, float]:
        """Layer and strength; of equals the earliest layer, then the weakest."""
        place = int(self.accuracy.flatten().argmax())
        return self.layers[place // len(self.strengths)], self.strengths[place % len(self.strengths)]


def sweep(
    lm: LanguageModel,
    vector: FunctionVector,
    task: Task,
    *,
    layers: Sequence[int] | None = None,
    strengths: Sequence[float] = (1.0, 2.0),
    count: int = 30,
    seed: int = 0,
) -> Sweep:
    """Add the vector in each layer and strength to zero-shot prompts of `task`: the part not held out."""
    chosen = tuple(range(lm.layers) if layers is None else layers)
    count = min(count, len(task.pairs))
    prompts = task.prompts(count, shots=0, seed=seed)
    added: dict[str, Added] = {f"{layer} {s}": (vector, layer, s) for layer in chosen for s in strengths}
    found = first_tokens(lm, prompts, added)
    table = [[sum(found[f"{layer} {s}"]) / count for s in strengths] for layer in chosen]
    return Sweep(torch.tensor(table, dtype=torch.float64), chosen, tuple(strengths), count)


def try_vector(
    lm: LanguageModel,
    vector: FunctionVector,
    task: Task,
    layer: int,
    strength: float = 1.0,
    *,
    shown: Task | None = None,
    controls: Mapping[str, FunctionVector] | None = None,
    natural: Sequence[str] = (),
    shots: int = 10,
    count: int = 50,
    seed: int = 7,
    words: bool = False,
) -> Trial:
    """Ask `task` plainly, with the vector and with controls: with examples, without, with wrong ones, worded otherwise.

    Args:
        task: What is asked: pairs that no search has seen.
        shown: Where examples come from.
        controls: Name -> vector that should do nothing.
        natural: Templates of plain sentences, with {input} and {output}, asked without examples.
        count: Prompts of each kind, at most one for each pair: the same question twice is no second measurement.
        words: Measure whole words too, where nothing was shown.
    """
    count = min(count, len(task.pairs))
    added: dict[str, Added] = {"vector": (vector, layer, strength)}
    added |= {name: (other, layer, strength) for name, other in (controls or {}).items()}
    source = shown or task
    wrong = replace(task, shuffled=True)
    asked: dict[str, list[Prompt]] = {
        f"{shots}-shot": task.prompts(count, shots=shots, seed=seed, shown=source),
        "zero-shot": task.prompts(count, shots=0, seed=seed),
        "shuffled": wrong.prompts(count, shots=shots, seed=seed, shown=source),
    }
    for template in (*OTHER_TEMPLATES, *natural):
        asked[template] = task.prompts(count, shots=0, seed=seed, template=template)
    shares = []
    for condition, prompts in asked.items():
        found = first_tokens(lm, prompts, {} if condition == f"{shots}-shot" else added)
        shares += [Share(condition, who, sum(hits), len(hits)) for who, hits in found.items()]
    if words:
        for who, each in (("plain", None), ("vector", added["vector"])):
            hits = whole_words(lm, asked["zero-shot"], each)
            shares.append(Share("zero-shot", who, sum(hits), len(hits), "whole word"))
        hits = whole_words(lm, asked[f"{shots}-shot"])
        shares.append(Share(f"{shots}-shot", "plain", sum(hits), len(hits), "whole word"))
    return Trial(task.name, vector.name, layer, strength, tuple(shares))


def portability(
    lm: LanguageModel, vectors: Mapping[str, Added], tasks: Sequence[Task], *, count: int = 30, seed: int = 7
) -> dict[tuple[str, str], Share]:
    """(vector, task) -> zero-shot share: a vector should do its own task and no other. "plain" is no vector.

    Args:
        vectors: Name -> (vector, layer, strength): each where and as strongly as its own task is done best.
        count: Prompts of each task, at most one for each pair.
    """
    found: dict[tuple[str, str], Share] = {}
    for task in tasks:
        prompts = task.prompts(min(count, len(task.pairs)), shots=0, seed=seed)
        hits = first_tokens(lm, prompts, vectors)
        for name, own in hits.items():
            found[name, task.name] = Share("zero-shot", name, sum(own), len(own))
    return found


def _cell(shares: Sequence[Share], condition: str, measure: str, who: str) -> str:
    for each in shares:
        if (each.condition, each.measure, each.who) == (condition, measure, who):
            low, high = each.interval
            return f"{each.value:.2f} [{low:.2f}, {high:.2f}]"
    return ""
