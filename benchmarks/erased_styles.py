"""Styles erased, one and two at a time: what is left, and whether the thing and the other styles are still there.

    python benchmarks/erased_styles.py paint --out out/erased_styles      # resumable; a minute a case and method
    python benchmarks/erased_styles.py table --out out/erased_styles      # writes the page's table
    python benchmarks/erased_styles.py diagnosed --out out/erased_styles  # what `diagnose` foretold, beside it

The embedded model draws in four styles; Noto is what it draws in when nobody asks for one. Each goes alone, and each
pair; the others and all concepts are kept as in `rivals_quality.py`. Nothing is told of a style but its name. Scenes,
seeds and unseen wordings are none that a setting was chosen on. The embedded judge, which no edit saw, names style and
thing. Intervals: 95 %, Wilson's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from diagnosis import correlation
from erase_quality import SCENES
from rivals_quality import STYLED, UNSEEN_STYLED
from unnamed import into_page, percent, run

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import HOUSE_STYLE, STYLES, caption
from concept_edit.demo.recipes import kept, scenes
from concept_edit.prompts.memo import remembering
from concept_edit.recipe import Erase, Recipe

PAGE = Path(__file__).with_name("erased_styles.md")
SEED, STEPS = 7501, 8
"""The first picture's seed; each has the next, since pictures of one seed and scene share much."""
NAMES = tuple(style.name for style in STYLES)
OTHERS = tuple(name for name in NAMES if name != HOUSE_STYLE)
GROUPS = {
    "one, not the house style": [(name,) for name in OTHERS],
    "two, neither the house style": list(combinations(OTHERS, 2)),
    "the house style, alone and with another": [(HOUSE_STYLE,), *((HOUSE_STYLE, name) for name in OTHERS)],
}
CASES = [case for cases in GROUPS.values() for case in cases]
MORE = ("{style}'s picture of a {thing}", "a {style} sticker of a {thing}")
"""Unseen wordings beside those of rivals.md."""
FURTHER = (
    *("{thing}, the way {style} would draw it", "{style} drew this {thing}", "a {style} icon of a {thing}"),
    *("a {thing} from the {style} set", "a {thing} emoji by {style}"),
)
"""Clauses and other nouns, unseen too."""
LEFT = ("exact", "unseen", "further")
"""Groups of pictures that ask for an erased style."""


def everything(gone: Sequence[str]) -> tuple[str, ...]:
    """All concepts and other styles, and pictures in these."""
    return (*kept(*gone), *scenes(*gone))


def named(gone: Sequence[str]) -> tuple[str, ...]:
    """The other styles and nothing else."""
    return tuple(name for name in NAMES if name not in gone)


Kept = Callable[[Sequence[str]], tuple[str, ...]]


def ours(keeps: Kept = everything, wordings: tuple[str, ...] = (), **settings: object) -> Callable[..., Recipe]:
    """The house style is what a neutral word asks for, so that it needs a guide by name."""

    def made(gone: Sequence[str]) -> Recipe:
        towards = next(name for name in OTHERS if name not in gone)
        guides = [towards if name == HOUSE_STYLE else "" for name in gone]
        edits = tuple(Erase(name, guide=guide, wordings=wordings) for name, guide in zip(gone, guides, strict=True))
        return Recipe.model_validate({"edits": edits, "preserve": keeps(gone), "method": "guarded", **settings})

    return made


CELLS: dict[str, Callable[..., Recipe]] = {
    "guarded": ours(),
    "guarded, no common names": ours(keep_common=False),
    "guarded, the word alone": ours(wordings=("{}",)),
    "guarded, only the other styles kept": ours(named),
    "gated": ours(method="gated"),
    "gated, only the other styles kept": ours(named, method="gated"),
}


