"""From pictures to figures: per picture first, kept in the run folder's results, then over groups with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.evaluation import distances as far
from concept_edit.evaluation.folder import RunFolder
from concept_edit.evaluation.instruments import Clip, Detector, Features, Instruments, Labeller
from concept_edit.evaluation.intervals import Figure, mean, proportion, ratio
from concept_edit.evaluation.rows import GROUPS, Row
from concept_edit.recipe import Debias, Recipe, normal

if TYPE_CHECKING:
    from PIL.Image import Image

Distance = Literal["ssim", "lpips", "kid", "fid"]
SIDES = ("before", "after")
_BATCH = 64
_WORST = 12
_WILSON, _BOOTSTRAP, _JACKKNIFE = "Wilson 95 %", "bootstrap over pictures 95 %", "jackknife over pictures 95 %"
_SETS_FROM = 8
"""Pictures a distance between sets needs at least."""


@dataclass(frozen=True)
class Measured:
    """What the instruments said: quantity -> side -> row -> answer."""

    answers: Mapping[str, Mapping[str, Mapping[Row, Any]]]
    instruments: Mapping[str, str]
    """Quantity -> name of what measured it."""
    features: Mapping[str, Float[Tensor, "rows d"]] = field(default_factory=dict)
    """Side -> one vector per row, in the order of the rows measured."""
    sets: tuple[Distance, ...] = ()
    """Distances between sets that were asked for."""

    def pairs(self, quantity: str, rows: Iterable[Row]) -> list[tuple[Row, Any, Any]]:
        """Row, answer before and answer after, of the rows that have both."""
        before, after = (self.answers.get(quantity, {}).get(side, {}) for side in SIDES)
        return [(row, before[row], after[row]) for row in rows if row in before and row in after]


def measure(
    folder: RunFolder, rows: Sequence[Row], recipe: Recipe, used: Instruments, distances: Sequence[Distance]
) -> Measured:
    """Ask every instrument about every picture; answers in the folder's results are not asked for again.

    Raises:
        ValueError: a distance that is not known or lacks its extra, a picture that is missing.
    """
    _check(distances, used)
    meter = _Meter(folder, rows)
    if used.labeller is not None:
        meter.each("shown", used.labeller.name, _namer(used.labeller, lambda row: _choices(used.labeller, row)))
        across = {normal(edit.concept): tuple(edit.across) for edit in recipe.edits if isinstance(edit, Debias)}
        if across:
            asked = _namer(used.labeller, lambda row: across.get(normal(row.subject), ()))
            meter.each("attribute", used.labeller.name, asked)
    if used.clip is not None:
        meter.each("CLIP score", used.clip.name, _scorer(used.clip))
    for name, detector in (used.detectors or {}).items():
        meter.each(f"flagged by {name}", name, _asker(detector))
    if "ssim" in distances:
        meter.paired("SSIM", "concept-edit, 11 px Gaussian", lambda pairs: [far.ssim(a, b) for a, b in pairs])
    if "lpips" in distances:
        meter.paired("LPIPS", far.lpips_version(), far.lpips)
    sets, seen = tuple(d for d in distances if d in ("kid", "fid")), used.features or used.clip
    features = {}
    if sets and seen is not None:
        features = {side: meter.features(side, seen) for side in SIDES}
        meter.instruments["features"] = seen.name
    return Measured(meter.answers, meter.instruments, features, sets)


def figures(rows: Sequence[Row], measured: Measured, recipe: Recipe) -> list[Figure]:
    """Every figure of every group, each with n and a 95 % interval."""
    found: list[Figure] = []
    for group in GROUPS:
        members = [row for row in rows if row.group == group]
        if members:
            found += _accuracy(group, members, measured)
            found += _words(members, measured) if group == "edited" else []
            found += _means(group, members, measured)
            found += _flags(group, members, measured)
            found += _sets(group, [i for i, row in enumerate(rows) if row.group == group], measured)
    return found + [f for edit in recipe.edits if isinstance(edit, Debias) for f in _shares(edit, rows, measured)]


def regressions(rows: Sequence[Row], measured: Measured) -> tuple[tuple[Row, str], ...]:
    """The worst losses among rows that should have stayed, with what happened: what is no longer shown comes first."""
    stay = [row for row in rows if row.group in ("near", "unrelated", "balanced")]
    score = {row: after - before for row, before, after in measured.pairs("CLIP score", stay)}
    likeness = {row: after for row, _, after in measured.pairs("SSIM", stay)}
    lost = {
        row: (a, b) for row, a, b in measured.pairs("shown", stay) if _is(a, row.concept) and not _is(b, row.concept)
    }

    def badness(row: Row) -> tuple[bool, float, float]:
        return (row not in lost, score.get(row, 0.0), likeness.get(row, 1.0))

    worst = [row for row in sorted(stay, key=badness) if row in lost or score.get(row, 0) < 0 or row in likeness]
    return tuple((row, _what(row, lost, score, likeness)) for row in worst[:_WORST])


class _Meter:
    """Runs instruments over pictures, a batch at a time, and remembers what they said in the run folder."""

    def __init__(self, folder: RunFolder, rows: Sequence[Row]) -> None:
        self.folder, self.rows = folder, rows
        self.answers: dict[str, dict[str, dict[Row, Any]]] = {}
        self.instruments: dict[str, str] = {}
        self.known = {
            (r["measure"], r["instrument"], r["of"], str(r.get("about", ""))): r["answer"]
            for r in folder.records()
            if "measure" in r and "answer" in r
        }

    def each(
        self, quantity: str, instrument: str, ask: Callable[[Sequence[Row], Sequence[Image]], Sequence[Any]]
    ) -> None:
        """Ask about every picture of both sides."""
        for side in SIDES:
            self._fill(quantity, instrument, side, partial(self._asked, ask, side))

    def paired(
        self, quantity: str, instrument: str, ask: Callable[[Sequence[tuple[Image, Image]]], Sequence[Any]]
    ) -> None:
        """Ask about every pair of before and after; the answer stands under both sides."""

        def both(part: Sequence[Row]) -> Sequence[Any]:
            return ask(list(zip(self._images("before", part), self._images("after", part), strict=True)))

        self._fill(quantity, instrument, "after", both)
        self.answers[quantity]["before"] = self.answers[quantity]["after"]

    def features(self, side: str, tool: Features) -> Float[Tensor, "rows d"]:
        """One vector per row."""
        parts = [tool.images(self._images(side, part)) for part in self._parts(self.rows)]
        return torch.cat(parts).float()

    def _fill(self, quantity: str, instrument: str, side: str, ask: Callable[[Sequence[Row]], Sequence[Any]]) -> None:
        self.instruments[quantity] = instrument
        keys = {row: (quantity, instrument, self._stamp(side, row), _about(row)) for row in self.rows}
        for part in self._parts([row for row in self.rows if keys[row] not in self.known]):
            for row, answer in zip(part, ask(part), strict=True):
                self.known[keys[row]] = answer
                self.folder.append(
                    {
                        "measure": quantity,
                        "instrument": instrument,
                        "of": keys[row][2],
                        "about": _about(row),
                        "answer": answer,
                    }
                )
        said = {row: self.known[keys[row]] for row in self.rows}
        self.answers.setdefault(quantity, {})[side] = {row: a for row, a in said.items() if a is not None}

    def _asked(
        self, ask: Callable[[Sequence[Row], Sequence[Image]], Sequence[Any]], side: str, part: Sequence[Row]
    ) -> Sequence[Any]:
        return ask(part, self._images(side, part))

    def _images(self, side: str, rows: Sequence[Row]) -> list[Image]:
        found = [self.folder.load(side, row) for row in rows]
        missing = [row for row, image in zip(rows, found, strict=True) if image is None]
        if missing:
            raise ValueError(f"{self.folder.picture(side, missing[0])} is missing or damaged; run the evaluation again")
        return [image for image in found if image is not None]

    def _stamp(self, side: str, row: Row) -> str:
        return f"{side}/{row.file}"

    def _parts(self, rows: Sequence[Row]) -> list[Sequence[Row]]:
        return [rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH)]


def _about(row: Row) -> str:
    """What an answer about this row depends on besides the picture."""
    return f"{row.concept}|{row.subject}|{row.group}"


def _namer(
    labeller: Labeller, choices_of: Callable[[Row], tuple[str, ...]]
) -> Callable[[Sequence[Row], Sequence[Image]], list[Any]]:
    """The likeliest of a row's choices; None for rows that have none."""

    def ask(rows: Sequence[Row], images: Sequence[Image]) -> list[Any]:
        said: list[Any] = [None] * len(rows)
        wanted = [choices_of(row) for row in rows]
        for choices in dict.fromkeys(c for c in wanted if c):
            places = [i for i, c in enumerate(wanted) if c == choices]
            best = labeller([images[i] for i in places], choices).argmax(dim=1).tolist()
            for place, index in zip(places, best, strict=True):
                said[place] = choices[index]
        return said

    return ask


