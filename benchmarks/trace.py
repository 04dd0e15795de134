"""Where the embedded model holds its facts: the mean trace of many with intervals, and what a gradient foretells.

    OMP_NUM_THREADS=1 python benchmarks/trace.py --facts 60 --root work/trace --out benchmarks/trace.md

`--model` and `--file` take another language model and its files of facts. Seconds are CPU time, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import concept_edit as ce
from concept_edit.files import replace_file
from concept_edit.language.fact_files import read_facts
from concept_edit.language.rewrite import LAYERS
from concept_edit.language.traced import trace_few


def facts_of(files: Sequence[Path], most: int) -> list[ce.Fact]:
    """Of files, or of the embedded world."""
    if files:
        return [fact for file in files for fact in read_facts(file)][:most]
    from concept_edit.demo.language import rewrites

    return [ce.Fact(**row) for row in rewrites(most)]


def page(found: ce.Trace, one: ce.Trace, taken: list[str], cost: str, given: argparse.Namespace) -> str:
    """The page of results."""
    cells = f"; of each kind {given.exact} cells of a fact computed, the others told by a gradient" * bool(given.exact)
    cells += ", matrix products in bfloat16" * given.half
    lines = [
        f"# Where {found.model} holds its facts",
        "",
        f"Written by `benchmarks/trace.py`: {found.facts} facts ({found.skipped} more, not known, left out), "
        f"{given.samples} noises on each subject{cells}; {cost}. The answer's "
        f"probability is {found.clean:.3f}, with noise {found.corrupted:.3f}.",
        "",
        f"{found.sentence}.",
        "",
        *(f"- {line}." for line in taken),
        "",
    ]
    if given.out:
        lines += [f"![Effects by layer, for each role of token]({given.out.with_suffix('.png').name})", ""]
    for kind, table in found.effects.items():
        lines += [f"## {kind} restored, {found.windows[kind]} at a time", ""]
        layers = range(table.shape[1])
        lines += [
            "| role of token | " + " | ".join(f"layer {n}" for n in layers) + " |",
            "|---" * (len(layers) + 1) + "|",
        ]
        for n, role in enumerate(found.rows):
            cells = [f"{float(table[n, x]):+.3f} ({cell(found, kind, n, x)})" for x in layers]
            lines.append(f"| {role} | {' | '.join(cells)} |")
        lines.append("")
    told = ", ".join(f"{kind} {value:.2f}" for kind, value in one.screened.items())
    early, late = float(found.row("last subject", "hidden").max()), float(found.row("last", "hidden")[0])
    if late > 10 * abs(early):
        lines += [
            f"Here the facts are not held at the subject: the last token has {late:+.3f} after layer 0, which reads "
            f"the subject's embeddings itself, and no state at the last subject token gives more than {early:+.3f}.",
            "",
        ]
    lines.append(f"The gradient's estimates against what was computed, Spearman, first fact: {told}.")
    return "\n".join([*lines, ""])


def chosen(lm: ce.LanguageModel, facts: Sequence[ce.Fact], found: ce.Trace) -> list[str]:
    """Layers that this mean names, and those that `rewrite` takes with `layers=None`, which traces a few facts."""
    few, lines = trace_few(lm, facts), list[str]()
    for count in sorted(set(LAYERS.values())):
        methods = ", ".join(name for name, own in LAYERS.items() if own == count)
        mine, theirs = (", ".join(map(str, each.layers(count))) for each in (found, few))
        lines.append(f"{methods}: this mean's `layers({count})` are {mine}; `layers=None` takes {theirs}")
    return [*lines, f"`layers=None` traced {few.facts} facts: {few.sentence}"]


def cell(found: ce.Trace, kind: str, n: int, x: int) -> str:
    """A 95 % interval."""
    return f"{float(found.low[kind][n, x]):+.2f} to {float(found.high[kind][n, x]):+.2f}"  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--file", type=Path, nargs="*", default=(), help="of facts; several are read one after another")
    parser.add_argument("--facts", type=int, default=60)
    parser.add_argument("--root", type=Path, default=Path("work/trace"))
    parser.add_argument("--exact", type=int, help="cells of each kind computed, chosen by a gradient; none: all")
    parser.add_argument("--samples", type=int, default=10, help="noises on each subject")
    parser.add_argument("--half", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lm = ce.open_language_model(given.model, device="cpu")
    facts = facts_of(given.file, given.facts)
    how = {"samples": given.samples, "exact": given.exact}
    with torch.autocast("cpu", torch.bfloat16, enabled=given.half):
        began = time.process_time()
        one = ce.trace(lm, facts[0], **how)
        alone = time.process_time() - began
        screened = one if given.exact else ce.trace(lm, facts[0], exact=len(one.rows) * lm.layers)
        found = ce.trace(lm, facts, folder=given.root, progress=True, **how)
        taken = chosen(lm, facts, found)
        text = page(found, screened, taken, f"{alone:.1f} s of CPU for the first of them", given)
    print(text)
    if given.out:
        replace_file(given.out, text.encode())
        found.plot(given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
