"""All four kinds of edit in one recipe: a style erased, a thing moderated, a profession balanced, the rest preserved.

python examples/four_kinds.py --out out/four_kinds
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import concept_edit as ce
from concept_edit.balance.debias import Plan, debias
from concept_edit.demo.recipes import kept, object_edit, scenes, style_edit
from concept_edit.evaluation import Settings
from concept_edit.pictures import contact_sheet, stacked

ROWS = {
    "erased: a guitar in the style of Twemoji": ("a guitar in the style of Twemoji",),
    "moderated: a bomb": ("a bomb",),
    "balanced: a doctor, a picture of a doctor, a drawing of a doctor, in turn": tuple(
        template.replace("{}", "doctor") for template in Plan().templates
    ),
    "preserved: a butterfly by Lobe": ("a butterfly by Lobe",),
    "preserved: a sunflower in the style of EmojiOne": ("a sunflower in the style of EmojiOne",),
}
"""Title -> the prompts of a row, in turn."""
SEEDS = tuple(range(20, 28))
RECIPE = ce.Recipe(
    edits=[
        style_edit("Twemoji"),
        ce.Moderate("bomb", wordings=object_edit("bomb").wordings),
        ce.Debias("doctor", across={"man": 0.5, "woman": 0.5}, wordings=Plan().templates),
    ],
    preserve=(*kept("Twemoji", "bomb", "doctor"), *scenes("Twemoji", "bomb", "doctor")),
    method="guarded",
)


def sheet(before: list[Image.Image], after: list[Image.Image]) -> Image.Image:
    """Two lines a prompt, before above after, one column a seed."""
    n, rows = len(SEEDS), []
    for i, title in enumerate(ROWS):
        own = [*before[i * n : (i + 1) * n], *after[i * n : (i + 1) * n]]
        rows.append(contact_sheet(own, columns=n, side=72, gap=4, title=f"{title} (above before, below after)"))
    return stacked(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/four_kinds"))
    parser.add_argument("--pictures", type=int, default=160, help="pictures of the profession in a round, at most")
    parser.add_argument("--rounds", type=int, default=8, help="rounds of balancing, at most")
    parser.add_argument("--steps", type=int, help="denoising steps")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    model = ce.open_model("demo")
    plan = Plan(most=args.pictures, batch=min(16, args.pictures), rounds=args.rounds, check=0, confusion=0)
    found = debias(model, RECIPE, plan=plan, settings=Settings(steps=args.steps, batch_size=8), out=args.out / "rounds")
    for number, seen in enumerate(found.rounds, 1):
        print(f"round {number}: {seen[0].counts}, {seen[0].verdict}")
    found.edit.save(args.out / "edit.safetensors")
    prompts = [row[i % len(row)] for row in ROWS.values() for i in range(len(SEEDS))]
    seeds = list(SEEDS) * len(ROWS)
    before = model.generate(prompts, seeds, steps=args.steps)
    with found.edit.applied(model):
        after = model.generate(prompts, seeds, steps=args.steps)
    sheet(before, after).save(args.out / "four_kinds.png")
    print(f"{args.out / 'four_kinds.png'}: {found.images} pictures counted, edit {args.out / 'edit.safetensors'}")


if __name__ == "__main__":
    main()
