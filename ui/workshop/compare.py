"""What the Compare tab does: the same seeds before and after, over edited, neighbouring and unrelated prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concept_edit.pictures import contact_sheet, stacked, write_png
from concept_edit.recipe import Moderate, normal
from ui.workshop.edit import fitting
from ui.workshop.painting import Shot, painted
from ui.workshop.session import News, Tell, Visit, Workshop

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.models.opened import OpenedModel
    from ui.workshop.versions import Version

GROUPS = {"edited": "Edited prompts", "near": "Neighbouring prompts", "unrelated": "Unrelated prompts"}
"""Group -> title, in the order they are shown."""
MOST = 24
"""Prompts of a group, times seeds."""


@dataclass(frozen=True)
class Pair:
    """One prompt and seed, before and after."""

    group: str
    shot: Shot
    before: Image
    after: Image
    veiled: bool = False
    """Whether it asks for a moderated concept: blurred until clicked."""

    @property
    def caption(self) -> str:
        """Prompt and seed."""
        return f"{self.shot.prompt} · seed {self.shot.seed}"


@dataclass(frozen=True)
class Wanted:
    """What to compare on."""

    groups: tuple[str, ...] = tuple(GROUPS)
    count: int = 4
    """Prompts of each group."""
    seeds: tuple[int, ...] = (1,)
    own: tuple[str, ...] = ()
    """Further prompts, shown with the edited ones."""
    steps: int | None = None

    def __post_init__(self) -> None:
        if not self.groups and not self.own:
            raise ValueError("choose at least one group of prompts, or write some of your own")
        if self.count * len(self.seeds) > MOST or len(self.own) * len(self.seeds) > 2 * MOST:
            raise ValueError(f"that is more than {MOST} pairs a group; take fewer prompts or fewer seeds")


def compare(workshop: Workshop, visit: Visit, wanted: Wanted) -> Iterator[News]:
    """Paint every pair; news carry the pairs so far, the last carries all.

    Raises:
        ValueError: nothing was solved yet.
    """
    if visit.edits.current is None:
        raise ValueError("there is nothing to compare yet; solve an edit on the Edit tab first")

    def job(tell: Tell) -> tuple[Pair, ...]:
        model = workshop.model(visit.model)
        version = fitting(visit, model)
        assert version is not None
        rows = _rows(model, version, wanted)
        pairs: list[Pair] = []
        for number, (group, shot, veiled) in enumerate(rows, 1):
            what = f"pair {number} of {len(rows)}"
            (before,) = painted(visit, model, None, [shot], tell, what=f"{what}, before")
            (after,) = painted(visit, model, version, [shot], tell, what=f"{what}, after")
            pairs.append(Pair(group, shot, before, after, veiled))
            tell(News(f"Painted {what}", number / len(rows), tuple(pairs)))
        return tuple(pairs)

    return workshop.work(visit, job)


def _rows(model: OpenedModel, version: Version, wanted: Wanted) -> list[tuple[str, Shot, bool]]:
    """Group, shot and whether it asks for a moderated concept."""
    from concept_edit.evaluation.sets import choose_rows

    recipe = version.edit.recipe
    hidden = {normal(edit.concept) for edit in recipe.edits if isinstance(edit, Moderate)}
    chosen = choose_rows(model, recipe, per_set=wanted.count, seeds=wanted.seeds) if wanted.groups else []
    rows = [("edited", Shot(prompt, seed, wanted.steps), False) for prompt in wanted.own for seed in wanted.seeds]
    counts = dict.fromkeys(GROUPS, 0)
    for row in chosen:
        group = "edited" if row.group == "balanced" else row.group
        if group in wanted.groups and counts[group] < wanted.count * len(wanted.seeds):
            counts[group] += 1
            rows.append((group, Shot(row.prompt, row.seed, wanted.steps), False))
    veiled = [any(f" {name} " in f" {normal(shot.prompt)} " for name in hidden) for _, shot, _ in rows]
    return [(group, shot, veil) for (group, shot, _), veil in zip(rows, veiled, strict=True)]


def joined(pair: Pair, side: int = 160) -> Image:
    """Before and after side by side, each `side` pixels wide."""
    return contact_sheet((pair.before, pair.after), columns=2, side=side, gap=4)


def save_sheet(pairs: Sequence[Pair], version: Version, path: Path) -> Path:
    """All pairs as one PNG with captions; prompts, seeds and recipe are in its text fields too."""
    sheets = []
    for name, title in GROUPS.items():
        found = [pair for pair in pairs if pair.group == name]
        if found:
            tiles, captions = [joined(pair) for pair in found], [pair.caption[:50] for pair in found]
            head = f"{title}: before, after"
            sheets.append(contact_sheet(tiles, columns=3, gap=10, title=head, captions=captions))
    about = {"prompts": "\n".join(pair.caption for pair in pairs), "recipe": version.edit.recipe.to_yaml()}
    about["model"] = f"{version.model}, strength {version.strength:g}"
    write_png(path, stacked(sheets), about)
    return path
