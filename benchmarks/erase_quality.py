"""What erasing does to pictures: every method, 1 to 24 of the embedded model's 48 concepts, 1 to 3 of its 4 styles.

    python benchmarks/erase_quality.py paint --out out/erase_quality    # resumable; --shard 1/2
    python benchmarks/erase_quality.py table --out out/erase_quality            # tables, plot and bootstrap intervals

The same prompts and seeds for every method, judged by the embedded judge, which no edit ever saw. Erased: share of
pictures in which the erased concept is still named, in wordings of the recipe and in others (lower is better). Kept:
share of pictures of the other concepts named right, relative to the original model's share (higher is better); near:
the same for the two kept concepts nearest to each erased one. H is the harmonic mean of 1 - erased and kept. Distance:
root mean square difference of pixels (0 to 1) on kept prompts at the same seed. Intervals: 95 %, bootstrap over
concepts, 2,000 draws.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy
from PIL import Image as Pictures
from PIL.Image import Image

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, STYLES
from concept_edit.demo.recipes import PHRASES, kept, scenes
from concept_edit.recipe import Erase, Recipe

SEEDS = (7001, 7002)
"""Never used to choose a setting."""
STEPS = 10
"""Half of the model's own number: the judge names as many of the original's pictures right."""
SIZES = (1, 2, 5, 12, 24)
"""1, 5, 10, 25 and 50 % of 48 concepts."""
WORDINGS = ("a {}", "a drawing of a {}", "a picture of a {}")
"""In the recipes."""
UNSEEN = ("an emoji of a {}", "a {} in the manner of Noto")
"""Not in the recipes; the second not even in the model's training."""
SCENES = ("tree", "rocket", "cat", "red apple", "guitar", "house", "fish", "tulip")
"""What the erased styles are asked to draw."""
STYLE_UNSEEN = "a {} in the manner of {}"
DRAWS = 2000


@dataclass(frozen=True)
class Cell:
    """One edit to paint under."""

    kind: str
    method: str
    count: int

    @property
    def key(self) -> str:
        return f"{self.kind}-{self.count}-{self.method}"


@dataclass(frozen=True)
class Shot:
    """One picture: what is asked, and what the judge should say."""

    group: str
    prompt: str
    seed: int
    wanted: str


def erased(cell: Cell) -> list[str]:
    """The first of one fixed order, so that larger sets hold the smaller ones."""
    names = [c.name for c in CONCEPTS] if cell.kind == "concept" else [s.name for s in STYLES[1:]]
    random.Random(5).shuffle(names)
    return names[: cell.count]


def edits(cell: Cell, guide: str) -> tuple[Erase, ...]:
    wordings = WORDINGS if cell.kind == "concept" else PHRASES
    return tuple(Erase(name, guide=guide, wordings=wordings) for name in erased(cell))


def stays(cell: Cell) -> tuple[str, ...]:
    """Everything else; where styles go, also a picture of each concept in one of the other styles."""
    gone = erased(cell)
    return (*kept(*gone), *(scenes(*gone) if cell.kind == "style" else ()))


def uce_2025(cell: Cell) -> Recipe:
    return Recipe(edits=edits(cell, "" if cell.kind == "concept" else "art"), method="uce")


def uce_2023(cell: Cell) -> Recipe:
    others = [s.name for s in STYLES if s.name not in erased(cell)] if cell.kind == "style" else []
    asked = edits(cell, " " if cell.kind == "concept" else "art")
    return Recipe(edits=asked, preserve=others, method="uce", tokens="aligned")


def uce_kept(cell: Cell) -> Recipe:
    """UCE 2025 with everything else kept: what a careful user would write."""
    guide = "a drawing" if cell.kind == "concept" else "in the style of Noto"
    return Recipe(edits=edits(cell, guide), preserve=stays(cell), erase_scale=4.0, method="uce")


def guarded(cell: Cell) -> Recipe:
    return Recipe(edits=edits(cell, "" if cell.kind == "concept" else "Noto"), preserve=stays(cell), method="guarded")


def gated(cell: Cell) -> Recipe:
    return guarded(cell).model_copy(update={"method": "gated"})


def _without(**changed: Any) -> Callable[[Cell], Recipe]:
    return lambda cell: guarded(cell).model_copy(update=changed)


def typed(method: str) -> Callable[[Cell], Recipe]:
    """Nothing said of what goes but its name."""
    return lambda cell: _without(method=method, edits=tuple(map(Erase, erased(cell))))(cell)


