"""Where a slider's marks go: how often pictures show what it slides to, made monotone, and cut in equal steps.

Strength 1 is the wording's own distance, which says nothing of what is seen: one concept tips over at a half, another
not before 1.5. Pictures at some strengths tell the share; monotone regression (pool adjacent violators; Ayer et al.
1955, Barlow et al. 1972) makes of it a curve that never falls, and the marks are the strengths where that curve has
gone equal parts of its way.

    curve = calibrate(model, edit, "woman")
    for strength in curve.marks(9):
        with edit.applied(model, strength): ...
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from concept_edit.balance.curve_page import curve_page
from concept_edit.demo import EMBEDDED
from concept_edit.edit import Edit
from concept_edit.evaluation.instruments import Labeller, embedded_instruments, named
from concept_edit.evaluation.intervals import wilson
from concept_edit.evaluation.run import Settings
from concept_edit.files import replace_file
from concept_edit.models.contract import Model
from concept_edit.reading.plain import read_text
from concept_edit.recipe import Steer, normal

FORMAT = "concept-edit curve 1"
_MOST = 1 << 20
"""Bytes of a file with a curve."""


@dataclass(frozen=True)
class Point:
    """Pictures counted at one strength."""

    strength: float
    hits: int
    n: int

    @property
    def share(self) -> float:
        """Of the pictures, those that show it."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share (Wilson)."""
        return wilson(self.hits, self.n)


