"""Balance concepts: measure, re-aim, re-solve, until counted pictures show the wanted shares.

    balance = debias(model, recipe, out="balance")
    balance.edit.save("edit.safetensors")

Seeds are fixed, pictures are kept in the folder and decisions depend on pictures only: a killed run repeats its steps
from them. Nothing cached is changed in place: each round makes a new recipe and a new edit.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concept_edit.aiming import Aim, judged, near, spread
from concept_edit.collect import collect
from concept_edit.edit import Edit, solve_statistics
from concept_edit.evaluation.folder import RunFolder, paint_missing
from concept_edit.evaluation.instruments import Clip, Confusion, Labeller, confusion, embedded_instruments, named
from concept_edit.evaluation.intervals import Figure, mean, proportion
from concept_edit.evaluation.rows import Row
from concept_edit.evaluation.run import Settings
from concept_edit.identity import edit_digest, matrices_digest
from concept_edit.models.contract import Encoded, Model
from concept_edit.recipe import Debias, Recipe
from concept_edit.solve import Factors

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_UNSEEN = 1_000_000
"""Seeds of the closing check start so far from those of the rounds."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class Plan:
    """How pictures are drawn."""

    templates: tuple[str, ...] = ("a {}", "a picture of a {}", "a drawing of a {}")
    """Prompts of the rounds."""
    held_out: tuple[str, ...] = ("a portrait of a {}", "an image of a {}")
    """Prompts of the closing check alone."""
    tolerance: float = 0.08
    """How near each share must be to its goal."""
    batch: int = 16
    """Pictures of a concept painted before its interval is looked at."""
    most: int = 160
    """Pictures of a concept in one round; about 150 resolve ± 0.08."""
    rounds: int = 12
    """Rounds at most."""
    check: int = 48
    """Pictures of each concept, before and after, on templates of the rounds and held-out ones; 0 leaves it out."""
    confusion: int = 16
    """Pictures of each attribute, asked for outright, that the labeller is measured on."""
    seed: int = 0
    """First seed of the rounds."""


@dataclass(frozen=True)
class Counted:
    """What a round saw of one concept."""

    concept: str
    alphas: Mapping[str, float]
    counts: Mapping[str, int]
    verdict: str
    """`in`, `out`, or `near`: as many pictures as allowed, and all shares within the tolerance."""


@dataclass(frozen=True)
class Balance:
    """The outcome of `debias`."""

    edit: Edit
    """Solved from `edit.recipe`, which holds the aims that were found."""
    rounds: tuple[tuple[Counted, ...], ...]
    images: int
    """Pictures the search needed, without those of the labeller's measurement and of the closing check."""
    labeller: str
    confusions: tuple[Confusion, ...]
    """The labeller's own mistakes, for each set of attributes."""
    figures: tuple[Figure, ...] = field(default=())
    """Of the closing check, on unseen seeds: shares, Δ and CLIP score before and after."""
    unsettled: tuple[str, ...] = ()
    """Concepts that no round brought into range."""

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        plain = {"images": self.images, "labeller": self.labeller, "unsettled": list(self.unsettled)}
        plain["rounds"] = [[asdict(counted) for counted in part] for part in self.rounds]
        plain["confusions"] = [asdict(found) | {"accuracy": found.accuracy} for found in self.confusions]
        return plain | {"figures": [asdict(figure) for figure in self.figures]}


def debias(
    model: Model,
    recipe: Recipe,
    labeller: Labeller | None = None,
    *,
    clip: Clip | None = None,
    plan: Plan | None = None,
    settings: Settings | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[int, Sequence[Counted]], None] | None = None,
) -> Balance:
    """Find the goals of the recipe's `Debias` entries by measuring, together with all its other edits.

    A concept whose shares are in range from the start keeps α = 0: its goal is itself, so it is a kept row. `labeller`
    tells the attributes apart; the embedded model brings its own judge. `out` keeps the pictures of every round, and
    the same call goes on from there. `progress(round, counted)` is called after each concept of a round.

    Raises:
        ValueError: nothing to balance, no labeller, or one that cannot tell the attributes apart.
        OSError: the folder cannot be written.
    """
    wanted = [edit for edit in recipe.edits if isinstance(edit, Debias)]
    if not wanted:
        raise ValueError("the recipe balances nothing; add Debias('doctor', across={'man': 0.5, 'woman': 0.5})")
    judge, clip = _instruments(model, labeller, clip)
    drawn = plan or Plan()
    with ExitStack() as stack:
        root = Path(out if out is not None else stack.enter_context(tempfile.TemporaryDirectory()))
        studio = Studio(model, judge, drawn, settings or Settings(batch_size=drawn.batch), root)
        confusions = _confusions(studio, wanted)
        search = _Balancing(studio, Resolver(model, recipe), {edit.concept: Aim.start(edit.across) for edit in wanted})
        search.run(progress)
        edit = search.resolved()
        figures = _closing(studio, edit, wanted, clip) if drawn.check else []
    return Balance(
        edit, tuple(search.rounds), search.images, judge.name, confusions, tuple(figures), tuple(search.unsettled)
    )


