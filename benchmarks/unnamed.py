"""What is kept of concepts that nobody named, against what is left of those that go: the frontier, on fresh draws.

    python benchmarks/unnamed.py paint --out out/unnamed      # resumable; half a minute a line and draw
    python benchmarks/unnamed.py table --out out/unnamed      # writes the page's table and its plot

12 of the embedded model's 48 concepts go, 18 of the rest are named as kept and 18 in nobody's list, on four draws on
which nothing was chosen. Its judge, which no edit saw, names what pictures show. Intervals: 95 %, Wilson's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from erase_quality import WORDINGS
from rivals_quality import UNSEEN, Asked, concepts, names_beside

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import caption
from concept_edit.evaluation.intervals import wilson
from concept_edit.prompts.names import COMMON
from concept_edit.recipe import Erase, Recipe

PAGE, PLOT = Path(__file__).with_name("unnamed.md"), Path(__file__).with_name("unnamed.png")
DRAWS, SEED, STEPS = (51, 61, 71, 81), 7301, 8
AGAIN, AGAIN_FOR = (91, 101, 111, 121), ("guarded", "guarded, erased to 0.18")
"""Draws on which these cells were painted once more, after the others were seen."""
GROUPS = {
    "left, exact ↓": ("gone exact",),
    "left, unseen ↓": ("gone unseen",),
    "named kept ↑": ("named",),
    "unnamed kept ↑": ("unnamed listed", "unnamed unlisted"),
    "of these listed": ("unnamed listed",),
    "unlisted": ("unnamed unlisted",),
}

PLACES = {
    "guarded": (6, 4),
    "guarded, set object": (6, -4),
    "guarded, sets object and style": (6, -11),
    "guarded, nothing named": (-6, 1),
    "guarded, erased to 0.18": (-6, 0),
    "guarded, erased to 0.15": (-6, -7),
}
"""Points that a label of the plot is moved, to the left of its mark where it is below 0; else (6, 4)."""


def ours(*, wordings: str | tuple[str, ...] = (), named: bool = True, **settings: Any) -> Callable[[Asked], Recipe]:
    """`wordings`: none are those that a method takes by itself. `named`: the 18 are in the kept list."""

    def made(asked: Asked) -> Recipe:
        kept = asked.kept if named else asked.kept[len(asked.named) :]
        edits = tuple(Erase(name, wordings=wordings) for name in asked.gone)
        return Recipe(edits=edits, preserve=kept, **{"method": "guarded", **settings})

    return made


def others_names(asked: Asked) -> Recipe:
    """Common names but for those of concepts that are looked at, given by hand."""
    seen = Recipe(edits=tuple(Erase(name) for name in (*asked.gone, *asked.unnamed)), preserve=asked.kept)
    return ours(keep_common=False)(asked._replace(kept=(*asked.kept, *names_beside(seen))))


def every_name(asked: Asked) -> Recipe:
    return ours(keep_common=False)(asked._replace(kept=(*asked.unnamed, *asked.kept)))


def uce(asked: Asked) -> Recipe:
    """UCE 2023 as in rivals.md, with the names as kept prompts."""
    edits = tuple(Erase(name, guide="a drawing", wordings=WORDINGS) for name in asked.gone)
    plain = Recipe(edits=edits, preserve=asked.kept, method="uce", tokens="aligned", preserve_scale=1.0)
    return plain.model_copy(update={"preserve": (*asked.kept, *names_beside(plain))})


CELLS: dict[str, Callable[[Asked], Recipe]] = {
    "guarded, no common names": ours(keep_common=False),
    "guarded": ours(),
    "guarded, erased to 0.18": ours(erased_to=0.18),
    "guarded, erased to 0.15": ours(erased_to=0.15),
    "guarded, the word alone": ours(wordings=("{}",)),
    "guarded, common names of other things alone": others_names,
    "guarded, nothing named": ours(named=False),
    "guarded, set object": ours(wordings="object"),
    "guarded, sets object and style": ours(wordings=("object", "style")),
    "guarded, all 36 named": every_name,
    "UCE 2023 with the common names": uce,
    "gated": ours(method="gated"),
}


def paint(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model, judge = ce.open_model("demo"), load_judge()
    for draw in (*DRAWS, *AGAIN):
        asked = concepts(draw)
        listed = [name for name in asked.unnamed if name in COMMON]
        wanted = {
            "gone exact": (asked.gone, ("a {thing}",)),
            "gone unseen": (asked.gone, UNSEEN),
            "named": (asked.named, ("a {thing}",)),
            "unnamed listed": (listed, ("a {thing}", UNSEEN[0])),
            "unnamed unlisted": ([name for name in asked.unnamed if name not in listed], ("a {thing}", UNSEEN[0])),
        }
        shots = [(group, name, caption(w, name)) for group, (names, ws) in wanted.items() for name in names for w in ws]
        prompts, seeds = [prompt for *_, prompt in shots], [SEED] * len(shots)
        before: list[str] = []
        for number, (name, recipe) in enumerate(CELLS.items()):
            target = out / f"{draw}-{number}.json"
            if target.exists() or (draw in AGAIN and name not in AGAIN_FOR):
                continue
            before = before or [v.concept for v in judge(model.generate(prompts, seeds, steps=STEPS))]
            with ce.solve(model, recipe(asked)).applied(model):
                after = [v.concept for v in judge(model.generate(prompts, seeds, steps=STEPS))]
            rows = [(g, n, b == n, a == n) for (g, n, _), b, a in zip(shots, before, after, strict=True)]
            target.write_text(json.dumps(rows))
            print(draw, name, flush=True)


def counted(out: Path, number: int, groups: tuple[str, ...], draws: tuple[int, ...] = DRAWS) -> tuple[int, int]:
    """Pictures named right, of those that were before."""
    rows = [row for draw in draws for row in json.loads((out / f"{draw}-{number}.json").read_text())]
    hits = [row[3] for row in rows if row[0] in groups and row[2]]
    return sum(hits), len(hits)


def percent(hits: int, total: int) -> str:
    """A share with its interval; nothing where there is none."""
    if not total:
        return ""
    low, high = wilson(hits, total)
    return f"{100 * hits / total:.0f} ({100 * low:.0f}–{100 * high:.0f})"


def into_page(page: Path, lines: Sequence[str]) -> None:
    """Write what was measured between a page's marks."""
    head, _, rest = page.read_text().partition("<!-- table -->")
    body = "\n".join(["<!-- table -->", *lines, "<!-- end -->"])
    page.write_text(head + body + rest.partition("<!-- end -->")[2])


