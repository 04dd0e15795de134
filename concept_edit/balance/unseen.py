"""The closing check of a search for balance: shares, Δ and CLIP score on seeds and prompts the search never used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from concept_edit.balance.aiming import spread
from concept_edit.balance.studio import Studio
from concept_edit.edit import Edit
from concept_edit.evaluation.instruments import Clip
from concept_edit.evaluation.intervals import Figure, Z, mean, proportion
from concept_edit.evaluation.rows import Row
from concept_edit.recipe import Debias

_UNSEEN, _APART = 1_000_000, 10_000
"""Seeds start so far from those of the rounds, and those of each concept so far from another's: one starting noise
leans the same way for all concepts."""
_RESAMPLES = 2000
_BOOTSTRAP = "bootstrap over pictures 95 %"


@dataclass(frozen=True)
class _Pass:
    """One kind of template on one side."""

    kind: str
    side: str
    templates: Sequence[str]
    rows: Sequence[Sequence[Row]]
    """Of each concept."""
    edit: Edit | None


def closing_check(studio: Studio, edit: Edit, wanted: Sequence[Debias], clip: Clip | None) -> list[Figure]:
    """Shares of each concept, over a kind's templates together and in each; Δ; CLIP score; before and after."""
    found: list[Figure] = []
    for each in _passes(studio, edit, wanted):
        labels = [studio.labels(rows, each.edit, tuple(e.across)) for rows, e in zip(each.rows, wanted, strict=True)]
        for debiased, said in zip(wanted, labels, strict=True):
            found += _shares(each, debiased, said, studio.judge.name)
        found += _spreads(each, wanted, labels, studio.judge.name)
        if clip is not None:
            found.append(_score(each, studio, clip))
    return found


def _passes(studio: Studio, edit: Edit, wanted: Sequence[Debias]) -> Iterator[_Pass]:
    plan = studio.plan
    for place, (kind, templates) in enumerate((("training", plan.templates), ("held-out", plan.held_out)), 1):
        first = plan.check if plan.check_before is None else plan.check_before
        for side, under, count in (("before", None, first), ("after", edit, plan.check)):
            if templates and count:
                starts = [plan.seed + _UNSEEN * place + _APART * number for number in range(len(wanted))]
                rows = [
                    studio.rows(one.concept, count, templates=templates, seed=seed)
                    for one, seed in zip(wanted, starts, strict=True)
                ]
                yield _Pass(kind, side, templates, rows, under)


def _shares(each: _Pass, debiased: Debias, said: Sequence[str], tool: str) -> Iterator[Figure]:
    """Shares over all templates, then in each of them."""
    count = len(each.templates)
    parts = [("", said), *((f": {t}", said[i::count]) for i, t in enumerate(each.templates) if count > 1)]
    for where, labels in parts:
        for name in debiased.across:
            share = proportion([label == name for label in labels])
            title = f"share of {name}, {each.kind} templates{where}"
            yield Figure(title, debiased.concept, each.side, *share, len(labels), tool, "Wilson 95 %")


def _spreads(each: _Pass, wanted: Sequence[Debias], labels: Sequence[Sequence[str]], tool: str) -> Iterator[Figure]:
    """Δ over all concepts, their templates pooled and, where there are several, each template by itself."""
    count = len(each.templates)
    whole = [list(said) for said in labels]
    yield _spread(f"Δ, {each.kind} templates", each.side, [e.across for e in wanted], whole, tool)
    if count > 1 and all(len(said) >= count for said in labels):
        parts = [list(said[i::count]) for said in labels for i in range(count)]
        across = [e.across for e in wanted for _ in range(count)]
        yield _spread(f"Δ within each template, {each.kind}", each.side, across, parts, tool)


def _spread(
    title: str, side: str, across: Sequence[dict[str, float]], labels: Sequence[Sequence[str]], tool: str
) -> Figure:
    """Δ, give or take what resampling the pictures of each set of labels does to it.

    No percentiles: chance alone makes Δ larger, in every resample once more.
    """
    hits = [
        np.array([[label == name for name in shares] for label in said])
        for shares, said in zip(across, labels, strict=True)
    ]

    def delta(tables: Sequence[np.ndarray]) -> float:
        return spread([dict(zip(a, t.mean(axis=0), strict=True)) for a, t in zip(across, tables, strict=True)], across)

    rng = np.random.default_rng(0)
    draws = [delta([t[rng.integers(len(t), size=len(t))] for t in hits]) for _ in range(_RESAMPLES)]
    value, half = delta(hits), Z * float(np.std(draws))
    n, method = sum(map(len, labels)), "± 1.96 deviations of a bootstrap over pictures"
    return Figure(title, "balanced", side, value, max(0.0, value - half), value + half, n, tool, method)


def _score(each: _Pass, studio: Studio, clip: Clip) -> Figure:
    rows = [row for of_one in each.rows for row in of_one]
    images = studio.pictures(rows, each.edit)
    scores = (clip.texts([row.prompt for row in rows]) * clip.images(images)).sum(dim=1).tolist()
    title = f"CLIP score, {each.kind} templates"
    return Figure(title, "balanced", each.side, *mean(scores), len(scores), clip.name, _BOOTSTRAP)
