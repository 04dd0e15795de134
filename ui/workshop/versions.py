"""A visitor's solved edits in order, with undo and redo."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concept_edit.edit import Edit


@dataclass(frozen=True)
class Version:
    """One solved edit, as the history shows it."""

    title: str
    edit: Edit
    model: str
    """Name of the model it was solved on."""
    strength: float = 1.0


@dataclass
class Versions:
    """What was solved, and which of it holds. 0 is the original model."""

    made: list[Version] = field(default_factory=list)
    at: int = 0

    @property
    def current(self) -> Version | None:
        """The version that holds; None for the original model."""
        return self.made[self.at - 1] if self.at else None

    def push(self, version: Version) -> None:
        """Add a version after the current one; versions that were undone are dropped."""
        self.made[self.at :] = [version]
        self.at += 1

    def undo(self) -> bool:
        """One step back; False at the original."""
        return self.go(self.at - 1)

    def redo(self) -> bool:
        """One step forward; False at the newest."""
        return self.go(self.at + 1)

    def go(self, at: int) -> bool:
        """To a version of the history; False where there is none."""
        inside = 0 <= at <= len(self.made)
        self.at = at if inside else self.at
        return inside

    def turn(self, strength: float) -> None:
        """Give the current version another strength."""
        if self.at:
            self.made[self.at - 1] = replace(self.made[self.at - 1], strength=strength)

    def titles(self) -> list[str]:
        """The history, oldest first."""
        return ["0 · original", *(f"{i} · {version.title}" for i, version in enumerate(self.made, 1))]
