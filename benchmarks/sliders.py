"""Sliders: does what a picture shows rise with the strength, does the concept stay, does everything else?

    python benchmarks/sliders.py --steps 10 --out out/sliders            # resumable; smallest: --pictures 2 --frames 3
    python benchmarks/sliders.py --steps 10 --out out/sliders --marks    # then: at the calibrated marks

One slider for each profession of the embedded model ("man …" to "woman …") and some for styles (Noto to Twemoji), all
solved on the text side alone, and painted at equal steps of strength from −2 to 2 at the same seeds. Told by the judge:
the share of women or of Twemoji (Spearman's rank correlation with the strength, over the steps), the share of pictures
in which the concept is still named, and the share of other concepts still named at that strength. `--marks` puts the
nine steps where monotone regression on those counts says that equal steps are seen, and counts again on seeds and a
wording that it never used. `--method uce` and `--direction mean` or `lda` are what to compare with, in the same run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import concept_edit as ce
from concept_edit.balance.marks import Curve, Point
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, PROFESSIONS, caption
from concept_edit.demo.recipes import kept
from concept_edit.evaluation import wilson
from concept_edit.models.opened import OpenedModel as Model
from concept_edit.search.tracing import spearman

WORDINGS = ("a {}", "a picture of a {}", "a drawing of a {}", "an emoji of a {}")
TEMPLATES = ("a {}", "a picture of a {}", "a drawing of a {}", "a portrait of a {}")
"""What is painted; the last one is no wording of the recipe."""
CHECKED = ("a {}", "a picture of a {}", "an emoji of a {}", "an image of a {}")
"""What is painted at the marks."""
FIRST, OTHERS, CHECK = 9101, 9901, 7301
SHOWN = 2
"""Pictures of a strength that are kept for the strip."""
BESIDE = ("dog", "car", "tree", "sun", "umbrella", "fish", "star", "rocket")
"""Things whose two styles make the direction of a style slider, too."""
STYLED = ("red apple", "penguin", "house", "guitar")


@dataclass(frozen=True)
class Slider:
    """One slider and what it should show more of."""

    name: str
    towards: str
    away: str
    shown: str
    """Presentation or style that should become more frequent."""

    @property
    def styled(self) -> bool:
        """Whether it slides a style."""
        return self.shown != "woman"

    def recipe(self, method: str, *, contrasts: bool = False, whole: bool = False) -> ce.Recipe:
        """From one end to the other, the other concepts kept; `contrasts`: the direction is a mean over others;
        `whole`: every wording that is painted is in it."""
        group = BESIDE if self.styled else tuple(p.name for p in PROFESSIONS)
        others = tuple(other for other in group if other != self.name) if contrasts else ()
        wordings = tuple(dict.fromkeys((*WORDINGS, *TEMPLATES))) if whole else WORDINGS
        edit = ce.Steer(self.name, towards=self.towards, away=self.away, contrasts=others, wordings=wordings)
        return ce.Recipe(edits=[edit], preserve=kept(self.name), method=method, tokens="subject")

    def hits(self, verdicts: Sequence[Any]) -> int:
        """Pictures that show it."""
        return sum((v.style if self.styled else v.presentation) == self.shown for v in verdicts)

    def chance(self, verdicts: Sequence[Any]) -> float:
        """The judge's mean probability of what should become more frequent, where it names one of two."""
        if self.styled:
            return self.hits(verdicts) / len(verdicts)
        sure = [v.presentation_probability if v.presentation == self.shown else 1 - v.presentation_probability
                for v in verdicts]  # fmt: skip
        return sum(sure) / len(sure)


def sliders() -> list[Slider]:
    """The eight professions, and some things between two styles."""
    people = [Slider(p.name, f"woman {p.name}", f"man {p.name}", "woman") for p in PROFESSIONS]
    things = [Slider(n, f"{n} in the style of Twemoji", f"{n} in the style of Noto", "Twemoji") for n in STYLED]
    return people + things