def shots(gone: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Group, thing, style, prompt."""
    found = []
    for thing in SCENES:
        for style in NAMES:
            group = "exact" if style in gone else "other"
            found.append((group, thing, style, caption(STYLED, thing, style)))
        found += [("unseen", thing, s, caption(w, thing, s)) for s in gone for w in (*UNSEEN_STYLED, *MORE)]
    return found + [("further", thing, s, caption(w, thing, s)) for thing in SCENES for s in gone for w in FURTHER]


def paint(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model, judge = ce.open_model("demo"), load_judge()
    for case in CASES:
        taken = shots(case)
        prompts, seeds = [prompt for *_, prompt in taken], [SEED + number for number in range(len(taken))]
        before: list[tuple[str, str]] = []
        for number, recipe in enumerate(CELLS.values()):
            target = out / f"{'-'.join(case)}-{number}.json"
            if target.exists():
                continue
            before = before or [(v.concept, v.style) for v in judge(model.generate(prompts, seeds, steps=STEPS))]
            with ce.solve(model, recipe(case)).applied(model):
                after = [(v.concept, v.style) for v in judge(model.generate(prompts, seeds, steps=STEPS))]
            target.write_text(json.dumps([[*s[:3], *b, *a] for s, b, a in zip(taken, before, after, strict=True)]))
            print(*case, list(CELLS)[number], flush=True)


def shown(rows: Sequence[Sequence[str]], group: str, what: str) -> str:
    """Of the pictures of a group that showed the style (or the thing) before, those that do now."""
    own, before, after = (2, 4, 6) if what == "style" else (1, 3, 5)
    counted = [row[after] == row[own] for row in rows if group in (row[0], "") and row[before] == row[own]]
    return percent(sum(counted), len(counted))


def table(out: Path) -> None:
    lines = list[str]()
    for name, cases in GROUPS.items():
        columns = [*(f"left, {group} ↓" for group in LEFT), "other styles ↑", "thing still named ↑", *OTHERS]
        lines += [f"### {name[0].upper()}{name[1:]}", "", f"| edit | {' | '.join(columns)} |"]
        lines += ["|" + "---|" * (1 + len(columns))]
        for number, cell in enumerate(CELLS):
            rows = [row for c in cases for row in json.loads((out / f"{'-'.join(c)}-{number}.json").read_text())]
            main = [row for row in rows if row[0] != "further"]
            gone = {style: [r for r in main if r[0] != "other" and r[2] == style] for style in OTHERS}
            told = [shown(rows, group, "style") for group in (*LEFT, "other")] + [shown(main, "", "thing")]
            lines.append(f"| {cell} | {' | '.join([*told, *(shown(gone[s], '', 'style') for s in OTHERS)])} |")
        lines.append("")
    into_page(PAGE, lines)


def diagnosed(out: Path) -> None:
    """What is left in the text, beside what is left in pictures, for every edit but those of the house style."""
    model, found = remembering(ce.open_model("demo")), list[dict[str, Any]]()
    for case in (case for case in CASES if HOUSE_STYLE not in case):
        for number, (name, recipe) in enumerate(CELLS.items()):
            rows = json.loads((out / f"{'-'.join(case)}-{number}.json").read_text())
            hits = [row[6] == row[2] for row in rows if row[0] in LEFT[:2] and row[4] == row[2]]
            checks = ce.diagnose(model, ce.solve(model, recipe(case))).checks
            text = max((c for c in checks if c.name == "erased concept left"), key=lambda check: check.value)
            found.append({"text": text.value, "erased": sum(hits) / len(hits), "verdict": text.verdict})
            print(*case, name, found[-1], flush=True)
    print(f"rank correlation {correlation(found, 'text', 'erased'):+.2f}")
    for verdict in ("good", "look", "bad"):
        left = sorted(row["erased"] for row in found if row["verdict"] == verdict)
        print(f"{verdict}: left in pictures {', '.join(f'{share:.2f}' for share in left)}")


if __name__ == "__main__":
    run(__doc__, "out/erased_styles", {"paint": paint, "table": table, "diagnosed": diagnosed})