def line(out: Path, name: str, draws: tuple[int, ...], where: str = "") -> str:
    number = list(CELLS).index(name)
    shown = [percent(*counted(out, number, groups, draws)) for groups in GROUPS.values()]
    return f"| {name}{where} | {' | '.join(shown)} |"


def table(out: Path) -> None:
    lines = [f"| edit | {' | '.join(GROUPS)} |", "|" + "---|" * (1 + len(GROUPS))]
    lines += [line(out, name, DRAWS) for name in CELLS]
    lines += [line(out, name, AGAIN, ", four more draws") for name in AGAIN_FOR]
    into_page(PAGE, lines)
    plot(out)


def plot(out: Path) -> None:
    """Kept against left, in unseen wordings."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.2), constrained_layout=True)
    for number, name in enumerate(CELLS):
        (left, gone), (kept, all_) = (counted(out, number, GROUPS[g]) for g in ("left, unseen ↓", "unnamed kept ↑"))
        x, y, gate = 100 * left / gone, 100 * kept / all_, name.startswith("gated")
        mark, colour = ("s", "tab:green") if gate else ("^" if name.startswith("UCE") else "o", "tab:blue")
        axes.plot(x, y, mark, color=colour)
        place = PLACES.get(name, (6, 4))
        side = "right" if place[0] < 0 else "left"
        axes.annotate(name, (x, y), xytext=place, textcoords="offset points", fontsize=8, ha=side)
    axes.axhline(85, color="grey", linewidth=0.8, linestyle=":")
    axes.axvline(5, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="left in unseen wordings, %", ylabel="unnamed concepts kept, %", xlim=(-7, 36), ylim=(50, 102))
    axes.set_xticks(range(0, 36, 5))
    figure.savefig(PLOT, dpi=110)


def run(about: str | None, out: str, verbs: dict[str, Callable[[Path], None]]) -> None:
    """A script of a few verbs that share a folder."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=tuple(verbs))
    parser.add_argument("--out", type=Path, default=Path(out))
    args = parser.parse_args()
    verbs[args.verb](args.out)


if __name__ == "__main__":
    run(__doc__, "out/unnamed", {"paint": paint, "table": table})
