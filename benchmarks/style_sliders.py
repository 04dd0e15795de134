"""Sliders from one style's name to another: "in the style of Noto" slid to Twemoji, all things, one edit.

    python benchmarks/style_sliders.py

The concept is the style's own name, so the slider begins at that style (strength 0) and ends at the other (1); nothing
lies below 0. Pictures: 20 things in two wordings, one of which is not in the recipe, the same seeds at every strength;
told by the judge: the share in the style at the far end (Spearman's rank correlation with the strength), the share in
which the thing is still named, and the pictures in a third style that still show it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, STYLES, caption
from concept_edit.demo.recipes import SCENE, kept
from concept_edit.evaluation import wilson
from concept_edit.models.opened import OpenedModel
from concept_edit.pictures import write_strip
from concept_edit.search.tracing import spearman

PAIRS = (("Noto", "Twemoji"), ("Twemoji", "Noto"))
WORDINGS = ("in the style of {}", "a picture by {}", "by {}", "{}'s drawing")
ASKED = ("a {thing} in the style of {style}", "{style} emoji of a {thing}")
"""The second is no wording of the recipe; the model was shown both."""
FIRST, OTHERS = 12_000, 12_500
THINGS = tuple(c.name for c in CONCEPTS if c.women is None)[:40:2]


def surroundings(*styles: str) -> tuple[str, ...]:
    """Every thing in each of the other styles: what the slider's way must not lead past."""
    others = [style.name for style in STYLES if style.name not in styles]
    return tuple(caption(SCENE.replace("{}", "{thing}", 1).replace("{}", "{style}"), c.name, style)
                 for c in CONCEPTS for style in others)  # fmt: skip


def measured(model: OpenedModel, low: str, high: str, strengths: list[float], out: Path) -> str:
    """One slider at every strength, as a line of the table."""
    edit = ce.Steer(low, towards=high, wordings=WORDINGS, range=(0, 1))
    recipe = ce.Recipe(
        edits=[edit], preserve=[*kept(low, high), *surroundings(low, high)], method="guarded", tokens="subject"
    )
    solved, judge = ce.solve(model, recipe), load_judge()
    third = next(style.name for style in STYLES if style.name not in (low, high))
    rows = [(asked, thing) for asked in ASKED for thing in THINGS]
    prompts = [caption(asked.replace("{style}", low), thing) for asked, thing in rows]
    others = [caption(ASKED[0].replace("{style}", third), thing) for thing in THINGS]
    shares, named, stay, strip = [], [], [], []
    for strength in strengths:
        with solved.applied(model, strength):
            images = model.generate(prompts, [FIRST + i for i in range(len(prompts))], steps=10, batch_size=20)
            beside = model.generate(others, [OTHERS + i for i in range(len(others))], steps=10, batch_size=20)
        said = judge(images)
        shares.append(sum(v.style == high for v in said) / len(said))
        named.append(sum(v.concept == thing for v, (_, thing) in zip(said, rows, strict=True)) / len(said))
        stay.append(sum(v.style == third for v in judge(beside)) / len(beside))
        strip.append(images[: 3 * 4 : 4])
    write_strip(out / f"style_slider_{low}.png", strip, [f"{s:.2g}" for s in strengths], {"slider": f"{low} to {high}"})
    rank = spearman(torch.tensor(strengths), torch.tensor(shares))
    ends = wilson(round(shares[-1] * len(rows)), len(rows))
    cells = [
        f"{low} → {high}", f"{rank:.2f}", " ".join(f"{s:.2f}" for s in shares), f"{ends[0]:.2f} to {ends[1]:.2f}",
        f"{named[0]:.2f}", f"{min(named):.2f}", f"{min(stay):.2f} ({stay[0]:.2f} at 0)",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/style_sliders"))
    parser.add_argument("--frames", type=int, default=9)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = ce.open_model("demo")
    print("| slider | Spearman | share at 0 … 1 | at 1 (95 %) | thing named at 0 | named, least | third style, least |")
    print("|---|---|---|---|---|---|---|")
    for low, high in PAIRS:
        print(measured(model, low, high, [i / (args.frames - 1) for i in range(args.frames)], args.out), flush=True)


if __name__ == "__main__":
    main()