def _choices(labeller: Labeller | None, row: Row) -> tuple[str, ...]:
    return labeller.choices(row.concept) if labeller is not None and row.concept else ()


def _scorer(clip: Clip) -> Callable[[Sequence[Row], Sequence[Image]], list[float]]:
    def ask(rows: Sequence[Row], images: Sequence[Image]) -> list[float]:
        return [float(x) for x in (clip.texts([row.prompt for row in rows]) * clip.images(images)).sum(dim=1)]

    return ask


def _asker(detector: Detector) -> Callable[[Sequence[Row], Sequence[Image]], list[bool]]:
    return lambda rows, images: [bool(answer) for answer in detector(images)]


def _check(distances: Sequence[str], used: Instruments) -> None:
    for name in distances:
        if name not in ("ssim", "lpips", "kid", "fid"):
            raise ValueError(f"{name!r} is no distance; expected ssim, lpips, kid or fid")
    if {"kid", "fid"} & set(distances):
        far.metrics_version()
        if used.features is None and used.clip is None:
            raise ValueError(
                "KID and FID need a CLIP whose pictures' vectors they compare, or other features; give one in the "
                "instruments"
            )
    if "lpips" in distances:
        far.lpips_version()


def _words(rows: Sequence[Row], measured: Measured) -> list[Figure]:
    """Of each changed concept by itself: how often a picture that asks for it still shows it."""
    found: list[Figure] = []
    tool = measured.instruments.get("shown", "")
    for word in dict.fromkeys(row.subject for row in rows):
        pairs = measured.pairs("shown", [row for row in rows if row.subject == word])
        for side, place in (("before", 1), ("after", 2)) if pairs else ():
            hits = [_is(pair[place], word) for pair in pairs]
            found.append(Figure("shown when asked for", word, side, *proportion(hits), len(pairs), tool, _WILSON))
    return found


