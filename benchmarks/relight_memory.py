"""Peak memory and time of `styles relight` by the size of the photograph, each run in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/relight_memory.py --megapixels 0.01 12 50

The photograph is a JPEG with structure at every scale, read, relit to 0.3 and written as a JPEG by the command line.
The peak is what the kernel says of the process (VmHWM in /proc/self/status: resident memory, libraries included). The
first size stands for what the program takes by itself; the last column is what a run takes beyond it, by the pixel.
Holding the decoded photograph and the picture that is made takes 8 bytes a pixel (Pillow keeps RGB in 4).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

RUN = """
import sys
from styles.__main__ import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def photograph(megapixels: float, path: Path) -> tuple[int, int]:
    """Write one of 3 : 2: gradients with fine and coarse noise. Its width and height."""
    width = max(6, round((megapixels * 1e6 * 1.5) ** 0.5))
    height = round(width / 1.5)
    draw = np.random.default_rng(0)
    small = draw.integers(0, 256, (24, 36, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.fromarray(draw.integers(118, 138, (256, 256, 3), dtype=np.uint8))
    for top in range(0, height, 512):
        for left in range(0, width, 512):
            picture.paste(grain, (left, top))
    picture.save(path, quality=92)
    return width, height


def peak(photo: Path, out: Path) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of one run of the command line."""
    words = ["relight", str(photo), "--fraction", "0.3", "--out", str(out), "--device", "cpu"]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1000, time.perf_counter() - began


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.01, 12, 24, 50])
    given = parser.parse_args()
    print("| photograph | peak memory | time | beyond the smallest, by the pixel |\n| --- | --- | --- | --- |")
    least = None
    with tempfile.TemporaryDirectory() as folder:
        photo, out = Path(folder) / "photo.jpg", Path(folder) / "out.jpg"
        for megapixels in given.megapixels:
            width, height = photograph(megapixels, photo)
            memory, seconds = peak(photo, out)
            least = memory if least is None else least
            beyond = "-" if memory == least else f"{(memory - least) * 1e6 / (width * height):.1f} bytes"
            pixels = f"{width} x {height} ({width * height / 1e6:.3g} MP)"
            print(f"| {pixels} | {memory:.0f} MB | {seconds:.1f} s | {beyond} |", flush=True)


if __name__ == "__main__":
    main()
