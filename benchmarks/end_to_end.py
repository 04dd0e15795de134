"""What a person waits for: from a loaded model to changed weights, beside the algebra alone.

    python benchmarks/end_to_end.py --out benchmarks/end_to_end.md

Stable Diffusion 1.5 in its true shapes with random weights (`real_models.py`) and the embedded model. Published: each
prompt encoded once and by itself, then for each matrix an outer product a row and a float32 inverse, as in
`solve_time.py`; the rows, weights and kept prompts are those of UCE's 2025 code (last token) and of its 2023 code
(aligned rows, '' kept). Ours: `solve` with the same recipe, then `merge_into`. One thread's processor time, one run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from real_models import write_folder
from solve_time import published, seconds

import concept_edit as ce
from concept_edit.asked.items import AnyEdit
from concept_edit.memory.solve import Problem
from concept_edit.models.contract import Model
from concept_edit.recipe import Erase, Recipe, read_concepts

ARTISTS = Path(__file__).parents[2] / "shared" / "data" / "prompts" / "artists_1734.txt"
RUNS = (("last", 1, 0), ("last", 100, 200), ("aligned", 1, 20), ("aligned", 10, 20))
CODE = {"last": "UCE 2025", "aligned": "UCE 2023"}


def recipe(tokens: str, names: Sequence[str], edits: int, keeps: int) -> Recipe:
    asked: tuple[AnyEdit, ...] = tuple(Erase(name, guide="art") for name in names[:edits])
    return Recipe(edits=asked, preserve=tuple(names[edits : edits + keeps]), method="uce", tokens=tokens)


def problem(model: Model, asked: Recipe) -> Problem:
    """The rows both solve, weights taken into them: √s c, √s t."""
    p = ce.collect(model, asked).streams["text"].problem(asked)
    roots, kept_roots = (w.sqrt()[:, None].float() for w in (p.weights, p.kept_weights))
    return replace(p, sources=roots * p.sources, goals=roots * p.goals, kept=kept_roots * p.kept)


def row(model: Model, name: str, asked: Recipe) -> str:
    prompts = [*asked.concepts, "art", *asked.kept]
    p, matrices = problem(model, asked), [w.float() for w in model.weights().values()]
    one = {w.shape: w for w in matrices}
    counts = {shape: sum(w.shape == shape for w in matrices) for shape in one}
    algebra = sum(counts[shape] * seconds(lambda w=w: published(w, p), "cpu") for shape, w in one.items())
    encoding = seconds(lambda: [model.encode([prompt]) for prompt in prompts], "cpu")
    statistics = ce.collect(model, asked)
    edit = ce.solve_statistics(statistics)
    ours = seconds(lambda: ce.solve_statistics(statistics), "cpu", 3)
    whole = seconds(lambda: ce.solve(model, asked), "cpu")
    written = seconds(lambda: edit.merge_into(model), "cpu")
    theirs = encoding + algebra
    cells = (
        name, f"{CODE[asked.tokens]}, {len(asked.concepts)} ({len(asked.preserve)} kept)", f"{algebra:.3g}",
        f"{ours:.3g}", f"{algebra / ours:.0f}x", f"{encoding:.3g}", f"{theirs:.3g}", f"{whole + written:.3g}",
        f"{theirs / (whole + written):.1f}x",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = ("model", "concepts", "published: algebra, s", "ours: algebra, s", "ratio", "published: encoding, s",
        "published: all, s", "ours: all, weights written, s", "ratio of all")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    parser.add_argument("--names", type=Path, default=ARTISTS, help="text file of at least 300 names, one a line")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = [edit.concept for edit in read_concepts(given.names)]
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    with tempfile.TemporaryDirectory() as folder:
        sources = {"embedded": "demo", "SD 1.5": str(write_folder("sd1", Path(folder), torch.float32))}
        for name, source in sources.items():
            model = ce.open_model(source)
            model.encode(names[:2])
            for tokens, edits, keeps in RUNS:
                lines.append(row(model, name, recipe(tokens, names, edits, keeps)))
                print(lines[-1], flush=True)
    if given.out:
        given.out.write_text(PREFACE + "\n".join(lines) + "\n", encoding="utf-8")


PREFACE = """# From a loaded model to changed weights

`python benchmarks/end_to_end.py --out benchmarks/end_to_end.md` writes this page. The algebra alone is hundreds of
times faster; a person also waits for the text encoder, which both need. Published: each prompt encoded once, by itself,
then the per-layer algorithm; one matrix of each shape is timed and counted as often as it occurs. Ours: `solve`, which
encodes in batches, and `merge_into`. Random weights in SD 1.5's true shapes, and the embedded model; one thread's
processor time on a shared CPU, one run. On a GPU the encoding weighs less on both sides; that is not measured here.

"""

if __name__ == "__main__":
    main()
