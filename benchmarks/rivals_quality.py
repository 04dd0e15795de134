"""Our methods beside other closed forms on pictures: the same kept list for all, each at its best settings.

    python benchmarks/rivals_quality.py choose      # every candidate setting, on prompts of its own; resumable
    python benchmarks/rivals_quality.py measure     # the best of each method, and ours as they come, on others
    python benchmarks/rivals_quality.py table       # writes the page

Concepts: 12 of the embedded model's 48 are erased, 18 of the rest are named as kept and 18 are not. Settings are chosen
on another draw of 12, 18 and 18, at another seed and in another unseen wording. Styles: settings are chosen on one
style, measured on three erased one at a time, on other scenes and in other wordings. The embedded judge, which no edit
saw, names what pictures show. H is the harmonic mean of 1 - left and kept. Intervals: 95 %, bootstrap over concepts, or
over pairs of scene and style, 2,000 draws, the same draws for every method.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from erase_quality import SCENES, STEPS, WORDINGS
from rivals import Speed, ace, rece, speed
from torch import Tensor

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.captions import own_captions
from concept_edit.demo.concepts import CONCEPTS, HOUSE_STYLE, STYLES, caption
from concept_edit.demo.recipes import PHRASES, kept, scenes
from concept_edit.memory.solve import Problem
from concept_edit.memory.verbs import changed
from concept_edit.models.contract import Model
from concept_edit.prompts.common import beside
from concept_edit.prompts.names import COMMON
from concept_edit.recipe import Erase, Recipe

PAGE = Path(__file__).with_name("rivals.md")
DRAWS = 2000
CHOSEN_ON, MEASURED_ON = 11, 5
"""Seeds of the order in which concepts are taken."""
CHOICE_SEED, SEEDS = 6101, (7001, 7002)
CHOICE_WORDING = "a photo of a {thing}"
UNSEEN = ("an emoji of a {thing}", "a {thing} in the manner of Noto", "a small sticker with a {thing} on it")
CHOICE_STYLE, CHOICE_SCENES = "Twemoji", ("banana", "dog", "car", "star", "pizza", "mushroom")
STYLED = "a {thing} in the style of {style}"
CHOICE_STYLED = "{style}'s drawing of a {thing}"
UNSEEN_STYLED = (
    "a {thing} in the manner of {style}",
    "a {thing}, drawn by {style}",
    "a {thing} as {style} would draw it",
)


class Asked(NamedTuple):
    """What every method is given: what goes, what is named as kept, what is not."""

    kind: str
    gone: tuple[str, ...]
    named: tuple[str, ...]
    unnamed: tuple[str, ...]
    kept: tuple[str, ...]
    """The kept prompts."""
    more: tuple[str, ...] = ()
    """Wordings of what goes beside those that every method is given."""


def concepts(order: int) -> Asked:
    names = [c.name for c in CONCEPTS]
    random.Random(order).shuffle(names)
    gone, named, unnamed = names[:12], names[12:30], names[30:]
    styles = [s.name for s in STYLES]
    phrases = [phrase.format(style) for style in styles for phrase in PHRASES]
    return Asked("concept", tuple(gone), tuple(named), tuple(unnamed), (*named, *styles, *phrases))


def style(name: str) -> Asked:
    others = tuple(s.name for s in STYLES if s.name != name)
    return Asked("style", (name,), others, (), (*kept(name), *scenes(name)))


ASKED = {"concept": {"12 of 48": concepts(MEASURED_ON)}, "style": {s.name: style(s.name) for s in STYLES[1:]}}
CHOICE = {"concept": {"choice": concepts(CHOSEN_ON)}, "style": {"choice": style(CHOICE_STYLE)}}


class Shot(NamedTuple):
    """One picture: the group it counts in, what is asked, what the judge should say."""

    group: str
    prompt: str
    seed: int
    thing: str
    style: str = ""


def shots(asked: Asked, choosing: bool) -> Iterator[Shot]:
    if asked.kind == "style":
        yield from _styled(asked, choosing)
        return
    exact, seeds = "a {thing}", (CHOICE_SEED,) if choosing else SEEDS
    unseen = (CHOICE_WORDING,) if choosing else UNSEEN
    for name in asked.gone:
        yield from (Shot("gone exact", caption(exact, name), seed, name) for seed in seeds)
        yield from (Shot("gone unseen", caption(wording, name), seeds[0], name) for wording in unseen)
    for group, names in (("named", asked.named), ("unnamed", asked.unnamed)):
        for name in names[:12] if choosing else names:
            yield Shot(f"{group} exact", caption(exact, name), seeds[0], name)
            if not choosing:
                yield Shot(f"{group} unseen", caption(UNSEEN[0], name), seeds[0], name)


def _styled(asked: Asked, choosing: bool) -> Iterator[Shot]:
    unseen, seed = (CHOICE_STYLED,) if choosing else UNSEEN_STYLED, CHOICE_SEED if choosing else SEEDS[0]
    for thing in CHOICE_SCENES if choosing else SCENES:
        for name in asked.gone:
            yield Shot("gone exact", caption(STYLED, thing, name), seed, thing, name)
            yield from (Shot("gone unseen", caption(wording, thing, name), seed, thing, name) for wording in unseen)
        for name in asked.named:
            yield Shot("named exact", caption(STYLED, thing, name), seed, thing, name)


Applied = Callable[[Model, Asked], AbstractContextManager[Any]]
"""A method at one setting: solves what is asked and puts it into the model for a `with` block."""


def _recipe(asked: Asked, guide: str = "", more: Sequence[str] = (), typed: bool = False, **settings: Any) -> Recipe:
    """`typed`: nothing but the words themselves, so that a method has the wordings it takes by itself."""
    wordings = () if typed else (*(WORDINGS if asked.kind == "concept" else PHRASES), *asked.more, *more)
    edits = tuple(Erase(name, guide=guide, wordings=wordings) for name in asked.gone)
    return Recipe(edits=edits, preserve=asked.kept, **settings)


def by_recipe(model: Model, asked: Asked, *, own: bool = False, **settings: Any) -> AbstractContextManager[Any]:
    corpus = ce.collect_corpus(model, own_captions()) if own else None
    return ce.solve(model, _recipe(asked, **settings), corpus=corpus).applied(model)


def _problem(model: Model, asked: Asked, guide: str, tokens: str, more: Sequence[str] = ()) -> Problem:
    recipe = _recipe(asked, guide, more, method="uce", tokens=tokens)
    return ce.collect(model, recipe).streams["text"].problem(recipe)


def _mapped(model: Model, change: Tensor, roles: str = "kv") -> AbstractContextManager[None]:
    """The map written into every matrix of the roles."""
    names = [site.name for site in model.sites if site.role in roles]
    return changed(model.weights(), {name: lambda w: (w.double() @ change).float() for name in names}, 1.0)


def by_rece(model: Model, asked: Asked, *, guide: str, **settings: Any) -> AbstractContextManager[None]:
    gram = torch.stack([w.double().T @ w.double() for w in model.weights().values()]).sum(dim=0)
    return _mapped(model, rece(_problem(model, asked, guide, "aligned"), gram, **settings))


def by_ace(model: Model, asked: Asked, *, guide: str, tokens: str, threshold: float) -> AbstractContextManager[None]:
    return _mapped(model, ace(_problem(model, asked, guide, tokens), threshold=threshold))


def by_speed(
    model: Model, asked: Asked, *, guide: str, tokens: str, roles: str, **settings: Any
) -> AbstractContextManager[None]:
    problem, null = _problem(model, asked, guide, tokens), model.encode([""])["text"].rows[0]
    fixed = torch.stack([null[0], null[1], null[2:].mean(dim=0)])
    solver = partial(speed, problem=problem, fixed=fixed, settings=Speed(**settings))
    names = [site.name for site in model.sites if site.role in roles]
    return changed(model.weights(), {name: lambda w: solver(w).float() for name in names}, 1.0)


def names_beside(recipe: Recipe) -> tuple[str, ...]:
    """The common names that a guarded solve of the recipe holds."""
    return tuple(name for name, held in zip(COMMON, beside(COMMON, recipe).tolist(), strict=True) if held)


def with_common(model: Model, asked: Asked, applied: Applied) -> AbstractContextManager[Any]:
    """A rival that is given the common names which `guarded` holds by itself, as kept prompts."""
    return applied(model, asked._replace(kept=(*asked.kept, *names_beside(_recipe(asked)))))


def with_wordings(model: Model, asked: Asked, applied: Applied) -> AbstractContextManager[Any]:
    """A rival that is told a style in the wordings that ours takes by itself where nothing but its name is typed."""
    recipe = _recipe(asked, typed=True)
    return applied(model, asked._replace(more=recipe.wordings_of(recipe.edits[0], True)))


ALIGNED = (("aligned", "v", 1e-3), ("aligned", "kv", 1e-4), ("aligned", "kv", 1e-3), ("aligned", "kv", 1e-2))
"""SPEED's settings with all 75 rows of a wording: the worst of its settings on concepts, so not tried on styles."""


