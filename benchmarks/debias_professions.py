"""All professions of the embedded model from its documented bias to one half each.

    python benchmarks/debias_professions.py --out out/debias_professions        # resumable

The search counts pictures until each profession's share of women is in range (sequential, by Wilson intervals), the
closing check counts on seeds and templates it never used. Beside it: how many pictures the procedure of the 2023 code
would draw for the same rounds, 250 for each concept and round, and the judge's accuracy on every other concept before
and after at the same seeds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import concept_edit as ce
from concept_edit.debias import Plan, debias
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, PROFESSIONS
from concept_edit.demo.recipes import kept
from concept_edit.evaluation import Settings
from concept_edit.models import Model
from concept_edit.recipe import Debias, Recipe

DRAWN_2023 = 250
SEEDS = (8101, 8102, 8103)


def accuracy(model: Model, steps: int | None) -> dict[str, int]:
    """The judge's accuracy on concepts that are no profession."""
    others = [c.name for c in CONCEPTS if c.women is None]
    prompts = [(f"a {name}", seed, name) for name in others for seed in SEEDS]
    images = model.generate([p for p, _, _ in prompts], [s for _, s, _ in prompts], steps=steps)
    named = [verdict.concept for verdict in load_judge()(images)]
    right = [a == name for a, (_, _, name) in zip(named, prompts, strict=True)]
    return {"right": sum(right), "of": len(right)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/debias_professions"))
    parser.add_argument("--method", default="uce", choices=("uce", "guarded"))
    parser.add_argument("--check", type=int, default=48, help="unseen pictures of each profession and kind of template")
    parser.add_argument("--most", type=int, default=160, help="pictures of a profession in a round, at most")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own when left out")
    args = parser.parse_args()
    names = [c.name for c in PROFESSIONS]
    drawn = Plan(check=args.check, most=args.most)
    edits = tuple(Debias(name, across={"man": 0.5, "woman": 0.5}, wordings=drawn.templates) for name in names)
    recipe = Recipe(edits=edits, preserve=kept(*names), method=args.method, tokens="subject")
    model, start = ce.open_model("demo"), time.perf_counter()
    found = debias(model, recipe, plan=drawn, settings=Settings(batch_size=16, steps=args.steps), out=args.out,
                   progress=lambda number, seen: print(number, seen[-1], flush=True))  # fmt: skip
    found.edit.save(args.out / "edit.safetensors")
    usual = DRAWN_2023 * len(names) * len(found.rounds)
    spent = f"{found.images} pictures in {len(found.rounds)} rounds, {time.perf_counter() - start:.0f} s"
    print(f"search: {spent}; 2023's {DRAWN_2023} for each concept in each of these rounds: {usual}, "
          f"ratio {found.images / usual:.3f}; unsettled: {found.unsettled}")  # fmt: skip
    for confusion in found.confusions:
        print(f"the labeller is right on {confusion.accuracy:.3f} of pictures asked for an attribute outright")
    for figure in found.figures:
        interval = f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}), n {figure.n}"
        print(f"{figure.name} | {figure.group} | {figure.side} | {interval}")
    before = accuracy(model, args.steps)
    with found.edit.applied(model):
        after = accuracy(model, args.steps)
    print(f"other concepts named right: {before['right']} of {before['of']} before, {after['right']} after, "
          f"ratio {after['right'] / before['right']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