def own_guide(cell: Cell) -> Recipe:
    return guarded(cell).model_copy(update={"edits": edits(cell, "a drawing")})


METHODS: dict[str, Callable[[Cell], Recipe]] = {
    "UCE 2023": uce_2023,
    "UCE 2025": uce_2025,
    "UCE 2025, rest kept": uce_kept,
    "guarded": guarded,
    "gated": gated,
}
ABLATIONS: dict[str, Callable[[Cell], Recipe]] = {
    "guarded, weights not moved": _without(rounds=0),
    "guarded, nothing named kept": _without(preserve=()),
    "guarded, no common names": _without(keep_common=False),
    "guarded, nothing named kept, no common names": _without(preserve=(), keep_common=False),
    "guarded, corpus free": _without(corpus_within=100.0),
    "guarded, guide 'a drawing'": own_guide,
    "guarded, last token only": _without(tokens="last"),
    "gated, 1 % of captions": lambda cell: gated(cell).model_copy(update={"caption_alarm": 0.01}),
    "gated, last token only": lambda cell: gated(cell).model_copy(update={"tokens": "last"}),
    "guarded, empty prompt free": guarded,
    "UCE, rest kept, subject tokens": lambda cell: uce_kept(cell).model_copy(update={"tokens": "subject"}),
    "guarded, one word typed": typed("guarded"),
    "gated, one word typed": typed("gated"),
}
TYPED = ("guarded, one word typed", "gated, one word typed")
NULL_FREE = "guarded, empty prompt free"
CORE = (*tuple(ABLATIONS)[:5], "guarded, last token only", NULL_FREE, *TYPED)
ABLATED = {12: tuple(ABLATIONS), 5: CORE, 24: CORE}
"""Sizes at which parts are taken out, and which."""
ALL = METHODS | ABLATIONS


def cells() -> list[Cell]:
    found = [Cell("concept", "original", 0), Cell("style", "original", 0)]
    found += [Cell("concept", method, n) for n in SIZES for method in METHODS]
    found += [Cell("style", method, n) for n in (1, 2, 3) for method in (*METHODS, "gated, 1 % of captions", *TYPED)]
    return found + [Cell("concept", method, n) for n, methods in ABLATED.items() for method in methods]


def solved(model: ce.Model, cell: Cell) -> ce.Edit:
    """The cell's edit; one ablation takes the empty prompt's rows out of what may not move."""
    statistics = ce.collect(model, ALL[cell.method](cell))
    if cell.method == NULL_FREE:
        stream = statistics.streams["text"]
        assert stream.around is not None
        free = replace(stream, around=replace(stream.around, fixed=stream.around.fixed[:0]))
        statistics = replace(statistics, streams={"text": free})
    return ce.solve_statistics(statistics)


def shots(cell: Cell) -> Iterator[Shot]:
    """The pictures of a cell; the original's are all that any cell asks for."""
    yield from (Shot("empty", "", seed, "") for seed in (*SEEDS, 7003))
    if cell.kind == "style":
        for scene in SCENES:
            for style in STYLES:
                yield Shot("trained", f"a {scene} in the style of {style.name}", SEEDS[0], style.name)
                yield Shot("unseen", STYLE_UNSEEN.format(scene, style.name), SEEDS[1], style.name)
        return
    gone = erased(cell) if cell.count else erased(Cell("concept", "", max(SIZES)))
    for concept in CONCEPTS:
        yield from (Shot("trained", f"a {concept.name}", seed, concept.name) for seed in SEEDS)
        if concept.name in gone:
            yield from (Shot("unseen", wording.format(concept.name), SEEDS[0], concept.name) for wording in UNSEEN)


