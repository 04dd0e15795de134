"""Did it work, and by how much: the same seeds before and after, measured.

report = evaluate(model, edit, out="run")      # started again after a kill, it goes on where it stopped
report.save("report.html")
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.answer.digests import edit_digest
from concept_edit.demo import EMBEDDED
from concept_edit.edit import Edit
from concept_edit.evaluation.folder import RunFolder, paint_missing
from concept_edit.evaluation.instruments import Instruments, embedded_instruments
from concept_edit.evaluation.measure import Distance, Measured, figures, measure, regressions
from concept_edit.evaluation.pairs import picture_pairs
from concept_edit.evaluation.processes import Share, my_share
from concept_edit.evaluation.report import Report
from concept_edit.evaluation.rows import Row, read_rows
from concept_edit.evaluation.sets import choose_rows
from concept_edit.identity import matrices_digest
from concept_edit.models.contract import Model
from concept_edit.recipe import normal
from concept_edit.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image


_LOOKED_AT = 50
"""Concepts of an edit of which the report says whether the model knows them."""


@dataclass(frozen=True)
class Settings:
    """How pictures are painted; None is the model's own."""

    steps: int | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    size: int | None = None
    batch_size: int = 1
    """Pictures painted at a time. With 1 no picture depends on another and a kill loses one; GPUs want more."""


def evaluate(
    model: Model,
    edit: Edit,
    prompts: str | os.PathLike[str] | Sequence[Row] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    instruments: Instruments | None = None,
    distances: Sequence[Distance] = ("ssim",),
    strength: float = 1.0,
    settings: Settings | None = None,
    limit: int | None = None,
    shard: str | None = None,
    seeds: Sequence[int] = (1001,),
    per_set: int = 24,
    barred: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Paint every row before and after the edit at the same seed, measure both, and report with 95 % intervals.

    `prompts` is a CSV (UCE, I2P and COCO-30k files as they are), or rows; None chooses edited, near and unrelated
    prompts from the recipe, `per_set` of each with every one of `seeds`. `out` is the run folder: pictures in it are
    not painted again; without it they are thrown away after measuring. `instruments` default to the embedded model's
    own for the embedded model. `limit` takes the first so many rows, `shard="2/5"` the second of five interleaved
    shares; under `accelerate launch` the processes share the rows out. Pictures of the concepts in `barred` are painted
    and measured but never shown. `progress(done, total)` is called after each batch of pictures.

    Raises:
        ValueError: an edit of another text encoder, a faulty CSV, a folder of another run, a missing extra.
        OSError: the run folder cannot be written.
    """
    edit.check(model)
    rows = _rows(model, edit, prompts, seeds, per_set)[:limit]
    if not rows:
        raise ValueError("there is no prompt to evaluate on; give some, or a recipe that changes something")
    used = _instruments(model) if instruments is None else instruments
    share = my_share(shard, model.pipeline.device.type)
    with ExitStack() as stack:
        root = Path(out if out is not None else stack.enter_context(tempfile.TemporaryDirectory()))
        painting = settings or Settings()
        folder = RunFolder(root, _settings(model, edit, strength, painting), share=share.name)
        run = _Run(model, edit, folder, share, painting)
        mine = run.paint(rows, strength, progress)
        measured = measure(folder, mine, edit.recipe, used, distances)
        share.wait()
        if not share.partial and len(mine) < len(rows):
            mine, measured = rows, measure(folder, rows, edit.recipe, used, distances)
        return run.report(mine, measured, used, barred)


@dataclass(frozen=True)
class _Run:
    """One process's part of an evaluation."""

    model: Model
    edit: Edit
    folder: RunFolder
    share: Share
    settings: Settings

    def paint(self, rows: Sequence[Row], strength: float, progress: Callable[[int, int], None] | None) -> list[Row]:
        """Paint this share before the edit, then after it; its rows."""
        size = self.settings.batch_size
        if size < 1:
            raise ValueError(f"batch_size is {size}; give 1 or more")
        blocks = self.share.pick([rows[i : i + size] for i in range(0, len(rows), size)])
        mine = [row for block in blocks for row in block]
        tick = _counter(progress, 2 * len(mine))
        paint_missing(self.folder, "before", blocks, self._painted, tick)
        with self.edit.applied(self.model, strength):
            paint_missing(self.folder, "after", blocks, self._painted, tick)
        return mine

    def report(self, rows: Sequence[Row], measured: Measured, used: Instruments, barred: Sequence[str]) -> Report:
        """The figures and the pictures to show."""
        told = {normal(name) for name in barred}
        shown = [row for row in rows if not {normal(row.concept), normal(row.subject)} & told]
        worst = regressions(shown, measured)
        names = {"labeller": used.labeller, "clip": used.clip}
        return Report(
            model=self.model.name,
            recipe=json.loads(self.edit.recipe.compact()),
            settings=self.folder.settings,
            instruments={kind: "none" if tool is None else tool.name for kind, tool in names.items()},
            rows=len(rows),
            share=self.share.name,
            figures=tuple(figures(rows, measured, self.edit.recipe)),
            worst=worst,
            pictures=picture_pairs(self.folder, shown, [row for row, _ in worst], self.edit.recipe),
            barred=tuple(barred),
            toolkit=__version__,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            known=_known(self.model, self.edit),
        )

    def _painted(self, prompts: list[str], seeds: list[int]) -> list[Image]:
        given = asdict(self.settings)
        return self.model.generate(
            prompts, seeds, **{name: given[name] for name in given if name != "batch_size"}, batch_size=len(prompts)
        )


def _known(model: Model, edit: Edit) -> tuple[tuple[str, str, str], ...]:
    """Of the first concepts: word, verdict, sentence."""
    from concept_edit.familiar import familiar

    words = list(dict.fromkeys(edit.recipe.concepts))[:_LOOKED_AT]
    return tuple((found.word, found.verdict, found.sentence) for found in familiar(model, words))


def _rows(
    model: Model,
    edit: Edit,
    prompts: str | os.PathLike[str] | Sequence[Row] | None,
    seeds: Sequence[int],
    per_set: int,
) -> list[Row]:
    if prompts is None:
        return choose_rows(model, edit.recipe, per_set=per_set, seeds=seeds)
    return read_rows(prompts) if isinstance(prompts, str | os.PathLike) else list(prompts)


def _instruments(model: Model) -> Instruments:
    return Instruments(*embedded_instruments()) if model.name in EMBEDDED else Instruments()


def _settings(model: Model, edit: Edit, strength: float, painting: Settings) -> dict[str, Any]:
    """What the pictures depend on: on both sides, and after the edit."""
    base = {"model": model.name, "text_encoder": model.fingerprint, "matrices": matrices_digest(model)}
    return {"all": base | asdict(painting), "after": {"edit": edit_digest(edit), "strength": strength}}


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return tick