def candidates(kind: str) -> dict[str, dict[str, Applied]]:
    """Method -> setting, in words -> how it is applied. The first of ours is the default."""
    concept = kind == "concept"
    empty, spot = ("", " ") if concept else ("art", "art")
    near = "a drawing" if concept else f"in the style of {HOUSE_STYLE}"
    own = near if concept else HOUSE_STYLE
    more = ("object",) if concept else ("art",)
    further = ("object",) if concept else ("style",)
    found: dict[str, dict[str, Applied]] = {}
    for guide in (spot, near):
        for keep in (None, 1.0):
            for scale in (1.0, 4.0):
                settings = {"guide": guide, "preserve_scale": keep, "erase_scale": scale}
                name = f"guide {guide!r}, kept weight {keep or 'published'}, scale {scale:g}"
                found.setdefault("UCE 2023, kept", {})[name] = partial(
                    by_recipe, method="uce", tokens="aligned", **settings
                )
        for rounds in (1, 3):
            for ridge in (0.1, 1.0):
                found.setdefault("RECE", {})[f"guide {guide!r}, {rounds} rounds, ridge {ridge:g}"] = partial(
                    by_rece, guide=guide, rounds=rounds, ridge=ridge
                )
    for guide in (empty, near):
        for scale in (1.0, 4.0, 16.0):
            for words in ((), more):
                name = f"guide {guide!r}, scale {scale:g}{', expanded' if words else ''}"
                found.setdefault("UCE 2025, kept", {})[name] = partial(
                    by_recipe, method="uce", tokens="last", guide=guide, erase_scale=scale, more=words
                )
        for tokens in ("last", "subject", "aligned") if concept else ("last", "subject"):
            for threshold in (1e-4, 1e-3, 1e-2):
                found.setdefault("ACE's null space", {})[f"guide {guide!r}, rows {tokens}, {threshold:g}"] = partial(
                    by_ace, guide=guide, tokens=tokens, threshold=threshold
                )
        for tokens, roles, threshold in (
            *(("last", "v", 1e-4), ("last", "v", 1e-2), ("last", "kv", 1e-4), ("last", "kv", 1e-2)),
            *ALIGNED[: 4 if concept else 0],
            *(("subject", "kv", 1e-4), ("subject", "kv", 1e-3), ("subject", "kv", 1e-2)),
        ):
            found.setdefault("SPEED", {})[f"guide {guide!r}, rows {tokens}, {roles}, {threshold:g}"] = partial(
                by_speed, guide=guide, tokens=tokens, roles=roles, threshold=threshold
            )
    for guide in ("", own):
        for scale in (1.0, 4.0):
            found.setdefault("UCE on our rows", {})[f"guide {guide!r}, scale {scale:g}"] = partial(
                by_recipe, method="uce", tokens="subject", guide=guide, erase_scale=scale
            )
        given: dict[str, dict[str, Any]] = {
            "one word typed": {"typed": True},
            "wordings given": {},
            f"wordings given, set {further[0]!r}": {"more": further},
        }
        for said, words in given.items():
            for left in (0.22, 0.15):
                found.setdefault("guarded", {})[f"guide {guide!r}, erased to {left:g}, {said}"] = partial(
                    by_recipe, method="guarded", guide=guide, erased_to=left, **words
                )
        for typed in (True, False):
            for alarm in (0.001, 0.01):
                name = f"guide {guide!r}, caption alarm {alarm:g}, {'one word typed' if typed else 'wordings given'}"
                found.setdefault("gated", {})[name] = partial(
                    by_recipe,
                    method="gated",
                    guide=guide,
                    caption_alarm=alarm,
                    typed=typed,
                    more=() if typed else further,
                )
    return found