class Painter:
    """Paints a cell's pictures and has them judged."""

    def __init__(self, out: Path) -> None:
        self.out, self.model, self.judge = out, ce.open_model("demo"), load_judge()

    def __call__(self, cell: Cell) -> None:
        target = self.out / f"{cell.key}.json"
        if target.exists():
            return
        facts, images, asked = self._painted(cell)
        answers = [v.style if cell.kind == "style" else v.concept for v in self.judge(images)]
        original = self._original(cell, asked, images)
        rows = [
            vars(shot) | {"named": named, "distance": distance(image, before)}
            for shot, named, image, before in zip(asked, answers, images, original, strict=True)
        ]
        part = target.with_suffix(".part")
        part.write_text(json.dumps({"cell": vars(cell), **facts, "rows": rows}))
        part.replace(target)
        print(f"{cell.key}: {len(images)} pictures, {facts}", flush=True)

    def _painted(self, cell: Cell) -> tuple[dict[str, Any], list[Image], list[Shot]]:
        asked = list(shots(cell))
        prompts, seeds = [s.prompt for s in asked], [s.seed for s in asked]
        if not cell.count:
            return {}, self.model.generate(prompts, seeds, steps=STEPS), asked
        start = time.perf_counter()
        try:
            edit = solved(self.model, cell)
        except ValueError as error:
            return {"refused": str(error)}, [], []
        facts: dict[str, Any] = {"seconds": time.perf_counter() - start, "predicted": dict(edit.predicted)}
        edit.save(self.out / f"{cell.key}.part")
        facts["bytes"] = (self.out / f"{cell.key}.part").stat().st_size
        (self.out / f"{cell.key}.part").unlink()
        with edit.applied(self.model):
            return facts, self.model.generate(prompts, seeds, steps=STEPS), asked

    def _original(self, cell: Cell, asked: list[Shot], images: list[Image]) -> list[Image]:
        """The original's pictures of the same prompts and seeds, painted once and kept as PNG."""
        folder = self.out / f"original-{cell.kind}"
        names = [f"{crc32(f'{shot.prompt}|{shot.seed}'.encode()):08x}.png" for shot in asked]
        if not cell.count:
            folder.mkdir(exist_ok=True)
            for name, image in zip(names, images, strict=True):
                image.save(folder / name)
            return images
        return [Pictures.open(folder / name).convert("RGB") for name in names]


def distance(a: Image, b: Image) -> float:
    left, right = (numpy.asarray(x.convert("RGB"), dtype=numpy.float32) / 255 for x in (a, b))
    return float(numpy.sqrt(((left - right) ** 2).mean()))


class Result:
    """A painted cell beside the original: figures, and the same over resampled concepts."""

    def __init__(self, cell: dict[str, Any], original: dict[str, Any], near: dict[str, list[str]]) -> None:
        self.name, self.count, self.facts = cell["cell"]["method"], cell["cell"]["count"], cell
        self.gone = erased(Cell(**cell["cell"]))
        self.near = {name for concept in self.gone for name in near.get(concept, [])} - set(self.gone)
        self.rows, self.before = _by_wanted(cell["rows"]), _by_wanted(original["rows"])
        self.kept = [name for name in self.rows if name and name not in self.gone]

    def erased(self, group: str, gone: list[str]) -> float:
        return _share(self.rows, gone, group)

    def accuracy(self, names: list[str]) -> float:
        """Of the kept, relative to the original's."""
        return _share(self.rows, names, "trained") / max(1e-9, _share(self.before, names, "trained"))

    def harmonic(self, gone: list[str], names: list[str]) -> float:
        left, here = 1 - self.erased("trained", gone), min(1.0, self.accuracy(names))
        return 2 * left * here / max(1e-9, left + here)

    def distance(self) -> float:
        return statistics.fmean(r["distance"] for name in self.kept for r in self.rows[name])

    def empty(self) -> float:
        return max(r["distance"] for r in self.rows[""])

    def draws(self) -> numpy.ndarray:
        """H over resampled concepts; the same draws for every method of a size."""
        rng = numpy.random.default_rng(0)
        found = []
        for _ in range(DRAWS):
            gone = [self.gone[i] for i in rng.integers(len(self.gone), size=len(self.gone))]
            names = [self.kept[i] for i in rng.integers(len(self.kept), size=len(self.kept))]
            found.append(self.harmonic(gone, names))
        return numpy.array(found)


def _by_wanted(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["wanted"], []).append(row)
    return found


def _share(rows: dict[str, list[dict[str, Any]]], names: list[str], group: str) -> float:
    seen = [r["named"] == r["wanted"] for name in names for r in rows[name] if r["group"] == group]
    return statistics.fmean(seen) if seen else float("nan")


def neighbours() -> dict[str, list[str]]:
    """The two concepts whose last token's row is nearest to each, by cosine."""
    import torch

    names = [c.name for c in CONCEPTS]
    encoded = ce.open_model("demo").encode([f"a {name}" for name in names])["text"]
    rows = encoded.rows[torch.arange(len(names)), encoded.eos - 1]
    unit = torch.nn.functional.normalize(rows - rows.mean(dim=0), dim=1)
    order = (unit @ unit.T - 2 * torch.eye(len(names))).topk(2).indices.tolist()
    return {name: [names[i] for i in own] for name, own in zip(names, order, strict=True)}


HEAD = ("erased", "method", "erased ↓", "unseen wording ↓", "kept ↑", "near ↑", "H ↑ (95 %)", "distance ↓", "empty ↓")