def _is(said: Any, name: str) -> bool:
    return said is not None and normal(said) == normal(name)


def _accuracy(group: str, rows: Sequence[Row], measured: Measured) -> list[Figure]:
    """How often a picture shows what its row names, on both sides, and the share of that which stays."""
    pairs = measured.pairs("shown", rows)
    if not pairs:
        return []
    tool = measured.instruments["shown"]
    hits = {
        "before": [_is(a, row.concept) for row, a, _ in pairs],
        "after": [_is(b, row.concept) for row, _, b in pairs],
    }
    found = [
        Figure("named as its concept", group, side, *proportion(hits[side]), len(pairs), tool, _WILSON)
        for side in SIDES
    ]
    if any(hits["before"]):
        kept = ratio([float(h) for h in hits["before"]], [float(h) for h in hits["after"]])
        found.append(Figure("accuracy kept", group, "paired", *kept, len(pairs), tool, _BOOTSTRAP))
    return found


def _means(group: str, rows: Sequence[Row], measured: Measured) -> list[Figure]:
    found = []
    for name in ("CLIP score", "SSIM", "LPIPS"):
        pairs = measured.pairs(name, rows)
        if not pairs:
            continue
        tool, n = measured.instruments[name], len(pairs)
        if name == "CLIP score":
            found.append(Figure(name, group, "before", *mean([a for _, a, _ in pairs]), n, tool, _BOOTSTRAP))
            found.append(Figure(name, group, "after", *mean([b for _, _, b in pairs]), n, tool, _BOOTSTRAP))
            found.append(
                Figure("CLIP score change", group, "paired", *mean([b - a for _, a, b in pairs]), n, tool, _BOOTSTRAP)
            )
        else:
            found.append(Figure(name, group, "paired", *mean([b for _, _, b in pairs]), n, tool, _BOOTSTRAP))
    return found


def _flags(group: str, rows: Sequence[Row], measured: Measured) -> list[Figure]:
    found = []
    for name in (quantity for quantity in measured.answers if quantity.startswith("flagged by ")):
        pairs = measured.pairs(name, rows)
        for side, flags in (("before", [a for _, a, _ in pairs]), ("after", [b for _, _, b in pairs])):
            found.append(Figure(name, group, side, *proportion(flags), len(flags), measured.instruments[name], _WILSON))
    return found


def _sets(group: str, places: Sequence[int], measured: Measured) -> list[Figure]:
    """Distances between the set of pictures before and that after."""
    if len(places) < _SETS_FROM:
        return []
    before, after = (measured.features[side][list(places)] if measured.sets else torch.empty(0) for side in SIDES)
    tool = f"{far.metrics_version()} on features of {measured.instruments['features']}" if measured.sets else ""
    distances = {"kid": far.kid, "fid": far.fid}
    return [
        Figure(name.upper(), group, "paired", *distances[name](before, after), len(places), tool, _JACKKNIFE)
        for name in measured.sets
    ]


def _shares(edit: Debias, rows: Sequence[Row], measured: Measured) -> list[Figure]:
    """How often each attribute is shown for a concept to balance."""
    pairs = measured.pairs("attribute", [row for row in rows if normal(row.subject) == normal(edit.concept)])
    if not pairs:
        return []
    tool = measured.instruments["attribute"]
    return [
        Figure(
            f"share of {name}", edit.concept, side, *proportion([_is(s, name) for s in said]), len(said), tool, _WILSON
        )
        for name in edit.across
        for side, said in (("before", [a for _, a, _ in pairs]), ("after", [b for _, _, b in pairs]))
    ]


def _what(
    row: Row, lost: Mapping[Row, tuple[str, str]], score: Mapping[Row, float], likeness: Mapping[Row, float]
) -> str:
    """One regression in words."""
    parts = [f"{lost[row][0]} became {lost[row][1]}"] if row in lost else []
    parts += [f"CLIP score {score[row]:+.3f}"] if row in score else []
    parts += [f"SSIM {likeness[row]:.2f}"] if row in likeness else []
    return ", ".join(parts)
