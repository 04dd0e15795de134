"""Sliders: does what a picture shows rise with the strength, does the concept stay, does everything else?

    python benchmarks/sliders.py --out out/sliders          # resumable; --pictures 2 --frames 3 --only doctor: smallest

One slider for each profession of the embedded model ("man …" to "woman …"), all solved on the text side alone, and
painted at equal steps of strength from −2 to 2 at the same seeds. Told by the judge: the share of women (Spearman's
rank correlation with the strength, over the steps), the share of pictures in which the profession is still named, and
the share of other concepts still named at that strength. The baseline is the same slider by method `uce`, in the same
run. A film strip of every slider lies beside the table.
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
HEAD = "| profession | method | Spearman | women, ends | women at 0 | named within ± 1, least | others named, least |"


def slider(name: str, method: str) -> ce.Recipe:
    """From men to women, the other concepts kept."""
    edit = ce.Steer(name, towards=f"woman {name}", away=f"man {name}", wordings=WORDINGS)
    return ce.Recipe(edits=[edit], preserve=kept(name), method=method, tokens="subject")


def of_profession(count: int, name: str) -> list[Row]:
    """Pictures of the profession, the templates in turn."""
    return [Row(TEMPLATES[i % len(TEMPLATES)].replace("{}", name), FIRST + i, subject=name) for i in range(count)]


def of_others(count: int, name: str) -> list[Row]:
    """Pictures of other concepts, spread over all of them."""
    others = [c.name for c in CONCEPTS if c.name != name]
    chosen = others[:: max(1, len(others) // count)][:count]
    return [Row(caption("a {thing}", other), OTHERS, subject=other) for other in chosen]


def counted(model: Model, edit: ce.Edit, strength: float, name: str, args: argparse.Namespace) -> dict[str, float]:
    """Shares at one strength, of the judge's answers."""
    rows, others = of_profession(args.pictures, name), of_others(args.others, name)
    with edit.applied(model, strength):
        own = [model.generate([r.prompt for r in part], [r.seed for r in part], steps=args.steps)
               for part in (rows, others)]  # fmt: skip
    judge = load_judge()
    said, told = judge(own[0]), judge(own[1])
    women = sum(v.presentation == "woman" for v in said)
    return {
        "strength": strength,
        "women": women / len(rows),
        "low": wilson(women, len(rows))[0],
        "high": wilson(women, len(rows))[1],
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
    rank = spearman(*(torch.tensor([f[key] for f in found]) for key in ("strength", "women")))
    within = [f["named"] for f in found if abs(f["strength"]) <= 1]
    ends = f"{found[0]['women']:.2f} → {found[-1]['women']:.2f}"
    middle = found[len(found) // 2]
    interval = f"{middle['women']:.2f} ({middle['low']:.2f} to {middle['high']:.2f})"
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
    parser.add_argument("--pictures", type=int, default=40, help="pictures of the profession at each strength")
    parser.add_argument("--others", type=int, default=40, help="pictures of other concepts at each strength")
    parser.add_argument("--frames", type=int, default=9, help="strengths from -2 to 2")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own when left out")
    parser.add_argument("--only", help="one profession")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = ce.open_model("demo")
    print(HEAD + "\n" + "|---" * 7 + "|")
    for profession in PROFESSIONS:
        if args.only in (None, profession.name):
            for method in METHODS:
                print(row(profession.name, method, measured(model, profession.name, method, args)), flush=True)


if __name__ == "__main__":
    main()