def table(results: list[Result], kind: str) -> str:
    lines = [f"| {' | '.join((*HEAD, 'solve, s', 'kB'))} |", "|" + "---|" * (len(HEAD) + 2)]
    for r in results:
        low, high = numpy.quantile(r.draws(), (0.025, 0.975))
        near = f"{r.accuracy(sorted(r.near)):.3f}" if r.near and kind == "concept" else ""
        cells_ = (
            f"{r.count}", r.name, f"{r.erased('trained', r.gone):.3f}", f"{r.erased('unseen', r.gone):.3f}",
            f"{r.accuracy(r.kept):.3f}", near, f"{r.harmonic(r.gone, r.kept):.3f} ({low:.3f} to {high:.3f})",
            f"{r.distance():.3f}", f"{r.empty():.4f}", f"{r.facts['seconds']:.2f}", f"{r.facts['bytes'] / 1000:.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells_)} |")
    return "\n".join(lines)


def gaps(results: list[Result]) -> str:
    """Guarded minus each UCE, size by size, over the same resampled concepts."""
    lines = ["| erased | guarded minus | H | 95 % |", "|" + "---|" * 4]
    for count in dict.fromkeys(r.count for r in results):
        own = {r.name: r for r in results if r.count == count}
        if "guarded" not in own:
            continue
        for name in [name for name in METHODS if name.startswith("UCE") and name in own]:
            draws = own["guarded"].draws() - own[name].draws()
            low, high = numpy.quantile(draws, (0.025, 0.975))
            here, there = (own[n].harmonic(own[n].gone, own[n].kept) for n in ("guarded", name))
            lines.append(f"| {count} | {name} | {here - there:+.3f} | {low:+.3f} to {high:+.3f} |")
    return "\n".join(lines)


def plot(results: list[Result], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for name in METHODS:
        own = sorted((r for r in results if r.name == name), key=lambda r: r.count)
        sizes = [r.count for r in own]
        axes[0].plot(sizes, [r.harmonic(r.gone, r.kept) for r in own], marker="o", label=name)
        axes[1].plot(sizes, [r.accuracy(r.kept) for r in own], marker="o")
        axes[2].plot(sizes, [r.distance() for r in own], marker="o")
    titles = ("harmonic mean of erased and kept", "kept, relative to the original", "pixel distance on kept prompts")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="concepts erased, of 48", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


_FIRST, *_LATER = erased(Cell("style", "", 3))
ABOUT = {
    "concept": "UCE 2023 and 2025 as shipped: nothing named kept. With the kept list that ours get: rivals.md.\n",
    "style": f"1 is {_FIRST} alone, the easiest; then {' and '.join(_LATER)} join it. 8 pictures of each. Each style\n"
    "alone, by its name and in other wordings: rivals.md.\n",
}


def report(out: Path) -> str:
    near, parts = neighbours(), []
    for kind in ("concept", "style"):
        original = json.loads((out / f"{kind}-0-original.json").read_text())
        found = [json.loads((out / f"{c.key}.json").read_text()) for c in cells()
                 if c.kind == kind and c.count and (out / f"{c.key}.json").exists()]  # fmt: skip
        refused = [c for c in found if "refused" in c]
        results = [Result(c, original, near) for c in found if "refused" not in c]
        results.sort(key=lambda r: (r.count, list(ALL).index(r.name)))
        parts += [f"Erased {kind}s:\n", ABOUT[kind], table(results, kind), ""]
        parts += [f"Refused: {c['cell']['method']} at {c['cell']['count']}: {c['refused']}\n" for c in refused]
        parts += [gaps(results), ""]
        if kind == "concept":
            plot(results, out.with_suffix(".png"))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("paint", "table"))
    parser.add_argument("--out", type=Path, default=Path("out/erase_quality"))
    parser.add_argument("--shard", default="1/1", help="i/n: this process's share of the edits")
    parser.add_argument("--only", default="", help="only cells whose name holds this")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.verb == "table":
        text = report(args.out)
        args.out.with_suffix(".md").write_text(text)
        print(text)
        return
    index, count = map(int, args.shard.split("/"))
    painter = Painter(args.out)
    first, rest = cells()[:2], [c for c in cells()[2:] if args.only in c.key]
    for cell in first if index == 1 else ():
        painter(cell)
    while not all((args.out / f"{cell.key}.json").exists() for cell in first):
        time.sleep(2)
    for cell in rest[index - 1 :: count]:
        painter(cell)


if __name__ == "__main__":
    main()