def turned(found: ce.Statistics, direction: str) -> ce.Statistics:
    """Statistics whose goals lie along another direction than each row's own difference of the two ends.

    `mean`: the mean difference over the wordings, for the concept's own tokens, EOS and each pad. `lda`: the inverse
    covariance of caption tokens times that mean (the direction that tells the two ends apart best), as long as it takes
    to go as far along it.
    """
    if direction in ("own", "contrasts"):
        return found
    stream = found.streams["text"]
    pairs, around = stream.pairs, stream.around
    assert pairs.goals is not None
    assert around is not None
    ways = (pairs.goals - pairs.sources).double()
    moving = ways.norm(dim=1) > 0
    roles = roles_of(moving)
    new = ways.clone()
    for role in set(roles) - {-1}:
        rows = torch.tensor([r == role for r in roles])
        mean = ways[rows].mean(dim=0)
        if direction == "lda":
            covariance = around.moment - torch.outer(around.mean, around.mean)
            covariance.diagonal().add_(1e-3 * float(covariance.diagonal().mean()))
            told = torch.linalg.solve(covariance, mean)
            mean = told * float(told @ mean) / float(told @ told)
        new[rows] = mean
    goals = (pairs.sources.double() + new).to(pairs.goals.dtype)
    return replace(found, streams={"text": replace(stream, pairs=replace(pairs, goals=goals))})


def roles_of(moving: torch.Tensor) -> list[int]:
    """Which place each row has in its wording: 0 for the concept's own tokens, 1 for EOS, 2 to 4 for pads; −1 for what
    does not move. Every wording begins with rows that do not move, or is the bare concept, and ends with three pads."""
    roles = [0 if bool(m) else -1 for m in moving]
    ends = [i + 1 for i in range(len(roles)) if roles[i] == 0 and (i + 1 == len(roles) or roles[i + 1] < 0)]
    for end in ends:
        roles[end - 4 : end] = [1, 2, 3, 4]
    assert len(ends) == len(WORDINGS) + 1, ends
    return roles


def painted(model: Model, templates: Sequence[str], name: str, first: int, count: int, steps: int | None) -> list[Any]:
    """Pictures of a concept, the templates in turn, a seed each."""
    prompts = [caption(templates[i % len(templates)].replace("{}", "{thing}"), name) for i in range(count)]
    return model.generate(prompts, [first + i for i in range(count)], steps=steps, batch_size=20)