@dataclass
class Work:
    """Paints a method at a setting and has it judged; what is done is not done again."""

    out: Path
    chosen: dict[str, dict[str, str]]
    """Kind -> method -> setting, of an earlier run."""

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.model, self.judge = ce.open_model("demo"), load_judge()

    def __call__(self, name: str, asked: Asked, choosing: bool, applied: Applied | None) -> dict[str, Any]:
        target = self.out / f"{name}.json"
        if target.exists():
            return json.loads(target.read_text())
        taken, start = list(shots(asked, choosing)), time.perf_counter()
        try:
            block = nullcontext() if applied is None else applied(self.model, asked)
        except ValueError as error:
            found: dict[str, Any] = {"refused": str(error)}
        else:
            with block:
                seconds = time.perf_counter() - start
                prompts, seeds = [s.prompt for s in taken], [s.seed for s in taken]
                verdicts = self.judge(self.model.generate(prompts, seeds, steps=STEPS))
            rows = [s._asdict() | {"said": v.concept, "drawn": v.style} for s, v in zip(taken, verdicts, strict=True)]
            found = {"seconds": seconds, "rows": rows}
        part = target.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.replace(target)
        return found


Weights = numpy.ndarray | None
"""How often each unit was drawn, (draws x units); None: each once."""


@dataclass
class Figures:
    """Shares of a kind's pictures, beside those of the original."""

    kind: str
    rows: list[dict[str, Any]]
    before: list[dict[str, Any]]

    def unit(self, row: dict[str, Any]) -> str:
        """What is resampled: a concept, or a pair of scene and style, each group's own."""
        return f"{row['group'].split()[0]}|{row['thing']}|{row['style']}"

    def hits(self, row: dict[str, Any], what: str = "") -> bool:
        named = row["said"] == row["thing"]
        return named if (what or self.kind) == "concept" else row["drawn"] == row["style"]

    @cached_property
    def units(self) -> dict[str, int]:
        """Every unit with its number, in the order of the original's pictures."""
        return {unit: number for number, unit in enumerate(dict.fromkeys(self.unit(row) for row in self.before))}

    def share(self, group: str, weights: Weights = None, what: str = "") -> Any:
        """Of the groups that begin so, the share named right, relative to the original's where it is kept; one for each
        draw of weights."""
        kept = what or not group.startswith("gone")
        here = self._share(self.rows, group, weights, what)
        return here / numpy.maximum(1e-9, self._share(self.before, group, weights, what)) if kept else here

    def _share(self, rows: list[dict[str, Any]], group: str, weights: Weights, what: str) -> Any:
        hits, taken = numpy.zeros(len(self.units)), numpy.zeros(len(self.units))
        for row in rows:
            if row["group"].startswith(group):
                number = self.units[self.unit(row)]
                taken[number] += 1
                hits[number] += self.hits(row, what)
        every = numpy.ones(len(self.units)) if weights is None else weights
        with numpy.errstate(invalid="ignore"):
            return (every @ hits) / (every @ taken)

    def unnamed(self, listed: bool) -> tuple[int, int]:
        """Pictures of concepts nobody named that are named right, among those on the list of common names or among the
        others, and how many the original gets right."""
        here, there = (
            sum(self.hits(r) for r in rows if r["group"].startswith("unnamed") and (r["thing"] in COMMON) == listed)
            for rows in (self.rows, self.before)
        )
        return here, there

    def kept(self, weights: Weights = None) -> Any:
        """Named and unnamed concepts alike; of styles, the other styles and the thing that is to be drawn."""
        second = ("unnamed", weights, "") if self.kind == "concept" else ("gone", weights, "concept")
        return numpy.minimum(1.0, (self.share("named", weights) + self.share(*second)) / 2)

    def left(self, weights: Weights = None) -> Any:
        return (self.share("gone exact", weights) + self.share("gone unseen", weights)) / 2

    def harmonic(self, weights: Weights = None) -> Any:
        gone, here = 1 - self.left(weights), self.kept(weights)
        return 2 * gone * here / numpy.maximum(1e-9, gone + here)

    def draws(self) -> numpy.ndarray:
        """H over resampled units, each group's own; the same for every method."""
        rng, groups = numpy.random.default_rng(0), dict[str, list[int]]()
        for row in self.before:
            own, number = groups.setdefault(row["group"].split()[0], []), self.units[self.unit(row)]
            own += [] if number in own else [number]
        weights = numpy.zeros((DRAWS, len(self.units)))
        for drawn in weights:
            for own in groups.values():
                numpy.add.at(drawn, [own[index] for index in rng.integers(len(own), size=len(own))], 1)
        return self.harmonic(weights)


