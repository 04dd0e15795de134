"""How long a solve takes, how exact it is and how much memory it needs, against the published per-layer algorithm.

    python benchmarks/solve_time.py --out benchmarks/solve_time.md      # CPU; adds a GPU table when there is one

Random weights in the shapes of SD 1.4 and SDXL, embeddings with a large common mean, as CLIP's. One run, so that the
ratios mean something on a busy machine; on the CPU one thread's processor time is counted, not the clock on the wall.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import concept_edit as ce
from concept_edit.files import write_tensors
from concept_edit.memory.solve import Factors, Problem, change, solve_problem
from concept_edit.recipe import read_concepts

ARTISTS = Path(__file__).parents[2] / "shared" / "data" / "prompts" / "artists_1734.txt"
SIZES = ((1, 0), (100, 200), (1000, 1000))
WANTED = {("SD 1.4", 1): 40, ("SD 1.4", 100): 50, ("SD 1.4", 1000): 300,
          ("SDXL", 1): 40, ("SDXL", 100): 60, ("SDXL", 1000): 300}  # fmt: skip
RIDGE = 0.5


@dataclass(frozen=True)
class Shape:
    """A family's text-side matrices: how many there are of each output width."""

    name: str
    width: int
    outputs: dict[int, int]

    @property
    def matrices(self) -> int:
        """All of them."""
        return sum(self.outputs.values())

    def weights(self, device: str) -> list[Tensor]:
        """Random matrices of a trained one's size."""
        draw = torch.Generator().manual_seed(0)
        one = {o: torch.randn(o, self.width, generator=draw).to(device) / self.width**0.5 for o in self.outputs}
        return [one[o].clone() for o, n in self.outputs.items() for _ in range(n)]


SD14 = Shape("SD 1.4", 768, {320: 10, 640: 10, 1280: 12})
SDXL = Shape("SDXL", 2048, {640: 20, 1280: 120})


def rows(n: int, width: int, seed: int) -> Tensor:
    """Embeddings around a common mean several times as long as what sets them apart."""
    common = 0.9 * torch.randn(width, generator=torch.Generator().manual_seed(42))
    return common + 0.4 * torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def problem(edits: int, keeps: int, width: int) -> Problem:
    """All weights 1, one shared goal, as in `erase --guide art`."""
    goals = rows(1, width, 3).expand(edits, -1).contiguous()
    ones = [torch.ones(n, dtype=torch.float64) for n in (edits, keeps)]
    return Problem(rows(edits, width, 1), goals, ones[0], rows(keeps, width, 2), ones[1], RIDGE)


def published(w: Tensor, p: Problem) -> Tensor:
    """The published algorithm for one matrix, plainly: an outer product for each row, a float32 inverse."""
    values = [w @ goal for goal in p.goals]
    kept_values = [w @ row for row in p.kept]
    numerator = RIDGE * w
    denominator = RIDGE * torch.eye(w.shape[1], device=w.device)
    for c, v in zip((*p.sources, *p.kept), (*values, *kept_values), strict=True):
        numerator += v[:, None] @ c[None, :]
        denominator += c[:, None] @ c[None, :]
    return numerator @ torch.inverse(denominator)


def exact(w: Tensor, p: Problem) -> Tensor:
    """The same in float64, with matrix products and a linear solve."""
    w, c, t, k = w.double(), p.sources.double(), p.goals.double(), p.kept.double()
    denominator = RIDGE * torch.eye(w.shape[1], dtype=torch.float64, device=w.device) + c.T @ c + k.T @ k
    numerator = RIDGE * w + (w @ t.T) @ c + (w @ k.T) @ k
    return torch.linalg.solve(denominator, numerator, left=False)


def seconds(work: Callable[[], object], device: str, repeat: int = 1) -> float:
    """The shortest of `repeat` runs: this thread's processor time, or the clock on a GPU."""
    spent = []
    for _ in range(repeat):
        _wait(device)
        start = _clock(device)
        work()
        _wait(device)
        spent.append(_clock(device) - start)
    return min(spent)


def _clock(device: str) -> float:
    return time.thread_time() if device == "cpu" else time.perf_counter()


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def baseline(weights: Sequence[Tensor], p: Problem, every: bool, device: str) -> tuple[float, dict[int, Tensor]]:
    """Time for all matrices, and its answer for one of each shape.

    Unless `every` matrix is timed, one of each shape is, and counted as often as it occurs.
    """
    answers: dict[int, Tensor] = {}
    spent: dict[int, list[float]] = {}

    def work(w: Tensor) -> None:
        answers[len(w)] = published(w, p)

    for w in weights:
        if every or len(w) not in spent:
            spent.setdefault(len(w), []).append(seconds(partial(work, w), device))
    counts = {o: sum(len(w) == o for w in weights) for o in spent}
    return sum(counts[o] * sum(times) / len(times) for o, times in spent.items()), answers


def solve(p: Problem) -> Factors:
    """What an edit file holds."""
    return solve_problem(p).float()


def write_all(weights: Sequence[Tensor], factors: Factors, device: str) -> None:
    """Every new matrix, one at a time, as `merge_into` computes it."""
    read = change(factors, device)
    for w in weights:
        (w.float() + read(w)).to(w.dtype)


def errors(p: Problem, factors: Factors, weights: Sequence[Tensor], theirs: dict[int, Tensor]) -> tuple[float, float]:
    """Largest relative weight error over one matrix of each shape: ours, the published algorithm's."""
    worst = [0.0, 0.0]
    for w in {len(w): w for w in weights}.values():
        right = exact(w, p)
        found = (w + change(factors, w.device)(w), theirs[len(w)])
        worst = [max(a, float((f.double() - right).norm() / right.norm())) for a, f in zip(worst, found, strict=True)]
    return worst[0], worst[1]


