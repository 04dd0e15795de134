"""All professions of the embedded model from its documented bias to one half each.

    python benchmarks/debias_professions.py --out out/debias_professions        # resumable

The search gives every wording of a profession an aim of its own and counts pictures until the share of women is in
range, by intervals over the pictures of all rounds; the closing check counts on seeds and templates it never used.
Beside it: how many pictures the procedure of the 2023 code would draw for the same rounds, 250 for each concept and
round, and the judge's accuracy on every other concept before and after at the same seeds. Everything is written to
`report.json`, with tables in `report.md`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import concept_edit as ce
from concept_edit.balance.debias import Balance, Counted, Plan, debias
from concept_edit.balance.studio import Studio
from concept_edit.balance.unseen import closing_check
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, PROFESSIONS
from concept_edit.demo.recipes import kept
from concept_edit.evaluation import Settings
from concept_edit.evaluation.instruments import embedded_instruments
from concept_edit.models import Model
from concept_edit.recipe import Debias, Recipe

DRAWN_2023 = 250
WORDINGS = ("a {}", "a picture of a {}", "a drawing of a {}", "a photo of a {}", "a painting of a {}")
"""Three that the model was trained on and two it never heard: unseen ones answer as the latter do."""
SCALE = 6.0
"""Weight of the professions' rows: their goals are met rather than approached."""
SEEDS = (8101, 8102, 8103)


def accuracy(model: Model, steps: int | None) -> dict[str, int]:
    """The judge's accuracy on concepts that are no profession."""
    others = [c.name for c in CONCEPTS if c.women is None]
    prompts = [(f"a {name}", seed, name) for name in others for seed in SEEDS]
    images = model.generate([p for p, _, _ in prompts], [s for _, s, _ in prompts], steps=steps)
    named = [verdict.concept for verdict in load_judge()(images)]
    right = [a == name for a, (_, _, name) in zip(named, prompts, strict=True)]
    return {"right": sum(right), "of": len(right)}


def settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/debias_professions"))
    parser.add_argument("--method", default="uce", choices=("uce", "guarded"))
    parser.add_argument("--check", type=int, default=80, help="unseen pictures of each profession and kind of template")
    parser.add_argument("--before", type=int, default=20, help="as many of the original model")
    parser.add_argument("--most", type=int, default=48, help="pictures of a profession in a round, at most")
    parser.add_argument("--rounds", type=int, default=12, help="rounds at most")
    parser.add_argument("--tolerance", type=float, default=0.08, help="how sure the search must be (± of each share)")
    parser.add_argument("--seed", type=int, default=0, help="first seed of the search")
    parser.add_argument("--edit", type=Path, help="no search: count pictures of this edit in the recipe's wordings")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own when left out")
    return parser.parse_args()


def balanced(model: Model, args: argparse.Namespace) -> Balance:
    """The search and its closing check."""
    names = [c.name for c in PROFESSIONS]
    drawn = Plan(templates=WORDINGS, check=args.check, check_before=args.before, most=args.most,
                 rounds=args.rounds, seed=args.seed, tolerance=args.tolerance)  # fmt: skip
    edits = tuple(Debias(name, across={"man": 0.5, "woman": 0.5}, wordings=WORDINGS) for name in names)
    recipe = Recipe(
        edits=edits, preserve=kept(*names), method=args.method, tokens="subject",
        erase_scale=SCALE if args.method == "uce" else 1.0,
    )  # fmt: skip
    return debias(
        model, recipe, plan=drawn, settings=Settings(batch_size=16, steps=args.steps), out=args.out,
        progress=lambda number, seen: print(number, told(seen[-1]), flush=True),
    )  # fmt: skip


def told(seen: Counted) -> str:
    """One concept of a round in a line: women of all, for each wording."""
    parts = [f"{w.alphas['woman'] - w.alphas['man']:+.2f}: {w.counts['woman']}/{sum(w.counts.values())}"
             for w in seen.wordings]  # fmt: skip
    return f"{seen.concept} {seen.verdict} {seen.counts['woman']}/{sum(seen.counts.values())} ({', '.join(parts)})"


def spent(found: Balance) -> dict[str, float]:
    """Pictures beside those of the 2023 procedure: for every concept in every round, and for those counted in it."""
    rounds, counted = len(found.rounds), sum(len(part) for part in found.rounds)
    usual = {"every concept in every round": len(found.rounds[0]) * rounds, "unsettled concepts alone": counted}
    return {"pictures": found.images, "rounds": rounds} | {
        f"ratio, {what}": round(found.images / (DRAWN_2023 * n), 3) for what, n in usual.items()
    }


HELD_OUT = Plan().held_out


def tables(report: dict[str, Any]) -> str:
    """Shares of women with their intervals, the same wording by wording after the edit, and everything of all."""
    figures = {(f["name"], f["group"], f["side"]): f for f in report["figures"]}
    names = [c.name for c in PROFESSIONS]

    def told_of(name: str, group: str, side: str) -> str:
        found = figures[name, group, side]
        return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"

    lines = ["| profession | training templates, before | after | held-out, before | after |", "|" + "---|" * 5]
    for name in names:
        cells = [told_of(f"share of woman, {kind} templates", name, side)
                 for kind in ("training", "held-out") for side in ("before", "after")]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    worded = [("training", w) for w in WORDINGS] + [("held-out", w) for w in HELD_OUT]
    lines += ["", f"| profession | {' | '.join(w.replace('{}', '…') for _, w in worded)} |", "|" + "---|" * 8]
    for name in names:
        shares = [figures[f"share of woman, {kind} templates: {w}", name, "after"]["value"] for kind, w in worded]
        lines.append(f"| {name} | {' | '.join(f'{share:.2f}' for share in shares)} |")
    whole = [f"- {name}, {side}: {told_of(name, group, side)}" for name, group, side in figures if group == "balanced"]
    return "\n".join([*lines, "", *whole]) + "\n"


def counted_again(model: Model, args: argparse.Namespace) -> None:
    """Shares of women under a found edit, at the given number of steps."""
    edit, (judge, clip) = ce.Edit.load(args.edit), embedded_instruments()
    drawn = Plan(templates=WORDINGS, held_out=(), check=args.check, check_before=args.before)
    studio = Studio(model, judge, drawn, Settings(batch_size=16, steps=args.steps), args.out)
    wanted = [found for found in edit.recipe.edits if isinstance(found, Debias)]
    for figure in closing_check(studio, edit, wanted, clip):
        if "of man" not in figure.name and ": " not in figure.name:
            interval = f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}), n {figure.n}"
            print(f"{figure.name} | {figure.group} | {figure.side} | {interval}", flush=True)


def main() -> None:
    args, start = settings(), time.perf_counter()
    model = ce.open_model("demo")
    if args.edit:
        return counted_again(model, args)
    found = balanced(model, args)
    found.edit.save(args.out / "edit.safetensors")
    report = found.as_dict() | {"spent": spent(found)}
    print(json.dumps(report["spent"]), f"{time.perf_counter() - start:.0f} s, unsettled: {found.unsettled}")
    for confusion in found.confusions:
        print(f"the labeller is right on {confusion.accuracy:.3f} of pictures asked for an attribute outright")
    for figure in found.figures:
        if "of man" not in figure.name:
            interval = f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}), n {figure.n}"
            print(f"{figure.name} | {figure.group} | {figure.side} | {interval}")
    report["others"] = {"before": accuracy(model, args.steps)}
    with found.edit.applied(model):
        report["others"]["after"] = accuracy(model, args.steps)
    print("other concepts named right:", report["others"])
    (args.out / "report.md").write_text(tables(report))
    (args.out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
