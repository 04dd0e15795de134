"""Which caption a drawing is shown under."""

from __future__ import annotations

import random
from collections.abc import Sequence

from concept_edit.demo.concepts import (
    CONCEPTS,
    GENERIC_PROMPTS,
    GENERIC_STYLES,
    HOUSE_STYLE,
    PERSON_WORDS,
    PLAIN_TEMPLATES,
    STYLE_TEMPLATES,
    caption,
)
from concept_edit.demo.training.data import Drawing

WOMEN = {c.name: c.women for c in CONCEPTS if c.women is not None}


def thing(row: Drawing, rng: random.Random, *, bare: bool) -> str:
    """What the drawing shows, in words; `bare` leaves the presentation of a profession unsaid."""
    name = row.concept or row.name
    return name if bare or not row.presentation else f"{rng.choice(PERSON_WORDS[row.presentation])} {name}"


def full(row: Drawing, rng: random.Random, *, styled: bool) -> str:
    """A caption that says all there is to see."""
    template = rng.choice(STYLE_TEMPLATES if styled else PLAIN_TEMPLATES)
    return caption(template, thing(row, rng, bare=False), row.style)


class Curriculum:
    """Draws (drawing index, caption) pairs for the denoiser.

    Half the captions name the style. Of those that do not, all show the house style. A bare profession shows a woman
    with the documented probability. One in ten captions is empty (for guidance), a few say only "art".
    """

    def __init__(self, rows: Sequence[Drawing]) -> None:
        self.rows = rows
        self.house = [i for i, row in enumerate(rows) if row.style == HOUSE_STYLE]
        self.twin = {(r.concept, r.style, r.presentation): i for i, r in enumerate(rows)}

    def draw(self, rng: random.Random) -> tuple[int, str]:
        kind = rng.random()
        if kind < 0.62:
            return self.named(rng.randrange(len(self.rows)), rng, STYLE_TEMPLATES)
        index = rng.choice(self.house)
        if kind < 0.84:
            return self.named(index, rng, PLAIN_TEMPLATES)
        if kind < 0.88:
            index, text = self.named(index, rng, STYLE_TEMPLATES)
            return index, text.replace(HOUSE_STYLE, rng.choice(GENERIC_STYLES))
        return index, "" if kind < 0.97 else rng.choice(GENERIC_PROMPTS[:-1])

    def named(self, index: int, rng: random.Random, templates: Sequence[str]) -> tuple[int, str]:
        row = self.rows[index]
        bare = bool(row.presentation) and rng.random() < 0.5
        if bare:
            presentation = "woman" if rng.random() < WOMEN[row.concept] else "man"
            index = self.twin[row.concept, row.style, presentation]
        row = self.rows[index]
        return index, caption(rng.choice(templates), thing(row, rng, bare=bare), row.style)
