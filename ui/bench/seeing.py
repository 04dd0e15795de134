"""What a judge sees in pictures of the embedded model, in words and as names that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from concept_edit.recipe import normal

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.models.contract import Model


OTHER = "other"
"""The judge's word for a picture of nothing it knows."""


@dataclass(frozen=True)
class Sight:
    """One picture as the judge names it."""

    concept: str
    style: str
    presentation: str = ""
    """`man` or `woman` of a profession."""

    @property
    def words(self) -> str:
        """'a woman doctor, Twemoji'."""
        what = f"{self.presentation} {self.concept}".strip()
        if what == OTHER:
            return f"nothing it knows, {self.style}"
        return f"{'an' if what[:1] in 'aeiou' else 'a'} {what}, {self.style}"

    def shows(self, name: str) -> bool:
        """Whether it is the thing or in the style of this name."""
        return normal(name) in (normal(self.concept), normal(self.style))


class Eye:
    """The embedded judge."""

    name = "the embedded judge"

    def __init__(self, judge: Any) -> None:
        from concept_edit.demo.judge import CONCEPT_NAMES, STYLE_NAMES

        self.judge = judge
        self.names = {normal(name) for name in (*CONCEPT_NAMES, *STYLE_NAMES)}

    def knows(self, name: str) -> bool:
        """Whether pictures of this name can be told."""
        return normal(name) in self.names

    def __call__(self, pictures: Sequence[Image]) -> list[Sight]:
        """What each shows."""
        return [Sight(found.concept, found.style, found.presentation) for found in self.judge(pictures)]


def eye_for(model: Model) -> Eye | None:
    """The judge for pictures of this model; None where it was never taught any."""
    return _embedded() if model.name.startswith("demo") else None


@cache
def _embedded() -> Eye:
    from concept_edit import demo

    return Eye(demo.load_judge())
