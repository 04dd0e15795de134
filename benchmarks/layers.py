"""Fewer layers: does an edit in a searched window of cross-attention layers spare more than one in all of them?

    python benchmarks/layers.py --out out/layers

12 of the embedded model's 48 concepts are erased. The window is chosen by `search_layers` on 12 others at one seed and
wording; what it leaves and keeps is then counted on 12 that neither the search nor the edit saw, at other seeds and in
another wording, beside the same edit in all layers. Named by the embedded judge, which no edit saw. 95 % intervals
(Wilson). What is painted once is kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, caption
from concept_edit.evaluation import Settings, wilson
from concept_edit.models.opened import OpenedModel
from concept_edit.search.layers import LayerSearch, Window

WORDINGS = ("{}", "a {}", "a picture of a {}")
SEEDS, UNSEEN = (8101, 8102), ("a {thing}", "an emoji of a {thing}")


def draw() -> tuple[list[str], list[str], list[str]]:
    """Erased, shown to the search, kept for the end."""
    names = [c.name for c in CONCEPTS]
    random.Random(23).shuffle(names)
    return names[:12], names[12:24], names[24:36]


def counted(model: OpenedModel, edit: ce.Edit | None, names: Sequence[str], steps: int) -> list[bool]:
    """For every name, wording and seed: does the judge name it?"""
    asked = [(name, caption(wording, name), seed) for name in names for wording in UNSEEN for seed in SEEDS]
    prompts, seeds = [prompt for _, prompt, _ in asked], [seed for _, _, seed in asked]
    if edit is None:
        images = model.generate(prompts, seeds, steps=steps, batch_size=16)
    else:
        with edit.applied(model):
            images = model.generate(prompts, seeds, steps=steps, batch_size=16)
    return [verdict.concept == name for verdict, (name, _, _) in zip(load_judge()(images), asked, strict=True)]


def searched(model: OpenedModel, edit: ce.Edit, others: Sequence[str], path: Path, steps: int) -> LayerSearch:
    if path.is_file():
        held = json.loads(path.read_text())
        windows = [Window(tuple(w["layers"]), tuple(w["left"]), tuple(w["kept"])) for w in held["windows"]]
        return LayerSearch(edit.recipe, held["labeller"], windows[0], tuple(windows[1:]))
    found = ce.search_layers(model, edit, kept=others, seeds=(8001,), settings=Settings(steps=steps, batch_size=16))
    plain = [asdict(window) for window in (found.before, *found.windows)]
    path.write_text(json.dumps({"labeller": found.labeller, "windows": plain}))
    return found


def told(hits: Sequence[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = ce.open_model("demo")
    gone, others, last = draw()
    erased = tuple(ce.Erase(name, guide="a drawing", wordings=WORDINGS) for name in gone)
    ways = {
        "UCE, nothing named as kept": ce.Recipe(edits=erased, method="uce", tokens="subject"),
        "guarded, 12 named as kept": ce.Recipe(edits=erased, preserve=others, method="guarded"),
    }
    print("| edit | layers | left ↓ | others kept ↑ |\n|---|---|---|---|")
    print(
        f"| none | | {told(counted(model, None, gone, args.steps))} | {told(counted(model, None, last, args.steps))} |"
    )
    for number, (name, recipe) in enumerate(ways.items()):
        edit = ce.solve(model, recipe)
        found = searched(model, edit, others, args.out / f"search-{number}.json", args.steps)
        (args.out / f"search-{number}.md").write_text(found.to_markdown() + "\n")
        chosen = ce.solve(model, found.recipe())
        for which, solved in (("all", edit), (" ".join(found.best.layers) or "all", chosen)):
            left, stays = (counted(model, solved, names, args.steps) for names in (gone, last))
            print(f"| {name} | {which} | {told(left)} | {told(stays)} |", flush=True)
        print(f"\n{found.sentence()}\n", flush=True)


if __name__ == "__main__":
    main()
