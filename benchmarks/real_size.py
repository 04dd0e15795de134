"""What the verbs cost on SD 1.5 and SDXL in their true shapes: peak memory, and processor time against one pass.

    python benchmarks/real_size.py sd1 sdxl --out benchmarks/real_size.md

Random weights in half precision (`real_models.py`), one concept erased with method `guarded`. Each verb runs in a
process of its own, on one thread. *Of one pass*: its processor time over that of encoding the recipe's prompts and the
plain captions once, in the same process conditions. *First* finds no kept corpus, the others find the first one's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
TITLES = {"sd1": "SD 1.5", "sdxl": "SDXL"}
LIMIT = {"sd1": 900, "sdxl": 4000}
"""Wanted peak, MB."""
HEAD = "| model | verb | peak, MB | wanted | processor time, s | of one pass |\n|---|---|---|---|---|---|"


def child(arguments: Sequence[str], cache: Path) -> tuple[float, float]:
    """Processor seconds and peak MB of a Python process."""
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL,
        env=os.environ | one | {"CONCEPT_EDIT_CACHE": str(cache)},
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(arguments)} ended with {status >> 8}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1.024e-3


def one_pass(model: str) -> None:
    """Print the processor seconds of encoding every prompt of a solve once."""
    import concept_edit as ce
    from concept_edit.prompts.captions import plain_captions

    opened = ce.open_model(model, device="cpu")
    start = time.process_time()
    opened.encode(["Van Gogh", "art", ""])
    opened.encode(plain_captions(), batch_size=64)
    print(time.process_time() - start)


def table(family: str, folder: Path) -> list[str]:
    """A line for each verb."""
    model, cache = folder / f"{family}.safetensors", folder / "cache"
    # In a process of its own: a child's peak begins with its parent's size.
    child([__file__, "--write", family, "--out", str(model)], cache)
    edit, out = folder / "edit.safetensors", folder / "out.safetensors"
    told = subprocess.run(
        [sys.executable, __file__, "--pass", str(model)], capture_output=True, text=True, check=True, cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    whole = float(told.stdout)
    lines = [f"| {TITLES[family]} | one pass of the encoders | | | {whole:.1f} | 1.00 |"]
    print(lines[-1], flush=True)
    solve = ["erase", "Van Gogh", "--guide", "art", "-q", "-o", str(edit)]
    verbs: dict[str, list[str]] = {
        "solve, first": solve,
        "solve": solve,
        "diagnose": ["diagnose", str(edit), "-q"],
        "verify": ["verify", str(edit)],
        "export, LoRA": ["export", str(edit), "--as", "lora", "--force", "-o", str(out)],
        "export, checkpoint": ["export", str(edit), "--as", "checkpoint", "--force", "-o", str(out)],
        "export, K/V": ["export", str(edit), "--as", "kv", "--force", "-o", str(out)],
    }
    for verb, arguments in verbs.items():
        spent, peak = child(["-m", "concept_edit", *arguments, "--model", str(model)], cache)
        cells = (TITLES[family], verb, f"{peak:.0f}", f"≤ {LIMIT[family]}", f"{spent:.1f}", f"{spent / whole:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    spent, peak = child(["-m", "concept_edit", "show", str(edit)], cache)
    return [*lines, f"| {TITLES[family]} | show | {peak:.0f} | | {spent:.1f} (≤ 1) | |"]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="sd1, sdxl; sd1 where none is named")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    parser.add_argument("--folder", type=Path, help="where the models are written, 2.2 GB for SDXL; removed after")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--pass", dest="model", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.model:
        return one_pass(given.model)
    if given.write:
        from real_models import write_file

        write_file(given.write, given.out)
        return None
    lines = [HEAD]
    for family in given.families or ["sd1"]:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            lines += table(family, Path(folder))
    if given.out:
        given.out.write_text(f"# Real sizes\n\n{__doc__.split(chr(10), 4)[4].strip()}\n\n" + "\n".join(lines) + "\n")
    return None


if __name__ == "__main__":
    main()
