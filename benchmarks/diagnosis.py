"""Does the diagnosis that needs no picture foretell what pictures show? Its figures beside the judged ones.

    python benchmarks/erase_quality.py paint --out out/erase_quality       # first
    python benchmarks/diagnosis.py --cells out/erase_quality --out benchmarks/diagnosis.md

Every edit of erase_quality.py is solved and diagnosed again; beside each check stands the share of kept concepts (or
styles) that the judge still names, relative to the original model, and of the erased ones still named. For each check,
the rank correlation with what it should foretell, over all edits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy
from erase_quality import Cell, Result, neighbours, solved

import concept_edit as ce

CHECKS = {
    "erased concept left": "erased",
    "drift of kept prompts": "kept",
    "drift of plain captions": "kept",
    "drift of the empty prompt": "kept",
    "size of the change": "kept",
}
"""Check -> which judged share it should foretell."""


def measured(model: ce.Model, out: Path) -> list[dict[str, Any]]:
    """One row for each painted edit."""
    near, rows = neighbours(), []
    for path in sorted(out.glob("*.json")):
        cell = json.loads(path.read_text())
        what = Cell(**cell["cell"])
        if not what.count or "refused" in cell:
            continue
        original = json.loads((out / f"{what.kind}-0-original.json").read_text())
        result = Result(cell, original, near)
        found = ce.diagnose(model, solved(model, what))
        worst: dict[str, float] = {}
        for check in found.checks:
            worst[check.name] = max(check.value, worst.get(check.name, 0.0))
        rows.append(
            {"kind": what.kind, "count": what.count, "method": what.method, "verdict": found.verdict,
             "kept": result.accuracy(result.kept), "erased": result.erased("trained", result.gone), **worst}
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def correlation(rows: list[dict[str, Any]], check: str, share: str) -> float:
    """Spearman's: of a check with the harm it should foretell."""
    pairs = [(row[check], row[share] if share == "erased" else -row[share]) for row in rows if check in row]
    ranks = [numpy.unique([p[i] for p in pairs], return_inverse=True)[1].astype(float) for i in (0, 1)]
    return float(numpy.corrcoef(*ranks)[0, 1])


def table(rows: list[dict[str, Any]]) -> str:
    head = ("erased", "method", "kept named", "erased named", *CHECKS, "verdict")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in sorted(rows, key=lambda r: (r["kind"], r["count"], r["method"])):
        values = [f"{row[check]:.3f}" if check in row else "" for check in CHECKS]
        what = (f"{row['count']} {row['kind']}s", row["method"], f"{row['kept']:.3f}", f"{row['erased']:.3f}")
        lines.append(f"| {' | '.join((*what, *values, row['verdict']))} |")
    found = [f"{correlation(rows, check, share):+.2f}" for check, share in CHECKS.items()]
    lines.append(f"| | rank correlation with harm | | | {' | '.join(found)} | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=Path, required=True, help="folder that erase_quality.py painted")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    page = table(measured(ce.open_model("demo"), args.cells))
    print(page)
    if args.out:
        args.out.write_text(page + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
