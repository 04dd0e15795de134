"""An affine map x + A (x − μ), which needs a bias, beside the linear x + A x of method `guarded`.

    python benchmarks/affine.py encoder --names artists.txt --captions coco.csv --out out/affine    # no pictures
    python benchmarks/affine.py pictures --out out/affine                         # both embedded models, resumable

`affine`: the guarded solve with everything centred: sources, goals, kept rows and the rows that do not move are read
from the mean caption token μ, and captions are held by their covariance in place of their second moment. A matrix
would carry it as W + W A with a bias of − W A μ. `leace`: the affine map that moves rows least, by the covariance of
captions, erased and kept rows, and takes every linear trace of who is erased with it (Belrose et al. 2023, theorem 4.3,
of which MidSteer, arXiv 2605.05220, generalises the setting). Encoder: who is still who after N artists were erased, as
in `encoder_identity.py`. Pictures: erased and kept concepts and styles named by the judge, as in `erase_quality.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from encoder_identity import BOUNDS, Change, Draw, Encoder, encode, guarded, measured, no_equality, table
from erase_quality import Cell, Shot, erased, shots
from erase_quality import guarded as guarded_recipe
from torch import Tensor

import concept_edit as ce
from concept_edit.answer.solving import placed
from concept_edit.demo import load_judge
from concept_edit.evaluation import wilson
from concept_edit.memory.bounds import Surroundings
from concept_edit.memory.guard import Bounds, complement, solve_guarded, with_common
from concept_edit.memory.solve import Problem
from concept_edit.models.gated import gated
from concept_edit.models.opened import OpenedModel
from concept_edit.prompts.corpus import read_captions


def centred(problem: Problem, around: Surroundings) -> tuple[Problem, Surroundings]:
    """The same rows read from the mean caption token; the moment becomes the covariance."""
    mean = around.mean.double()

    def less(rows: Tensor) -> Tensor:
        return (rows.double() - mean).to(rows.dtype)

    asked = replace(problem, sources=less(problem.sources), goals=less(problem.goals), kept=less(problem.kept))
    held = replace(
        around,
        moment=_definite(around.moment.double() - torch.outer(mean, mean)),
        mean=torch.zeros_like(mean),
        fixed=less(around.fixed),
        ordinary=less(around.ordinary),
    )
    return asked, held


def _definite(matrix: Tensor) -> Tensor:
    """The nearest matrix without negative eigenvalues, which a difference of stored moments has by rounding."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0)) @ vectors.T


def _affine(change: Tensor, mean: Tensor) -> Change:
    return lambda rows: rows + ((rows.double() - mean) @ change.T).to(rows.dtype)


def affine(draw: Draw) -> Change:
    """x + A (x − μ) by a centred guarded solve."""
    return _centred(draw, draw.around)


def affine_no_equality(draw: Draw) -> Change:
    """The same with the empty prompt free."""
    return _centred(draw, replace(draw.around, fixed=draw.around.fixed[:0]))


def _centred(draw: Draw, around: Surroundings) -> Change:
    found = solve_guarded(*centred(draw.problem(draw.centroid, ("{}",), 1), around), BOUNDS)
    return _affine(found.factors.dense(), around.mean.double())


def guarded_further(draw: Draw) -> Change:
    """The linear guarded solve told to leave 0.05 of a concept's way in place of 0.22."""
    problem = draw.problem(draw.centroid, ("{}",), 1)
    found = solve_guarded(problem, draw.around, BOUNDS._replace(left=0.05))
    return _affine(found.factors.dense(), torch.zeros(problem.width, dtype=torch.float64))


def leace(draw: Draw) -> Change:
    """r(x) = x − W⁺ P W (x − μ), P on the span of W Σ_xz, z which artist is erased."""
    return _erased(draw)


def leace_equality(draw: Draw) -> Change:
    """The same among the affine maps that leave the empty prompt's rows where they are."""
    return _erased(draw, equality=True)


def linear_limit(draw: Draw) -> Change:
    """What needs no bias: the least linear map, by the rows' second moment, that takes every erased row to the mean."""
    return _erased(draw, linear=True)


def _erased(draw: Draw, *, equality: bool = False, linear: bool = False) -> Change:
    """x + A (x − μ) with A = − D (SᵀΣ⁻¹S)⁻¹ SᵀΣ⁻¹ read on a basis: D leads from the mean to the erased rows, S is D
    there. With the whole basis this is LEACE's − W⁺ P W."""
    rows = torch.cat([draw.world.captions, draw.rows(draw.kept, "{}"), draw.rows(draw.erased, "{}")]).double()
    mean, erased = rows.mean(dim=0), draw.rows(draw.erased, "{}").double()
    origin = torch.zeros_like(mean) if linear else mean
    still = draw.world.null.double() - origin
    basis = complement(still if equality else still[:0])
    around, read = (rows - origin) @ basis, (erased - origin) @ basis
    moment = around.T @ around / len(rows)
    moment.diagonal().add_(1e-9 * float(moment.trace()))
    inner = torch.linalg.solve(moment, read.T)
    right = torch.linalg.lstsq(read @ inner, inner.T).solution @ basis.T
    return _affine(-(erased - mean).T @ right, origin)