def table(shape: Shape, device: str, full: bool) -> list[str]:
    """One line for each number of concepts."""
    weights, lines = shape.weights(device), []
    for edits, keeps in SIZES:
        p = problem(edits, keeps, shape.width).to(device)
        every = full or device != "cpu" or (shape is SD14 and edits < 1000)
        base, answers = baseline(weights, p, every, device)
        solve(p)
        solved = seconds(partial(solve, p), device, 3)
        factors = solve(p)
        written = solved + seconds(partial(write_all, weights, factors, device), device, 2)
        ours, theirs = errors(p, factors, weights, answers)
        wanted = f"≥ {WANTED[shape.name, edits]}x" if device == "cpu" else ""
        cells = (f"{shape.name}, {edits:,} ({keeps:,} kept)", f"{base:.3g}{'' if every else ' *'}", f"{solved:.3g}",
                 f"{base / solved:.0f}x", wanted, f"{written:.3g}", f"{base / written:.0f}x", f"{ours:.1e}",
                 f"{theirs:.1e}")  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


COLUMNS = ("concepts", "published, s", "edit solved, s", "ratio", "wanted", "with every matrix written, s", "ratio",
           "weight error", "published's")  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def memory() -> str:
    """Peak memory of an SDXL-shaped solve in a process of its own."""
    out = subprocess.run([sys.executable, __file__, "--memory"], capture_output=True, text=True, check=True).stdout
    matrices, extra = (float(part) for part in out.split())
    return (
        f"Peak memory of an SDXL-shaped solve (1,000 concepts, 1,000 kept, saved to a file): the K/V set in float16, "
        f"{matrices:.0f} MB, plus {extra:.0f} MB (wanted: at most 1,000)."
    )


def measure_memory() -> None:
    """Hold an SDXL's K/V set, solve and save, and print the set's size and the peak beyond it, in MB."""
    idle = _status("VmRSS")
    held = [torch.ones(o, SDXL.width, dtype=torch.float16) for o, n in SDXL.outputs.items() for _ in range(n)]
    size = sum(w.numel() * w.element_size() for w in held) / 1e6
    factors = solve(problem(1000, 1000, SDXL.width))
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(Path(folder) / "e.safetensors", {"left": factors.left, "right": factors.right}, {})
    print(size, _status("VmHWM") - idle - size)


def _status(name: str) -> float:
    """A line of Linux's /proc/self/status, in MB; the high-water mark there begins with the process itself."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[1]) * 1.024e-3


def prompts_to_file(source: str) -> str:
    """From 1,734 artists' names to a saved edit, against encoding the names alone."""
    if not ARTISTS.is_file():
        return f"From prompts to file: not measured, {ARTISTS.name} is not there."
    try:
        model = ce.open_model(source)
    except (ValueError, OSError) as error:
        return f"From prompts to file: not measured ({error})."
    recipe = ce.Recipe(edits=read_concepts(ARTISTS, guide="art"), method="uce")
    model.encode(recipe.concepts[:64])
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "e.safetensors"
        encode = [seconds(lambda: model.encode(recipe.concepts), "cpu")]
        whole = seconds(lambda: ce.solve(model, recipe).save(target), "cpu")
        encode.append(seconds(lambda: model.encode(recipe.concepts), "cpu"))
        size, alone = target.stat().st_size, sum(encode) / 2
    return (
        f"From 1,734 artists' names to a saved edit on `{Path(source).name}` (width {model.streams['text']}): "
        f"{whole:.1f} s; encoding the names alone {alone:.1f} s; ratio {whole / alone:.2f} (wanted: at most 1.3). "
        f"The file has {size / 1000:.0f} kB, {size / 1734:.0f} bytes a concept."
    )


def report(full: bool, model: str) -> str:
    """The whole page."""
    lines = [f"## CPU, one thread, torch {torch.__version__}", "", HEAD]
    lines += table(SD14, "cpu", full) + table(SDXL, "cpu", full)
    if not full:
        lines += ["", SAMPLED]
    lines += ["", memory(), "", prompts_to_file(model)]
    if torch.cuda.is_available():
        lines += ["", f"## GPU: {torch.cuda.get_device_name()}", "", HEAD]
        lines += table(SD14, "cuda", full) + table(SDXL, "cuda", full)
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    parser.add_argument("--full", action="store_true", help="time the baseline on every matrix")
    parser.add_argument("--model", default="demo", help="model for the way from prompts to file")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory:
        return measure_memory()
    page = report(given.full, given.model)
    print(page)
    if given.out:
        given.out.write_text(PREFACE + page + "\n", encoding="utf-8")


SAMPLED = (
    "\\* One matrix of each shape was timed and counted as often as it occurs (10, 10 and 12 matrices of 320, 640 and "
    "1,280 outputs; 20 and 120 of 640 and 1,280); `--full` times every matrix."
)
PREFACE = """# Time, exactness and memory of a solve

`python benchmarks/solve_time.py --out benchmarks/solve_time.md` writes this page. Published: the per-layer algorithm of
the UCE code written plainly, an outer product for each row and a float32 inverse for each matrix. Random weights,
embeddings with a large common mean. *Edit solved* is what `solve_statistics` computes and a file holds; *with every
matrix written* adds the product with all matrices, as `merge_into` does. Weight error: relative, against float64, over
one matrix of each shape.

The algebra alone. What a person waits for, the encoding of prompts included, is 2 to 5 times faster on a CPU and not
hundreds: [end_to_end.md](end_to_end.md).

"""

if __name__ == "__main__":
    main()
