"""Balance concepts: measure, re-aim, re-solve, until counted pictures show the wanted shares.

    balance = debias(model, recipe, out="balance")
    balance.edit.save("edit.safetensors")

Each wording of a concept has an aim of its own, found from the pictures of all rounds (`aiming`). Seeds are fixed and
never used twice, pictures are kept in the folder and decisions depend on pictures only: a killed run repeats its steps
from them. Nothing cached is changed in place: each round makes a new recipe and a new edit.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.balance.aiming import Aim
from concept_edit.balance.studio import Plan, Studio
from concept_edit.balance.unseen import closing_check
from concept_edit.demo import EMBEDDED
from concept_edit.edit import Edit, solve_statistics
from concept_edit.evaluation.instruments import Clip, Confusion, Labeller, confusion, embedded_instruments
from concept_edit.evaluation.intervals import Figure
from concept_edit.evaluation.run import Settings
from concept_edit.memory.solve import Factors
from concept_edit.models.contract import Encoded, Model
from concept_edit.prompts.collect import collect
from concept_edit.prompts.corpus import Corpus, default_corpus
from concept_edit.recipe import Aims, Debias, Recipe

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["Balance", "Counted", "Plan", "Resolver", "Worded", "debias"]


@dataclass(frozen=True)
class Worded:
    """What a round saw of one wording."""

    template: str
    alphas: Mapping[str, float]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Counted:
    """What a round saw of one concept."""

    concept: str
    alphas: Mapping[str, float]
    """Mean over the wordings painted."""
    counts: Mapping[str, int]
    verdict: str
    """`in`: all pictures so far tell that the next aims are within range. `out`: these aims are not. `open`: more
    pictures are needed. `near`: no more rounds are left, and the shares to expect are within the tolerance."""
    wordings: tuple[Worded, ...] = ()


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
        search = _Balancing(studio, Resolver(model, recipe), wanted)
        search.run(progress)
        edit = search.resolved()
        figures = closing_check(studio, edit, wanted, clip) if drawn.check else []
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
        self.corpus: Corpus | None = None if recipe.method == "uce" else default_corpus(model)

    def __call__(self, aims: Mapping[str, Aims]) -> Edit:
        """The edit with these aims, as `Recipe.aimed` takes them."""
        statistics = collect(self.model, self.recipe.aimed(aims), corpus=self.corpus)
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

    def encode(self, prompts: Sequence[str], *, batch_size: int = 32, brief: bool = False) -> dict[str, Encoded]:
        key = (*prompts, f"{batch_size} {brief}")
        if key not in self.known:
            self.known[key] = self.model.encode(prompts, batch_size=batch_size, brief=brief)
        return self.known[key]


class _Balancing:
    """The rounds of a search."""

    def __init__(self, studio: Studio, resolve: Resolver, wanted: Sequence[Debias]) -> None:
        self.studio, self.resolve = studio, resolve
        self.wanted = {edit.concept: edit for edit in wanted}
        self.aims = {edit.concept: Aim.start(edit.across, self._owned(edit)) for edit in wanted}
        self.drawn = dict.fromkeys(self.wanted, 0)
        self.rounds: list[tuple[Counted, ...]] = []
        self.unsettled = list(self.wanted)

    @property
    def images(self) -> int:
        """Pictures counted so far."""
        return sum(self.drawn.values())

    def resolved(self) -> Edit:
        """The edit with the aims as they are."""
        return self.resolve({concept: self._aims(edit) for concept, edit in self.wanted.items()})

    def run(self, progress: Callable[[int, Sequence[Counted]], None] | None) -> None:
        """Rounds until every concept is settled, or no more are allowed."""
        while self.unsettled and len(self.rounds) < self.studio.plan.rounds:
            edit, seen, moved = self.resolved(), list[Counted](), dict[str, Aim]()
            for concept in self.unsettled:
                counted, aim = self._counted(concept, edit)
                # One never aimed at stays as it is until its pictures say that it is out of range.
                moved[concept] = aim if aim.still and counted.verdict != "out" else aim.moved()
                seen.append(counted)
                if progress is not None:
                    progress(len(self.rounds) + 1, tuple(seen))
            self.aims |= moved
            self.rounds.append(tuple(seen))
            self.unsettled = [counted.concept for counted in seen if counted.verdict in ("out", "open")]

    def _aims(self, edit: Debias) -> Aims:
        """One α an attribute, or one for each wording where wordings have aims of their own."""
        aim, painted = self.aims[edit.concept], self.studio.plan.templates
        if not any(self._owned(edit)):
            return aim.alphas(0)
        places = {template: place for place, template in enumerate(painted)}
        return {template: aim.alphas(places.get(template)) for template in edit.templates()}

    def _owned(self, edit: Debias) -> list[bool]:
        """Which of the painted templates are wordings of this entry with an aim of their own."""
        named, painted = edit.templates(), self.studio.plan.templates
        several = any(template in named[1:] for template in painted)
        return [several and template in named for template in painted]

    def _counted(self, concept: str, edit: Edit) -> tuple[Counted, Aim]:
        """Paint `concept` until its pictures tell in from out, or as many as allowed are there; the aim that knows."""
        plan, before = self.studio.plan, self.aims[concept]
        names, count = tuple(before.across), len(plan.templates)
        tally = [dict.fromkeys(names, 0) for _ in plan.templates]
        verdict, aim, last = "open", before, len(self.rounds) + 1 == plan.rounds
        for start in range(0, plan.most, plan.batch):
            size = min(plan.batch, plan.most - start)
            first = self.drawn[concept]
            rows = self.studio.rows(concept, size, templates=plan.templates, seed=plan.seed, first=first)
            for place, label in enumerate(self.studio.labels(rows, edit, names), first):
                tally[place % count][label] += 1
            self.drawn[concept] += size
            aim = before.counted(tally)
            verdict = aim.verdict(plan.tolerance, plan.each)
            if verdict != "open":
                break
        if verdict == "open" and last:
            verdict = "near" if aim.near(plan.tolerance) else "out"
        return _told(concept, verdict, plan.templates, [before.alphas(i) for i in range(count)], tally), aim


def _told(
    concept: str,
    verdict: str,
    templates: Sequence[str],
    alphas: Sequence[Mapping[str, float]],
    tally: Sequence[Mapping[str, int]],
) -> Counted:
    wordings = tuple(Worded(*each) for each in zip(templates, alphas, tally, strict=True))
    whole = {name: sum(counts[name] for counts in tally) for name in tally[0]}
    middle = {name: round(sum(a[name] for a in alphas) / len(alphas), 6) for name in alphas[0]}
    return Counted(concept, middle, whole, verdict, wordings)


def _instruments(model: Model, labeller: Labeller | None, clip: Clip | None) -> tuple[Labeller, Clip | None]:
    if labeller is not None:
        return labeller, clip
    if model.name in EMBEDDED:
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
