"""What a weight edit keeps of concepts that nobody named: how much naming more helps, and what a looser edit buys.

    python benchmarks/unnamed.py paint      # resumable; a few minutes
    python benchmarks/unnamed.py table      # writes the page

12 of the embedded model's 48 concepts are erased by method `guarded`, of the other 36 so many are named as kept and the
rest in nobody's list, on the draw of rivals.md. Its judge names what pictures show. *Within*: the share of an unnamed concept's
length (its rows less the corpus' mean) that lies in the span of the erased and the named rows, where a linear map that
moves the ones and holds the others has no freedom left.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rivals_quality import UNSEEN, Asked, concepts
from torch import Tensor

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import caption
from concept_edit.evaluation.intervals import wilson
from concept_edit.evaluation.sets import EVERYDAY
from concept_edit.models.contract import Model
from concept_edit.prompts.stats import Statistics
from concept_edit.recipe import Erase, Recipe

PAGE = Path(__file__).with_name("unnamed.md")
DRAWS, SEED, STEPS = (5,), 7101, 8
NAMED, LOOSER = (0, 6, 12, 18, 24, 30, 36), (0.1, 0.4, 0.6)
ENERGY = 0.99
"""Of rows' squared length that a span must hold."""


class Cell(NamedTuple):
    """One edit."""

    draw: int
    named: int
    left: float
    """`erased_to`."""
    everyday: str = ""
    """Everyday things beside the named ones: "foreign" without those of the model, "whole" with them."""

    @property
    def name(self) -> str:
        return f"{self.draw}-{self.named}-{self.left:g}{self.everyday}"


def cells() -> Iterator[Cell]:
    for draw in DRAWS:
        yield from (Cell(draw, named, 0.22) for named in NAMED)
        yield from (Cell(draw, 18, left) for left in LOOSER)
        yield from (Cell(draw, 18, 0.22, everyday) for everyday in ("foreign", "whole"))


def asked(cell: Cell) -> Asked:
    whole = concepts(cell.draw)
    others, rest = [*whole.named, *whole.unnamed], whole.kept[len(whole.named) :]
    named, unnamed = others[: cell.named], others[cell.named :]
    known = {*whole.gone, *others}
    extra = [word for word in EVERYDAY if word not in (known if cell.everyday == "foreign" else {*whole.gone, *named})]
    kept = (*named, *(extra if cell.everyday else ()), *rest)
    return Asked("concept", whole.gone, tuple(named), tuple(unnamed), kept)


def recipe(cell: Cell) -> Recipe:
    own = asked(cell)
    edits = tuple(Erase(name, wordings=("a {}", "a drawing of a {}", "a picture of a {}")) for name in own.gone)
    return Recipe(edits=edits, preserve=own.kept, method="guarded", erased_to=cell.left)


def paint(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model, judge = ce.open_model("demo"), load_judge()
    for cell in cells():
        target, own = out / f"{cell.name}.json", asked(cell)
        if target.exists():
            continue
        shots = [(group, name, caption(wording, name))
                 for group, names, wordings in (("gone", own.gone, ("a {thing}", *UNSEEN)),
                                                ("named", own.named, ("a {thing}",)),
                                                ("unnamed", own.unnamed, ("a {thing}", UNSEEN[0])))
                 for name in names for wording in wordings]  # fmt: skip
        prompts, seeds = [prompt for *_, prompt in shots], [SEED] * len(shots)
        statistics = ce.collect(model, recipe(cell))
        edit = ce.solve_statistics(statistics)
        before = judge(model.generate(prompts, seeds, steps=STEPS))
        with edit.applied(model):
            after = judge(model.generate(prompts, seeds, steps=STEPS))
        found = {
            "foretold": edit.predicted["text"]["unnamed"],
            "within": within(model, statistics, own.unnamed),
            "rows": [
                [group, name, b.concept == name, a.concept == name]
                for (group, name, _), b, a in zip(shots, before, after, strict=True)
            ],
        }
        target.write_text(json.dumps(found))
        print(cell.name, {group: share([found], group) for group in ("gone", "named", "unnamed")}, flush=True)


def within(model: Model, statistics: Statistics, unnamed: tuple[str, ...]) -> dict[str, float]:
    """Directions that hold nearly all of the erased rows, of erased and named together, and the share of the unnamed
    rows' length in the latter."""
    stream = statistics.streams["text"]
    assert stream.around is not None
    mean = stream.around.mean
    gone, kept = stream.pairs.sources.double() - mean, stream.kept.sources.double() - mean
    erased, both = span(gone), span(torch.cat([gone, kept]))
    found = {"erased": float(erased.shape[1]), "both": float(both.shape[1])}
    if unnamed:
        rows = (
            ce.collect(model, Recipe(preserve=unnamed, tokens="subject")).streams["text"].kept.sources.double() - mean
        )
        found["share"] = float(((rows @ both).norm(dim=1) / rows.norm(dim=1)).mean())
    return found


def span(rows: Tensor) -> Tensor:
    """An orthonormal basis of the fewest directions that hold `ENERGY` of the rows."""
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    held = (sizes.square().cumsum(0) / sizes.square().sum() < ENERGY).sum() + 1
    return directions[:held].T


def share(found: list[dict[str, Any]], group: str) -> tuple[int, int]:
    """Pictures still named right, of those that were before."""
    rows = [row for cell in found for row in cell["rows"] if row[0] == group and row[2]]
    return sum(row[3] for row in rows), len(rows)


def told(found: list[dict[str, Any]], group: str) -> str:
    hits, total = share(found, group)
    if not total:
        return "–"
    low, high = wilson(hits, total)
    return f"{100 * hits / total:.0f} ({100 * low:.0f}–{100 * high:.0f})"


def table(out: Path) -> None:
    lines = [
        "| named | `erased_to` | left | named kept | unnamed kept | foretold drift | directions: erased, with named | "
        "within |",
        "|" + "---|" * 8,
    ]
    for cell in (cell for cell in cells() if cell.draw == DRAWS[0]):
        found = [json.loads((out / f"{cell._replace(draw=draw).name}.json").read_text()) for draw in DRAWS]
        mean = {key: sum(f["within"][key] for f in found) / len(found) for key in found[0]["within"]}
        also = {"foreign": ", and everyday things of other names", "whole": ", and all everyday things"}
        foretold = sum(f["foretold"] for f in found) / len(found)
        lines.append(
            f"| {cell.named}{also.get(cell.everyday, '')} | {cell.left:g} | {told(found, 'gone')} | "
            f"{told(found, 'named')} | {told(found, 'unnamed')} | {foretold:.2f} | "
            f"{mean['erased']:.0f}, {mean['both']:.0f} | {mean.get('share', float('nan')):.2f} |"
        )
    page = PAGE.read_text() if PAGE.exists() else "<!-- table -->\n<!-- end -->\n"
    head, _, rest = page.partition("<!-- table -->")
    PAGE.write_text(head + "<!-- table -->\n" + "\n".join(lines) + "\n<!-- end -->" + rest.partition("<!-- end -->")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("paint", "table"))
    parser.add_argument("--out", type=Path, default=Path("out/unnamed"))
    args = parser.parse_args()
    (paint if args.verb == "paint" else table)(args.out)


if __name__ == "__main__":
    main()