class Resolver:
    """Solves a recipe for any aims in milliseconds: what does not depend on them is computed once.

    Under method `uce` only T moves with the aims and `right` = S C M⁻¹ stays; others are solved whole each time. Edits
    are the very bits that `solve` gives for the same recipe.
    """

    def __init__(self, model: Model, recipe: Recipe) -> None:
        self.model, self.recipe = _Remembered(model), recipe
        self.right: dict[str, Tensor] = {}

    def __call__(self, aims: Mapping[str, Mapping[str, float]]) -> Edit:
        """The edit with these aims: concept -> attribute -> α."""
        statistics = collect(self.model, self.recipe.aimed(aims))
        if not self.right:
            edit = solve_statistics(statistics)
            if self.recipe.method == "uce" and all(counts is not None for counts in edit.counts.values()):
                self.right = {name: factors.right for name, factors in edit.factors.items()}
                self.first = edit
            return edit
        factors = {}
        for name, stream in statistics.streams.items():
            assert stream.pairs.goals is not None
            left = (stream.pairs.goals.double() - stream.pairs.sources.double()).T
            factors[name] = Factors(left.float().contiguous(), self.right[name])
        return replace(self.first, recipe=statistics.recipe, factors=factors, statistics=statistics)


class _Remembered:
    """A model that encodes the same prompts once."""

    def __init__(self, model: Model) -> None:
        self.model, self.known = model, dict[tuple[str, ...], dict[str, Encoded]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode(self, prompts: Sequence[str], *, batch_size: int = 32) -> dict[str, Encoded]:
        key = (*prompts, str(batch_size))
        if key not in self.known:
            self.known[key] = self.model.encode(prompts, batch_size=batch_size)
        return self.known[key]


class Studio:
    """Paints a concept's pictures under an edit, keeps them, and has them labelled."""

    def __init__(self, model: Model, judge: Labeller, plan: Plan, settings: Settings, root: Path) -> None:
        base = {"model": model.name, "text_encoder": model.fingerprint, "matrices": matrices_digest(model)}
        self.model, self.judge, self.plan, self.settings = model, judge, plan, settings
        self.folder = RunFolder(root, {"all": base | asdict(settings)})

    def rows(self, word: str, count: int, *, templates: Sequence[str], seed: int) -> list[Row]:
        """`count` rows, the templates in turn, each with a seed of its own."""
        prompts = [template.replace("{}", word) for template in templates]
        return [Row(prompts[i % len(prompts)], seed + i, subject=word) for i in range(count)]

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


class _Balancing:
    """The rounds of a search."""

    def __init__(self, studio: Studio, resolve: Resolver, aims: dict[str, Aim]) -> None:
        self.studio, self.resolve, self.aims = studio, resolve, aims
        self.rounds: list[tuple[Counted, ...]] = []
        self.unsettled = list(aims)

    @property
    def images(self) -> int:
        """Pictures counted so far."""
        return sum(sum(seen.counts.values()) for part in self.rounds for seen in part)

    def resolved(self) -> Edit:
        """The edit with the aims as they are."""
        return self.resolve({concept: aim.alphas for concept, aim in self.aims.items()})

    def run(self, progress: Callable[[int, Sequence[Counted]], None] | None) -> None:
        """Rounds until every concept is settled, or no more are allowed."""
        while self.unsettled and len(self.rounds) < self.studio.plan.rounds:
            edit, seen = self.resolved(), list[Counted]()
            for concept in self.unsettled:
                seen.append(self._counted(concept, edit))
                if progress is not None:
                    progress(len(self.rounds) + 1, tuple(seen))
            self.rounds.append(tuple(seen))
            self.unsettled = [counted.concept for counted in seen if counted.verdict == "out"]
            self.aims |= {c.concept: self.aims[c.concept].measured(c.counts) for c in seen if self._moves(c)}

    def _moves(self, counted: Counted) -> bool:
        """A settled concept takes one last step to where all its pictures point; one never aimed at stays as it is."""
        return counted.verdict == "out" or any(counted.alphas.values())

    def _counted(self, concept: str, edit: Edit) -> Counted:
        """Paint `concept` until its interval tells in from out, or as many pictures as allowed are there."""
        plan, across = self.studio.plan, self.aims[concept].across
        rows = self.studio.rows(concept, plan.most, templates=plan.templates, seed=plan.seed)
        counts, verdict = dict.fromkeys(across, 0), "open"
        for start in range(0, plan.most, plan.batch):
            for label in self.studio.labels(rows[start : start + plan.batch], edit, tuple(across)):
                counts[label] += 1
            verdict = judged(counts, across, plan.tolerance)
            if verdict != "open":
                break
        if verdict == "open":
            verdict = "near" if near(counts, across, plan.tolerance) else "out"
        return Counted(concept, self.aims[concept].alphas, counts, verdict)


def _instruments(model: Model, labeller: Labeller | None, clip: Clip | None) -> tuple[Labeller, Clip | None]:
    if labeller is not None:
        return labeller, clip
    if model.name == "demo":
        judge, towers = embedded_instruments()
        return judge, clip or towers
    raise ValueError(
        f"balancing needs a labeller that tells the attributes apart in pictures of {model.name}; give one"
    )


def _confusions(studio: Studio, wanted: Sequence[Debias]) -> tuple[Confusion, ...]:
    """The labeller measured on pictures of the unedited model that were asked for each attribute outright."""
    if not studio.plan.confusion:
        return ()
    found = []
    for across in dict.fromkeys(tuple(edit.across) for edit in wanted):
        sharing = [edit for edit in wanted if tuple(edit.across) == across]
        each = -(-studio.plan.confusion // len(sharing))
        pictures: dict[str, list[Image]] = {name: [] for name in across}
        for edit in sharing:
            for name in across:
                word = edit.phrase_of(name)
                rows = studio.rows(word, each, templates=studio.plan.templates, seed=studio.plan.seed)
                pictures[name] += studio.pictures(rows, None)
        found.append(confusion(studio.judge, pictures, source=f"{studio.model.name} asked for each attribute outright"))
    return tuple(found)


def _closing(studio: Studio, edit: Edit, wanted: Sequence[Debias], clip: Clip | None) -> list[Figure]:
    """Shares, Δ and CLIP score before and after, on seeds the search never used."""
    found: list[Figure] = []
    for place, (kind, templates) in enumerate(
        (("training", studio.plan.templates), ("held-out", studio.plan.held_out))
    ):
        if not templates:
            continue
        seed = studio.plan.seed + _UNSEEN * (place + 1)
        rows = {e.concept: studio.rows(e.concept, studio.plan.check, templates=templates, seed=seed) for e in wanted}
        for side, under in (("before", None), ("after", edit)):
            labels = [studio.labels(rows[e.concept], under, tuple(e.across)) for e in wanted]
            for debiased, said in zip(wanted, labels, strict=True):
                found += [
                    Figure(
                        f"share of {name}, {kind} templates", debiased.concept, side,
                        *proportion([label == name for label in said]), len(said), studio.judge.name, "Wilson 95 %",
                    )
                    for name in debiased.across
                ]  # fmt: skip
            found.append(_spread(kind, side, wanted, labels, studio.judge.name))
            if clip is not None:
                found.append(_score(kind, side, [r for e in wanted for r in rows[e.concept]], studio, under, clip))
    return found


def _spread(kind: str, side: str, wanted: Sequence[Debias], labels: Sequence[Sequence[str]], tool: str) -> Figure:
    """Δ over all concepts, with an interval from resampling each concept's pictures."""
    across = [edit.across for edit in wanted]
    hits = [
        np.array([[label == name for name in edit.across] for label in said])
        for edit, said in zip(wanted, labels, strict=True)
    ]

    def delta(tables: Sequence[np.ndarray]) -> float:
        return spread([dict(zip(a, t.mean(axis=0), strict=True)) for a, t in zip(across, tables, strict=True)], across)

    rng = np.random.default_rng(0)
    draws = [delta([t[rng.integers(len(t), size=len(t))] for t in hits]) for _ in range(_RESAMPLES)]
    low, high = np.percentile(draws, [2.5, 97.5])
    n, method = sum(map(len, labels)), "bootstrap over pictures 95 %"
    return Figure(f"Δ, {kind} templates", "balanced", side, delta(hits), float(low), float(high), n, tool, method)


def _score(kind: str, side: str, rows: Sequence[Row], studio: Studio, edit: Edit | None, clip: Clip) -> Figure:
    images = studio.pictures(rows, edit)
    scores = (clip.texts([row.prompt for row in rows]) * clip.images(images)).sum(dim=1).tolist()
    method = "bootstrap over pictures 95 %"
    return Figure(f"CLIP score, {kind} templates", "balanced", side, *mean(scores), len(scores), clip.name, method)
