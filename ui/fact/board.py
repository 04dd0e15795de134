"""What stands on the card: the trace as a map, what was asked before and after, and the sentence about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from concept_edit.language.facts import Fact
from ui.fact.answers import Answer

if TYPE_CHECKING:
    from concept_edit.language.edit import FactEdit

Role = Literal["asked", "wording", "neighbour"]
State = Literal["good", "look", "bad", "calm"]
OPENING = Path(__file__).parent / "opening.json"


@dataclass(frozen=True)
class Map:
    """The trace of one prompt, and what the model would say at each place of it."""

    tokens: tuple[str, ...]
    subject: tuple[int, ...]
    """Rows of `tokens` that are the subject."""
    effects: Mapping[str, Any]
    """hidden, mlp, attention -> tokens x layers: probability that comes back."""
    lens: Any
    """tokens x layers x words: (token, probability)."""
    layer: int
    """The one that the trace chooses."""
    why: str
    """A sentence with the figures it was chosen by."""


@dataclass(frozen=True)
class Row:
    """One prompt, asked twice."""

    role: Role
    prompt: str
    before: Answer
    after: Answer | None = None

    @property
    def fine(self) -> bool:
        """Learned, for the asked and its wordings; the same word as before, for a neighbour."""
        if self.after is None:
            return False
        return self.after.word == self.before.word if self.role == "neighbour" else self.after.says_new

    @property
    def said(self) -> str:
        """In a word or two."""
        if self.role == "neighbour":
            return "unchanged" if self.fine else "changed"
        return "learned" if self.fine else "not learned"


@dataclass(frozen=True, eq=False)
class Board:
    """One version. A board whose rows have no answers after is one that is being made."""

    model: str
    fact: Fact
    rows: tuple[Row, ...] = ()
    map: Map | None = None
    """None where an edit came from a file and was not traced."""
    layers: tuple[int, ...] = ()
    """Where it was written."""
    method: str = "rome"
    strength: float = 1.0
    measures: Mapping[str, float] = field(default_factory=dict)
    """CounterFact's, in percent."""
    edit: FactEdit | None = None
    """None of the opening example, until something needs it."""
    asked: str = ""
    """What the fields said; another saying makes the verdict stale."""
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """In the history."""
        return f"{self.fact.subject}: {self.fact.new}"

    @property
    def done(self) -> bool:
        """Whether there are answers after."""
        return bool(self.rows) and all(row.after is not None for row in self.rows)

    def counts(self) -> tuple[int, int, int, int]:
        """Wordings that learned, of how many; neighbours unchanged, of how many."""
        asked = [row.fine for row in self.rows if row.role != "neighbour"]
        near = [row.fine for row in self.rows if row.role == "neighbour"]
        return sum(asked), len(asked), sum(near), len(near)

    def verdict(self) -> tuple[State, str]:
        """How it went and the sentence."""
        if self.strength == 0:
            return "calm", "Strength 0: this is the original model, nothing is changed."
        learned, wordings, same, near = self.counts()
        kept = f"; neighbours unchanged {same} of {near}" if near else "; no neighbours were asked"
        sentence = f"Learned in {learned} of {wordings} wording{'s' * (wordings != 1)}{kept}."
        if not self.rows[0].fine:
            return "bad", sentence
        fine = learned >= 0.8 * wordings and (not near or same >= 0.9 * near)
        return ("good" if fine else "look"), sentence

    def by(self) -> str:
        """Where the sentence comes from."""
        where = f"layer {self.layers[0]}" if len(self.layers) == 1 else f"layers {', '.join(map(str, self.layers))}"
        chosen = ", chosen by the trace" if self.map is not None and self.map.layer == self.layers[0] else ""
        return (
            f"By what {self.model} says first, asked {len(self.rows)} times before and after. Written in {where}"
            f"{chosen}; strength {self.strength:g}."
        )

    def original(self) -> Board:
        """The same questions with nothing changed."""
        return replace(self, rows=tuple(replace(row, after=row.before) for row in self.rows), strength=0.0)

    def plain(self) -> dict[str, Any]:
        """As JSON has it, without the edit."""
        return {
            "model": self.model, "fact": self.fact.plain(), "rows": [asdict(row) for row in self.rows],
            "map": None if self.map is None else asdict(self.map), "layers": list(self.layers), "method": self.method,
            "strength": self.strength, "measures": dict(self.measures), "asked": self.asked, "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Board:
        """What `plain` gave."""
        rows = tuple(_row(row) for row in plain["rows"])
        held = plain["map"]
        found = held and Map(**held | {"tokens": tuple(held["tokens"]), "subject": tuple(held["subject"])})
        return cls(
            plain["model"], Fact(**plain["fact"]), rows, found, tuple(plain["layers"]), plain["method"],
            plain["strength"], plain["measures"], None, plain["asked"], tuple(plain["notes"]),
        )  # fmt: skip


def _row(plain: Mapping[str, Any]) -> Row:
    after = plain["after"]
    return Row(plain["role"], plain["prompt"], Answer(**plain["before"]), after and Answer(**after))


@cache
def opening() -> Board:
    """The example that the card opens with: what the embedded model gave, in a file that `ui.fact.opening` makes."""
    return Board.of(json.loads(OPENING.read_text(encoding="utf-8")))


@dataclass
class Desk:
    """A visitor's versions in order, with undo and redo; 0 is the original model."""

    made: list[Board]
    at: int = 1

    @property
    def board(self) -> Board:
        """What stands on the card: the version that holds, or the first one's questions to the original model."""
        return self.made[self.at - 1] if self.at else self.made[0].original()

    def push(self, board: Board) -> None:
        """A new version after the one that holds; undone ones go."""
        self.made[self.at :] = [board]
        self.at += 1

    def move(self, by: int) -> bool:
        """One back or forth; False at either end."""
        inside = 0 <= self.at + by <= len(self.made)
        self.at += by if inside else 0
        return inside

    def turned(self, board: Board) -> None:
        """The version that holds, at another strength."""
        if self.at:
            self.made[self.at - 1] = board


def roles(fact: Fact) -> list[tuple[Role, str]]:
    """All that is asked about a fact."""
    found: list[tuple[Role, str]] = [("asked", fact.asked)]
    found += [("wording", prompt) for prompt in fact.filled(fact.paraphrases)]
    return [*found, *(("neighbour", prompt) for prompt, _ in fact.neighbours)]


def rows_of(
    asked: Sequence[tuple[Role, str]], before: Sequence[Answer], after: Sequence[Answer] | None
) -> tuple[Row, ...]:
    """Rows of a board."""
    later: Sequence[Answer | None] = after if after is not None else [None] * len(before)
    return tuple(Row(role, prompt, b, a) for (role, prompt), b, a in zip(asked, before, later, strict=True))