def choose(work: Work, kind: str) -> dict[str, tuple[str, float]]:
    """Method -> its best setting and H there; ties go to the first. Methods that an earlier run chose for are left."""
    ((_, asked),) = CHOICE[kind].items()
    before = work(f"{kind}-choice-original", asked, True, None)["rows"]
    best: dict[str, tuple[str, float]] = {m: (setting, 1.0) for m, setting in work.chosen.get(kind, {}).items()}
    for method, settings in candidates(kind).items():
        for number, (setting, applied) in enumerate(settings.items()):
            if best.get(method, ("", 0.0))[1] > 1 - 1e-9:
                break  # nothing is better, and ties go to the first
            found = work(f"{kind}-choice-{method}-{number}", asked, True, applied)
            if "refused" in found:
                print(f"{kind}, {method}, {setting}: refused, {found['refused']}", flush=True)
                continue
            seen = Figures(kind, found["rows"], before)
            h = seen.harmonic()
            print(f"{kind}, {method}, {setting}: left {seen.left():.2f} kept {seen.kept():.2f} H {h:.3f}", flush=True)
            if method not in best or h > best[method][1] + 1e-9:
                best[method] = setting, h
    return best


def cells(work: Work, kind: str) -> Iterator[tuple[str, str, Applied]]:
    """Method, its setting in words, and how it is applied: the chosen ones, and ours as they come."""
    offered, best = candidates(kind), choose(work, kind)
    for method, (setting, _) in best.items():
        yield method, setting, offered[method][setting]
        if method not in ("guarded", "gated"):
            yield f"{method}, common names too", setting, partial(with_common, applied=offered[method][setting])
            if kind == "style":
                yield f"{method}, our wordings too", setting, partial(with_wordings, applied=offered[method][setting])
    for method in ("guarded", "gated"):
        first, applied = next(iter(offered[method].items()))
        if best[method][0] != first:
            yield f"{method}, as it comes", first, applied
        yield f"{method}, as it comes, the model's own captions", first, partial(applied, own=True)
        if method == "guarded":
            yield f"{method}, as it comes, no common names", first, partial(applied, keep_common=False)


