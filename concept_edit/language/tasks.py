"""A task given by examples: pairs of input and output, a template, and the prompts made of them.

task = Task.load("singular-plural.json")
search, held_out = task.split()
prompts = search.prompts(25, shots=10)
"""

from __future__ import annotations

import csv
import io
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from concept_edit.reading.plain import one_sentence, parse_json, read_text
from concept_edit.reading.plain import short as shown

TEMPLATE = "Q: {input}\nA: {output}\n\n"
"""The published one."""
OTHER_TEMPLATES = ("Input: {input}\nOutput: {output}\n\n", "{input} -> {output}\n", "Word: {input}\nAnswer: {output}\n")
"""Wordings that no search uses, to see whether a vector depends on one."""


class Prompt(NamedTuple):
    """A prompt up to where the answer begins, and the answer."""

    text: str
    """Begins without the line break that divides examples, ends without a space."""
    answer: str
    """Begins with the space the template has, if it has one."""
    query: str
    """The input that is asked about."""


@dataclass(frozen=True)
class Task:
    """Pairs of input and output that share a rule."""

    name: str
    """As in `antonym`."""
    pairs: tuple[tuple[str, str], ...]
    """(input, output); an input may come twice."""
    template: str = TEMPLATE
    """One example, with `{input}` before `{output}`; examples are written one after the other."""
    shuffled: bool = field(default=False, kw_only=True)
    """Whether prompts show outputs of other pairs: examples that no longer show the rule."""

    def __post_init__(self) -> None:
        pairs = tuple((str(a), str(b)) for a, b in self.pairs)
        object.__setattr__(self, "pairs", pairs)
        if len(pairs) < 2:
            raise ValueError(f"task {self.name} has {len(pairs)} pairs; a rule needs at least two")
        if any(not a.strip() or not b.strip() for a, b in pairs):
            raise ValueError(f"task {self.name} has a pair with an empty input or output")
        places = [self.template.find(name) for name in ("{input}", "{output}")]
        if min(places) < 0 or places[0] > places[1]:
            raise ValueError(f"template {self.template!r} needs {{input}} and, after it, {{output}}")

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, name: str | None = None, template: str = TEMPLATE) -> Task:
        """Read a task: JSON with rows of `input` and `output` (or pairs, or a mapping), or a CSV of two columns.

        Raises:
            ValueError: no such rows; the message says what was found.
            OSError: the file cannot be read.
        """
        file = Path(path)
        read = _csv if file.suffix.lower() == ".csv" else _json
        return cls(name or file.stem, tuple(read(file)), template)

    def split(self, *, held_out: float = 0.3, seed: int = 0) -> tuple[Task, Task]:
        """The task's inputs in two parts that share none: for searching, and for measuring.

        Raises:
            ValueError: too few inputs for two parts of two.
        """
        inputs = sorted({a for a, _ in self.pairs})
        random.Random(f"{self.name} {seed}").shuffle(inputs)
        count = max(2, round(held_out * len(inputs)))
        if len(inputs) - count < 2:
            raise ValueError(f"task {self.name} has {len(inputs)} inputs; two parts need at least four")
        kept = set(inputs[:count])
        parts = [tuple(p for p in self.pairs if (p[0] in kept) == wanted) for wanted in (False, True)]
        return replace(self, pairs=parts[0]), replace(self, pairs=parts[1])

    def prompts(
        self, count: int, *, shots: int = 10, seed: int = 0, shown: Task | None = None, template: str | None = None
    ) -> list[Prompt]:
        """`count` prompts of `shots` examples and a query that is none of them; the same seed, the same prompts.

        Args:
            shown: Where the examples come from, if not from this task: measure on held-out pairs, show the others.
            template: Another wording than the task's own.

        Raises:
            ValueError: more shots than there are pairs to show.
        """
        rng = random.Random(f"{self.name} {seed} {shots} {self.shuffled}")
        source = (shown or self).pairs
        order = list(self.pairs)
        rng.shuffle(order)
        return [
            self._prompt(order[i % len(order)], source, shots, rng, template or self.template) for i in range(count)
        ]

    def _prompt(
        self, query: tuple[str, str], source: Sequence[tuple[str, str]], shots: int, rng: random.Random, template: str
    ) -> Prompt:
        others = [pair for pair in source if pair[0] != query[0]]
        if len(others) < shots:
            raise ValueError(f"task {self.name}: {shots} examples asked, {len(others)} pairs to show")
        examples = rng.sample(others, shots)
        if self.shuffled:
            outputs = _moved([b for _, b in examples], [b for _, b in source], rng)
            examples = [(a, b) for (a, _), b in zip(examples, outputs, strict=True)]
        written = "".join(_write(template, a, b) for a, b in examples)
        before = template[: template.index("{output}")].replace("{input}", query[0])
        whole = (written + before).lstrip("\n")
        text = whole.rstrip(" ")
        return Prompt(text, whole[len(text) :] + query[1], query[0])