def of_others(count: int, name: str, index: int) -> list[str]:
    """Other concepts, professions among them; neighbouring sliders take different ones."""
    others = [c.name for c in CONCEPTS if c.name != name]
    step = max(1, len(others) // max(1, count))
    return others[index % step :: step][:count]


def counted(model: Model, slider: Slider, index: int, args: argparse.Namespace, marked: bool) -> dict[str, Any]:
    """What the judge says at one strength; the model is edited already."""
    templates, first = (CHECKED, CHECK) if marked else (TEMPLATES, FIRST)
    images = painted(model, templates, slider.name, first, args.pictures, args.steps)
    others = [] if marked else of_others(args.others, slider.name, index)
    judge = load_judge()
    said = judge(images)
    told = judge(painted_others(model, others, args.steps)) if others else []
    return {
        "n": len(said),
        "hits": slider.hits(said),
        "chance": slider.chance(said),
        "named": sum(v.concept == slider.name for v in said),
        "worded": [slider.hits(said[i :: len(templates)]) for i in range(len(templates))],
        "others": sum(v.concept == name for v, name in zip(told, others, strict=True)),
        "of": len(others),
    } | {"images": images[: SHOWN * len(TEMPLATES) : len(TEMPLATES)]}


def painted_others(model: Model, others: Sequence[str], steps: int | None) -> list[Any]:
    """Other concepts, a picture each."""
    return model.generate([caption("a {thing}", name) for name in others], OTHERS, steps=steps, batch_size=20)


def measured(
    model: Model, slider: Slider, index: int, args: argparse.Namespace, strengths: Sequence[float], marked: bool
) -> list[dict[str, Any]]:
    """One slider at every strength; what an earlier run counted is read."""
    reach = "" if (args.low, args.high) == (-2, 2) else f"-{args.low:g}-{args.high:g}"
    kind = reach + ("-whole" if args.whole else "") + ("-marks" if marked else "")
    stem = f"{slider.name}-{args.method}-{args.direction}{kind}".replace(" ", "_")
    path = args.out / f"{stem}.json"
    asked = {"pictures": args.pictures, "others": args.others, "strengths": list(strengths), "steps": args.steps}
    if path.exists() and (held := json.loads(path.read_text()))["asked"] == asked:
        return held["found"]
    recipe = slider.recipe(args.method, contrasts=args.direction == "contrasts", whole=args.whole)
    edit = ce.solve_statistics(turned(ce.collect(model, recipe), args.direction))
    found = []
    for strength in strengths:
        with edit.applied(model, strength):
            seen = counted(model, slider, index, args, marked)
        for i, image in enumerate(seen.pop("images")):
            image.save(args.out / f"{stem}-{i}-{strength:+.2f}.png")
        found.append({"strength": strength} | seen)
    path.write_text(json.dumps({"asked": asked, "found": found}))
    return found


def marks_of(found: Sequence[dict[str, Any]], count: int) -> tuple[float, ...]:
    """The strengths at which equal steps of what was counted are seen."""
    return Curve("", "", tuple(Point(f["strength"], f["hits"], f["n"]) for f in found)).marks(count)


def rank(found: Sequence[dict[str, Any]], key: str) -> float:
    """Spearman's rank correlation of the strength and what was counted."""
    return spearman(*(torch.tensor([float(f[k]) for f in found]) for k in ("strength", key)))


HEAD = (
    "| slider | Spearman, share | Spearman, the judge's probability | shares at the nine steps | at 0 "
    "| named within ± 1, least | named, least | others named, least |"
)


def row(slider: Slider, found: Sequence[dict[str, Any]]) -> str:
    """A line of the table."""
    within = [f["named"] / f["n"] for f in found if abs(f["strength"]) <= 1] or [float("nan")]
    middle = min(found, key=lambda f: abs(f["strength"]))
    low, high = wilson(middle["hits"], middle["n"])
    others = min((f["others"] / f["of"] for f in found if f["of"]), default=float("nan"))
    cells = [
        slider.name + (f" ({slider.shown})" if slider.styled else ""),
        f"{rank(found, 'hits'):.2f}",
        f"{rank(found, 'chance'):.2f}",
        " ".join(f"{f['hits'] / f['n']:.2f}" for f in found),
        f"{middle['hits'] / middle['n']:.2f} ({low:.2f} to {high:.2f})",
        f"{min(within):.2f}",
        f"{min(f['named'] / f['n'] for f in found):.2f}",
        f"{others:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/sliders"))
    parser.add_argument("--pictures", type=int, default=40, help="pictures of the concept at each strength")
    parser.add_argument("--others", type=int, default=20, help="pictures of other concepts at each strength")
    parser.add_argument("--frames", type=int, default=9, help="strengths at equal steps")
    parser.add_argument("--low", type=float, default=-2.0, help="first strength")
    parser.add_argument("--high", type=float, default=2.0, help="last strength")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own when left out")
    parser.add_argument("--method", default="guarded", choices=("guarded", "uce"))
    parser.add_argument("--direction", default="contrasts", choices=("contrasts", "own", "mean", "lda"))
    parser.add_argument("--whole", action="store_true", help="the held-out wording is in the recipe, too")
    parser.add_argument("--marks", action="store_true", help="at the calibrated marks instead")
    parser.add_argument("--only", help="some sliders, by name, separated by commas")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = ce.open_model("demo")
    equal = [args.low + (args.high - args.low) * i / (args.frames - 1) for i in range(args.frames)]
    print(HEAD + "\n" + "|---" * 8 + "|")
    for index, slider in enumerate(sliders()):
        if args.only and slider.name not in args.only.split(","):
            continue
        found = measured(model, slider, index, args, equal, False)
        if args.marks:
            found = measured(model, slider, index, args, marks_of(found, args.frames), True)
        print(row(slider, found), flush=True)


if __name__ == "__main__":
    main()
