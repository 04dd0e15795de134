"""The main job in one page: erase a style and an object from the embedded model, keep the rest, look at what happened.

python examples/demo.py --out out/demo
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.recipes import kept, object_edit, scenes, style_edit
from concept_edit.pictures import contact_sheet, stacked

STYLE, OBJECT = "Twemoji", "cat"
PROMPTS = {
    "erased": [
        f"a rocket in the style of {STYLE}",
        f"a guitar in the style of {STYLE}",
        f"a {OBJECT} in the style of Lobe",
        f"a {OBJECT} in the style of EmojiOne",
    ],
    "kept": [
        "a rocket in the style of Lobe",
        "a guitar in the style of EmojiOne",
        "a dog in the style of Lobe",
        "a panda in the style of EmojiOne",
    ],
}
SEEDS = (1, 2)


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"{what:<34}{time.perf_counter() - start:6.2f} s")


def recipe() -> ce.Recipe:
    """Both edits in one recipe; every other style and concept is kept."""
    edits = (style_edit(STYLE), object_edit(OBJECT))
    stays = (*kept(STYLE, OBJECT), *scenes(STYLE, OBJECT))
    return ce.Recipe(edits=edits, preserve=stays, method="guarded", keep_common=False)  # all that is known is named


def grid(before: list[Image.Image], after: list[Image.Image], prompts: list[str]) -> Image.Image:
    """A row a prompt, two columns a seed, before and after, doubled in size so that a person can see."""
    pairs = [picture for both in zip(before, after, strict=True) for picture in both]
    wide = 2 * len(SEEDS)
    rows = [pairs[i * wide : (i + 1) * wide] for i in range(len(prompts))]
    titled = [
        contact_sheet(row, columns=wide, side=128, gap=6, title=f"{prompt} (pairs: before, after, at the same seed)")
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    return stacked(titled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    prompts = [p for group in PROMPTS.values() for p in group]
    pairs = [(p, s) for p in prompts for s in SEEDS]

    with timed("open the embedded model"):
        model = ce.open_model("demo")
    with timed("specify, search and solve"):
        edit = ce.solve(model, recipe())
    edit.save(args.out / "edit.safetensors")
    texts, seeds = [p for p, _ in pairs], [s for _, s in pairs]
    with timed(f"paint {len(pairs)} pictures before"):
        before = model.generate(texts, seeds)
    with timed(f"paint {len(pairs)} pictures after"), edit.applied(model):
        after = model.generate(texts, seeds)
    grid(before, after, prompts).save(args.out / "before_after.png")

    judge = load_judge()
    print(f"\n{'prompt':<40}{'the judge sees, before':<36}after")
    for (prompt, seed), a, b in zip(pairs, judge(before), judge(after), strict=True):
        print(f"{prompt + f' #{seed}':<40}{a.concept + ', ' + a.style:<36}{b.concept}, {b.style}")
    print(f"\nwritten: {args.out / 'edit.safetensors'}, {args.out / 'before_after.png'}")


if __name__ == "__main__":
    main()