@dataclass(frozen=True)
class Biased:
    """An affine map where a gate would stand: before what reads the text."""

    change: Tensor
    mean: Tensor

    @property
    def ways(self) -> Tensor:
        """Where its numbers lie."""
        return self.change

    def to(self, device: Any) -> Biased:
        """The same there."""
        return Biased(self.change.to(device), self.mean.to(device))

    def __call__(self, rows: Tensor, strength: float = 1.0) -> Tensor:
        moved = (rows.double() - self.mean) @ self.change.T
        return (rows.double() + strength * moved).to(rows.dtype)


def affine_doors(model: OpenedModel, recipe: ce.Recipe) -> dict[str, Biased]:
    """Stream -> the centred answer to a guarded recipe."""
    found = ce.collect(model, recipe)
    doors = {}
    for name in found.streams:
        problem, around = with_common(*placed(found, name))
        answer = solve_guarded(*centred(problem, around), Bounds.of(recipe))
        doors[name] = Biased(answer.factors.dense(), around.mean.double())
    return doors


CELLS = (Cell("concept", "affine", 5), Cell("concept", "affine", 12), Cell("style", "affine", 1))
WAYS = ("original", "guarded", "affine")
GROUPS = ("erased", "erased, unseen wording", "kept")


def picked(cell: Cell, most: int) -> dict[str, list[Shot]]:
    """At most so many shots of each group, spread over all of them."""
    found: dict[str, list[Shot]] = {group: [] for group in GROUPS}
    gone = erased(cell)
    for shot in shots(cell):
        if shot.wanted in gone:
            found[GROUPS[shot.group == "unseen"]].append(shot)
        elif shot.wanted:
            found["kept"].append(shot)
    return {group: own[:: max(1, len(own) // most)][:most] for group, own in found.items()}


def counted(model: OpenedModel, cell: Cell, steps: int | None, most: int) -> dict[str, tuple[int, int]]:
    """Group -> pictures in which the judge names what was asked for, of how many; the model is changed already."""
    counts = {}
    for group, asked in picked(cell, most).items():
        images = model.generate([s.prompt for s in asked], [s.seed for s in asked], steps=steps, batch_size=20)
        said = [v.style if cell.kind == "style" else v.concept for v in load_judge()(images)]
        counts[group] = sum(name == s.wanted for name, s in zip(said, asked, strict=True)), len(asked)
    return counts


@contextmanager
def changed(model: OpenedModel, cell: Cell, way: str) -> Iterator[None]:
    """The model as it is, under the linear map, or under the affine one."""
    recipe = guarded_recipe(cell)
    if way == "original":
        yield
    elif way == "guarded":
        with ce.solve(model, recipe).applied(model):
            yield
    else:
        doors: Any = affine_doors(model, recipe)
        with gated(model, doors, 1.0):
            yield


def pictures(args: argparse.Namespace) -> str:
    """Shares under both maps, model by model; what an earlier run counted is read."""
    lines = [f"| model | erased | map | {' | '.join(GROUPS)} |", "|---" * (3 + len(GROUPS)) + "|"]
    print("\n".join(lines), flush=True)
    for name in ("demo", "demo-flow") if args.model is None else (args.model,):
        model = ce.open_model(name)
        for cell in CELLS:
            for way in WAYS:
                path = args.out / f"{name}-{cell.kind}-{cell.count}-{way}-{args.most}.json"
                if not path.exists():
                    with changed(model, cell, way):
                        path.write_text(json.dumps(counted(model, cell, args.steps, args.most)))
                lines.append(line(name, cell, way, json.loads(path.read_text())))
                print(lines[-1], flush=True)
    return "\n".join(lines)


def line(model: str, cell: Cell, way: str, counts: dict[str, Sequence[int]]) -> str:
    """Shares with their intervals."""
    cells = [model, f"{cell.count} {cell.kind}s" if cell.count > 1 else f"{cell.count} {cell.kind}", way]
    for group in GROUPS:
        hits, n = counts[group]
        low, high = wilson(hits, n)
        cells.append(f"{hits / n:.2f} ({low:.2f} to {high:.2f}), n {n}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("encoder", "pictures"))
    parser.add_argument("--out", type=Path, default=Path("out/affine"))
    parser.add_argument("--names", type=Path, help="encoder: one artist a line")
    parser.add_argument("--captions", type=Path, help="encoder: captions, a text file or CSV")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 50, 100, 250], help="encoder: artists erased")
    parser.add_argument("--seeds", type=int, default=3, help="encoder: draws of each size")
    parser.add_argument("--model", choices=("demo", "demo-flow"), help="pictures: one of the two")
    parser.add_argument("--most", type=int, default=60, help="pictures: of each group, at most")
    parser.add_argument("--steps", type=int, default=10, help="pictures: denoising steps")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.what == "pictures":
        text = pictures(args)
    else:
        if args.names is None or args.captions is None:
            parser.error("encoder needs --names and --captions")
        names = list(dict.fromkeys(read_captions(args.names)))
        world = encode(Encoder(None), names, read_captions(args.captions))
        ways = (guarded, guarded_further, affine, no_equality, affine_no_equality, leace, leace_equality, linear_limit)
        text = table([row for n in args.sizes for row in measured(world, ways, 900, n, args.seeds)])
        print(text)
    (args.out / f"{args.what}.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
