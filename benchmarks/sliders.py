"""Sliders: does what a picture shows rise with the strength, does the concept stay, does everything else?

    python benchmarks/sliders.py --out out/sliders          # resumable; --pictures 2 --frames 3 --only doctor: smallest

One slider for each profession of the embedded model ("man …" to "woman …") and for four things from one style to
another ("… in the style of Noto" to "… of Twemoji"), all solved on the text side alone, and painted at equal steps of
strength from −2 to 2 at the same seeds. The direction is the mean over the other professions, or eight other things.
Told by the judge: the share of women or of Twemoji (Spearman's rank correlation with the strength, over the steps), the
share of pictures in which the concept is still named, and the share of other concepts still named at that strength. The
baseline is the same slider by method `uce`, in the same run. A film strip of every slider lies beside the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, PROFESSIONS, caption
from concept_edit.demo.recipes import kept
from concept_edit.evaluation import wilson
from concept_edit.evaluation.rows import Row
from concept_edit.models.opened import OpenedModel as Model
from concept_edit.pictures import write_strip
from concept_edit.search.tracing import spearman

WORDINGS = ("a {}", "a picture of a {}", "a drawing of a {}", "an emoji of a {}")
TEMPLATES = ("a {}", "a picture of a {}", "a drawing of a {}", "a portrait of a {}")
"""What is painted; the last one is no wording of the recipe."""
FIRST, OTHERS = 9101, 9901
METHODS = ("guarded", "uce")
HEAD = "| slider | method | Spearman | share, ends | share at 0 | named within ± 1, least | others named, least |"
THINGS = ("rocket", "cat", "guitar", "strawberry")
"""Slid from one style to another."""
BESIDE = ("dog", "car", "house", "tree", "sun", "umbrella", "fish", "star")
NOTO, TWEMOJI = "{} in the style of Noto", "{} in the style of Twemoji"


def slider(name: str, method: str) -> ce.Recipe:
    """From men to women, or from Noto to Twemoji; the direction a mean over others, the other concepts kept."""
    people = [p.name for p in PROFESSIONS]
    low, high, group = ("man {}", "woman {}", people) if name in people else (NOTO, TWEMOJI, BESIDE)
    others = tuple(other for other in group if other != name)
    ends = {"towards": high.replace("{}", name), "away": low.replace("{}", name)}
    edit = ce.Steer(name, **ends, contrasts=others, wordings=WORDINGS)
    return ce.Recipe(edits=[edit], preserve=kept(name), method=method, tokens="subject")


def of_concept(count: int, name: str) -> list[Row]:
    """Pictures of the concept, the templates in turn."""
    return [Row(TEMPLATES[i % len(TEMPLATES)].replace("{}", name), FIRST + i, subject=name) for i in range(count)]


def of_others(count: int, name: str) -> list[Row]:
    """Pictures of other concepts, spread over all of them."""
    others = [c.name for c in CONCEPTS if c.name != name]
    chosen = others[:: max(1, len(others) // count)][:count]
    return [Row(caption("a {thing}", other), OTHERS, subject=other) for other in chosen]


def counted(model: Model, edit: ce.Edit, strength: float, name: str, args: argparse.Namespace) -> dict[str, float]:
    """Shares at one strength, of the judge's answers."""
    rows, others = of_concept(args.pictures, name), of_others(args.others, name)
    with edit.applied(model, strength):
        own = [model.generate([r.prompt for r in part], [r.seed for r in part], steps=args.steps)
               for part in (rows, others)]  # fmt: skip
    judge = load_judge()
    said, told = judge(own[0]), judge(own[1])
    people = any(name == p.name for p in PROFESSIONS)
    shown = sum(v.presentation == "woman" if people else v.style == "Twemoji" for v in said)
    return {
        "strength": strength,
        "share": shown / len(rows),
        "low": wilson(shown, len(rows))[0],
        "high": wilson(shown, len(rows))[1],
        "named": sum(v.concept == name for v in said) / len(rows),
        "others": sum(v.concept == r.subject for v, r in zip(told, others, strict=True)) / max(1, len(others)),
    }


def measured(model: Model, name: str, method: str, args: argparse.Namespace) -> list[dict[str, float]]:
    """One slider at every strength; what an earlier run counted is read."""
    path = args.out / f"{name}-{method}.json".replace(" ", "_")
    asked = {"pictures": args.pictures, "others": args.others, "frames": args.frames, "steps": args.steps}
    if path.exists() and (held := json.loads(path.read_text()))["asked"] == asked:
        return held["found"]
    edit = ce.solve(model, slider(name, method))
    strengths = [-2 + 4 * i / (args.frames - 1) for i in range(args.frames)]
    found = [counted(model, edit, strength, name, args) for strength in strengths]
    path.write_text(json.dumps({"asked": asked, "found": found}))
    columns = []
    for strength in strengths:
        with edit.applied(model, strength):
            columns.append(model.generate([t.replace("{}", name) for t in TEMPLATES], FIRST, steps=args.steps))
    write_strip(path.with_suffix(".png"), columns, [f"{s:+.2g}" for s in strengths], {"slider": name, "method": method})
    return found


def row(name: str, method: str, found: Sequence[dict[str, float]]) -> str:
    """A line of the table."""
    rank = spearman(*(torch.tensor([f[key] for f in found]) for key in ("strength", "share")))
    within = [f["named"] for f in found if abs(f["strength"]) <= 1]
    ends = f"{found[0]['share']:.2f} → {found[-1]['share']:.2f}"
    middle = found[len(found) // 2]
    interval = f"{middle['share']:.2f} ({middle['low']:.2f} to {middle['high']:.2f})"
    cells = [
        name,
        method,
        f"{rank:.2f}",
        ends,
        interval,
        f"{min(within):.2f}",
        f"{min(f['others'] for f in found):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/sliders"))
    parser.add_argument("--pictures", type=int, default=40, help="pictures of the concept at each strength")
    parser.add_argument("--others", type=int, default=40, help="pictures of other concepts at each strength")
    parser.add_argument("--frames", type=int, default=9, help="strengths from -2 to 2")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own when left out")
    parser.add_argument("--only", help="one concept")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = ce.open_model("demo")
    print(HEAD + "\n" + "|---" * 7 + "|")
    for name in (*(p.name for p in PROFESSIONS), *THINGS):
        if args.only in (None, name):
            for method in METHODS:
                print(row(name, method, measured(model, name, method, args)), flush=True)


if __name__ == "__main__":
    main()