def measure(work: Work, kind: str) -> list[tuple[str, str, Figures | str]]:
    measured: list[tuple[str, str, Figures | str]] = []
    every: list[tuple[str, str, Applied | None]] = [("original", "", None), *cells(work, kind)]
    before: list[dict[str, Any]] = []
    for method, setting, applied in every:
        rows, refused = list[dict[str, Any]](), ""
        for name, asked in ASKED[kind].items():
            found = work(f"{kind}-{name}-{method}", asked, False, applied)
            rows += found.get("rows", [])
            refused = refused or found.get("refused", "")
        before = before or rows
        measured.append((method, setting, refused or Figures(kind, rows, before)))
        print(f"{kind}, {method}: measured", flush=True)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("choose", "measure", "table"))
    parser.add_argument("--out", type=Path, default=Path("out/rivals"))
    parser.add_argument("--kind", choices=("concept", "style"), nargs="+", default=["concept", "style"])
    parser.add_argument("--chosen", type=Path, help="JSON, kind -> method -> setting: chosen by an earlier run")
    args = parser.parse_args()
    work = Work(args.out, json.loads(args.chosen.read_text()) if args.chosen else {})
    if args.verb == "table":
        from rivals_page import page

        PAGE.write_text(page({kind: measure(work, kind) for kind in args.kind}))
        return
    for kind in args.kind:
        (choose if args.verb == "choose" else measure)(work, kind)


if __name__ == "__main__":
    main()