def permuted(task: Task, *, seed: int = 0) -> Task:
    """The control without a rule: every input keeps one output, drawn by chance from the task's own."""
    outputs = [b for _, b in task.pairs]
    random.Random(seed).shuffle(outputs)
    pairs = tuple((a, b) for (a, _), b in zip(task.pairs, outputs, strict=True))
    return replace(task, name=f"{task.name}, permuted", pairs=pairs)


def list_tasks(
    pairs: Sequence[tuple[str, str]], *, length: int = 3, count: int = 400, seed: int = 0
) -> dict[str, Task]:
    """Four tasks on lists of words, for vector arithmetic: {first, last} x {copy, map}.

    Args:
        pairs: The map, word by word.
        length: Words in a list.
        count: Lists.
    """
    rng = random.Random(seed)
    if len(pairs) < length:
        raise ValueError(f"{len(pairs)} pairs make no lists of {length} words")
    lists = [rng.sample(list(pairs), length) for _ in range(count)]
    found = {}
    for where, place in (("first", 0), ("last", -1)):
        for what, side in (("copy", 0), ("map", 1)):
            rows = tuple((", ".join(a for a, _ in row), row[place][side]) for row in lists)
            found[f"{where} {what}"] = Task(f"{where} {what}", rows)
    return found


def _write(template: str, given: str, answer: str) -> str:
    return template.replace("{input}", given).replace("{output}", answer)


def _moved(outputs: list[str], pool: Sequence[str], rng: random.Random) -> list[str]:
    """The outputs in an order that leaves none in place where that can be; one alone is replaced by another's."""
    if len(set(outputs)) == 1:
        others = [b for b in pool if b != outputs[0]]
        return [rng.choice(others) for _ in outputs] if others else outputs
    for _ in range(100):
        order = rng.sample(outputs, len(outputs))
        if all(a != b for a, b in zip(order, outputs, strict=True)):
            return order
    return order


def _csv(path: Path) -> list[tuple[str, str]]:
    with one_sentence(path, "read as a table"):
        lines = csv.reader(io.StringIO(read_text(path), newline=""))
        rows = [row for row in lines if any(cell.strip() for cell in row)]
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    if {"input", "output"} <= set(head):
        a, b = head.index("input"), head.index("output")
        rows = rows[1:]
    else:
        a, b = 0, 1
    short = next((row for row in rows if len(row) <= max(a, b)), None)
    if not rows or short is not None:
        raise ValueError(f"{path} needs two columns, input and output; got {shown(short) if rows else 'no rows'}")
    return [(row[a].strip(), row[b].strip()) for row in rows]


def _json(path: Path) -> list[tuple[str, str]]:
    data = parse_json(read_text(path), str(path))
    if isinstance(data, Mapping) and all(isinstance(value, str) for value in data.values()):
        return list(data.items())
    if isinstance(data, Mapping):
        data = data.get("examples", data.get("pairs", []))
    found = [_row(row) for row in data] if isinstance(data, list) else []
    if not found or None in found:
        raise ValueError(f"{path} holds no task: rows like {{'input': 'hot', 'output': 'cold'}} were expected")
    return [row for row in found if row is not None]


def _row(row: object) -> tuple[str, str] | None:
    if isinstance(row, Mapping) and "input" in row and row.get("output"):
        output = row["output"][0] if isinstance(row["output"], list) else row["output"]
        return str(row["input"]).strip(), str(output).strip()
    if isinstance(row, list) and len(row) == 2:
        return str(row[0]).strip(), str(row[1]).strip()
    return None