@dataclass(frozen=True)
class Curve:
    """How the share of pictures that show `shown` answers to the strength."""

    shown: str
    """What was counted: a name that the labeller gives."""
    labeller: str
    """What named it, with its version."""
    points: tuple[Point, ...]
    """In the order of their strengths."""

    def __post_init__(self) -> None:
        at = [point.strength for point in self.points]
        if len(at) < 2 or any(b <= a for a, b in pairwise(at)):
            raise ValueError(f"a curve needs two strengths or more, each above the one before, got {at}")
        if any(not 0 <= point.hits <= point.n or point.n < 1 for point in self.points):
            raise ValueError("a curve counts at least one picture at each strength, and no more hits than pictures")

    @property
    def fitted(self) -> tuple[float, ...]:
        """The shares made monotone: the nearest curve that never falls, each strength weighed by its pictures."""
        return tuple(value for value, members in self._blocks() for _ in members)

    def marks(self, count: int = 9) -> tuple[float, ...]:
        """`count` strengths between which equal steps of the share are seen, from where it begins to rise to where it
        no longer does.

        Raises:
            ValueError: fewer than two marks, or a share that does not rise.
        """
        if count < 2:
            raise ValueError(f"a slider has two marks or more, not {count}")
        blocks = self._blocks()
        if len(blocks) < 2:
            raise ValueError(
                f"the share of {self.shown!r} does not rise with the strength ({blocks[0][0]:.2f} all along); "
                "count more pictures, widen the range, or turn the slider round"
            )
        values = [value for value, _ in blocks]
        places = [float(np.mean(members)) for _, members in blocks]
        places[0], places[-1] = blocks[0][1][-1], blocks[-1][1][0]
        wanted = np.linspace(values[0], values[-1], count)
        return tuple(round(float(x), 4) for x in np.interp(wanted, values, places))

    def as_dict(self) -> dict[str, Any]:
        """Everything, with intervals and the fitted shares, as plain data."""
        return {
            "format": FORMAT,
            "shown": self.shown,
            "labeller": self.labeller,
            "points": [
                {"strength": p.strength, "hits": p.hits, "n": p.n, "share": p.share, "low": p.interval[0],
                 "high": p.interval[1], "monotone": fitted}
                for p, fitted in zip(self.points, self.fitted, strict=True)
            ],
        }  # fmt: skip

    def to_markdown(self) -> str:
        """A table: strength, share with its interval, the monotone curve."""
        lines = [f"| strength | share of {self.shown} (95 % interval) | monotone |", "|---|---|---|"]
        for point, fitted in zip(self.points, self.fitted, strict=True):
            low, high = point.interval
            told = f"{point.share:.2f} ({low:.2f} to {high:.2f}), n {point.n}"
            lines.append(f"| {point.strength:+.4g} | {told} | {fitted:.2f} |")
        return "\n".join([*lines, "", f"Named by {self.labeller}."])

    def to_html(self) -> str:
        """A page: the shares with their intervals drawn and in a table, the monotone curve, the marks."""
        marks: tuple[float, ...] = ()
        try:
            marks = self.marks()
            told = f"Marks at equal steps of the monotone curve: {', '.join(f'{mark:+.3g}' for mark in marks)}"
        except ValueError as error:
            told = f"No marks: {error}"
        return curve_page(self.as_dict(), marks, told)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, or as Markdown or HTML (with a drawing) where the path ends so.

        Raises:
            OSError: the file cannot be written.
        """
        kind = Path(path).suffix.lower()
        if kind == ".md":
            text = self.to_markdown() + "\n"
        elif kind in (".html", ".htm"):
            text = self.to_html()
        else:
            text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"
        replace_file(path, text.encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Curve:
        """Read what `save` wrote as JSON.

        Raises:
            ValueError: no such file of a curve; the message names it.
            OSError: it cannot be read.
        """
        try:
            held = json.loads(read_text(path, most=_MOST))
            if held["format"] != FORMAT:
                raise ValueError(f"its format is {held['format']!r}")
            points = tuple(Point(float(p["strength"]), int(p["hits"]), int(p["n"])) for p in held["points"])
            return cls(str(held["shown"]), str(held["labeller"]), points)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no curve of a slider ({error}); make one with calibrate") from error

    def _blocks(self) -> list[tuple[float, list[float]]]:
        """Runs of strengths with one monotone share: share, strengths."""
        blocks = list[tuple[float, float, list[float]]]()
        for point in self.points:
            hits, n, members = float(point.hits), float(point.n), [point.strength]
            while blocks and blocks[-1][0] * n >= hits * blocks[-1][1]:
                before = blocks.pop()
                hits, n, members = hits + before[0], n + before[1], before[2] + members
            blocks.append((hits, n, members))
        return [(hits / n, members) for hits, n, members in blocks]


def calibrate(
    model: Model,
    edit: Edit,
    shown: str,
    labeller: Labeller | None = None,
    *,
    prompts: Sequence[str] = (),
    strengths: Sequence[float] = (),
    pictures: int = 24,
    seed: int = 3001,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Curve:
    """Paint the same seeds at every strength and count which pictures show `shown`.

    `prompts` are painted in turn, by default the slider's own wordings; `strengths` are nine at equal steps of its
    range by default. `labeller` tells `shown` from the other names it has; None is the judge of the embedded model.

    Raises:
        ValueError: an edit without a slider and no prompts or strengths given, a name that the labeller does not know,
            or no labeller for this model.
    """
    told = labeller if labeller is not None else _judge(model)
    choices = told.choices(shown)
    if not choices:
        raise ValueError(f"{told.name} cannot tell {shown!r} from anything; name what it can see")
    place = [normal(name) for name in choices].index(normal(shown))
    asked, at = list(prompts) or _wordings(edit), sorted(set(strengths)) or _equal(edit)
    given = settings or Settings(batch_size=16)
    listed, seeds = [asked[i % len(asked)] for i in range(pictures)], [seed + i for i in range(pictures)]
    points = []
    for done, strength in enumerate(at):
        with edit.applied(model, strength):
            images = model.generate(listed, seeds, **_painting(given))
        hits = int((named(told, images, choices) == place).sum())
        points.append(Point(float(strength), hits, len(images)))
        if progress is not None:
            progress(done + 1, len(at))
    return Curve(shown, told.name, tuple(points))


def _painting(settings: Settings) -> Mapping[str, Any]:
    return dict(vars(settings))


def _judge(model: Model) -> Labeller:
    if model.name not in EMBEDDED:
        raise ValueError(f"nothing here names what {model.name} paints; give a labeller, such as ZeroShot of a CLIP")
    return embedded_instruments()[0]


def _sliders(edit: Edit) -> list[Steer]:
    found = [item for item in edit.recipe.edits if isinstance(item, Steer)]
    if not found:
        raise ValueError("the edit has no slider; name the prompts to paint and the strengths to paint them at")
    return found


def _wordings(edit: Edit) -> list[str]:
    """Every wording of every slider, but the bare concept where there are others."""
    listed = [item.prompts() for item in _sliders(edit)]
    return [prompt for prompts in listed for prompt in (prompts[1:] or prompts)]


def _equal(edit: Edit) -> list[float]:
    """Nine strengths at equal steps of the sliders' range."""
    low, high = _sliders(edit)[0].range
    return [low + (high - low) * i / 8 for i in range(9)]
