"""Put a trained generator beside the code: fp16 weights, checksum and the card with its measured figures.

python -m styles.demo.ship /some/folder/last.pt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from styles.checkpoint import load_generator, save_generator, sha256
from styles.demo.measure import fidelity, psnr
from styles.demo.train import CONFIG
from styles.generator import Generator

FOLDER = Path(__file__).parent


def ship(checkpoint: Path, folder: Path = FOLDER) -> None:
    """Write rooms.safetensors, rooms.json and the table of README.md."""
    state = torch.load(checkpoint, weights_only=True)
    model = Generator(CONFIG)
    model.load_state_dict(state["ema"])
    weights = folder / "rooms.safetensors"
    save_generator(model, weights, dtype="float16")
    figures = measure(load_generator(weights))
    content = {"sha256": sha256(weights), "steps": state["step"], "config": CONFIG.to_dict(), **figures}
    (folder / "rooms.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=1))


def measure(model: Generator) -> dict[str, object]:
    """The card's figures, from the shipped (fp16) weights."""
    found = fidelity(model)
    return {
        "psnr_db": round(psnr(model), 2),
        "factor_r2": {name: round(value, 3) for name, value in found["generated"].items()},
        "factor_r2_rendered": {name: round(value, 3) for name, value in found["rendered"].items()},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="last.pt of a training run")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    ship(given.checkpoint, given.folder)


if __name__ == "__main__":
    main()
