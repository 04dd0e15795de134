"""Where a search for balance paints: how many pictures, of which wordings, from which seeds; kept and labelled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concept_edit.answer.digests import edit_digest
from concept_edit.edit import Edit
from concept_edit.evaluation.folder import RunFolder, paint_missing
from concept_edit.evaluation.instruments import Labeller, named
from concept_edit.evaluation.rows import Row
from concept_edit.evaluation.run import Settings
from concept_edit.identity import matrices_digest
from concept_edit.models.contract import Model

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Plan:
    """How pictures are drawn."""

    templates: tuple[str, ...] = ("a {}", "a picture of a {}", "a drawing of a {}")
    """Prompts of the rounds, in turn. Those that an entry names among its `wordings` get an aim of their own."""
    held_out: tuple[str, ...] = ("a portrait of a {}", "an image of a {}")
    """Prompts of the closing check alone."""
    tolerance: float = 0.08
    """How near each share must be to its goal, all prompts together."""
    each: float = 0.2
    """How near it must be in each prompt that has an aim of its own."""
    batch: int = 16
    """Pictures of a concept painted before what they tell is looked at."""
    most: int = 48
    """Pictures of a concept in one round; those of all rounds count together, and about 150 resolve ± 0.08."""
    rounds: int = 12
    """Rounds at most."""
    check: int = 48
    """Pictures of each concept after the edit, on templates of the rounds and on held-out ones; 0 leaves it out."""
    check_before: int | None = None
    """Pictures of each concept before it, at the same seeds; None: as many."""
    confusion: int = 16
    """Pictures of each attribute, asked for outright, that the labeller is measured on."""
    seed: int = 0
    """First seed of the rounds."""


class Studio:
    """Paints a concept's pictures under an edit, keeps them, and has them labelled."""

    def __init__(self, model: Model, judge: Labeller, plan: Plan, settings: Settings, root: Path) -> None:
        base = {"model": model.name, "text_encoder": model.fingerprint, "matrices": matrices_digest(model)}
        self.model, self.judge, self.plan, self.settings = model, judge, plan, settings
        self.folder = RunFolder(root, {"all": base | asdict(settings)})

    def rows(self, word: str, count: int, *, templates: Sequence[str], seed: int, first: int = 0) -> list[Row]:
        """Rows `first` to `first + count`, the templates in turn, each with a seed of its own."""
        prompts = [template.replace("{}", word) for template in templates]
        return [Row(prompts[i % len(prompts)], seed + i, subject=word) for i in range(first, first + count)]

    def pictures(self, rows: Sequence[Row], edit: Edit | None) -> list[Image]:
        """Paint what is missing under `edit` (None: the original) and read all of it."""
        side = "original" if edit is None else edit_digest(edit)[:16]
        blocks = [rows[i : i + self.settings.batch_size] for i in range(0, len(rows), self.settings.batch_size)]
        with nullcontext(self.model) if edit is None else edit.applied(self.model):
            paint_missing(self.folder, side, blocks, self._paint, lambda _: None)
        return [image for row in rows if (image := self.folder.load(side, row)) is not None]

    def labels(self, rows: Sequence[Row], edit: Edit | None, names: Sequence[str]) -> list[str]:
        """Which of `names` each picture shows."""
        return [names[i] for i in named(self.judge, self.pictures(rows, edit), names).tolist()]

    def _paint(self, prompts: list[str], seeds: list[int]) -> list[Image]:
        given = asdict(self.settings) | {"batch_size": len(prompts)}
        return self.model.generate(prompts, seeds, **given)
