"""Embed a trained relighter: `python -m styles.demo.ship_relighter RUN` writes relighter.safetensors and .json."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from styles.checkpoints.checkpoint import sha256
from styles.demo import FOLDER
from styles.relighting.network import load_relighter


def ship(run: Path, folder: Path = FOLDER) -> None:
    """Write the weights in fp16, and their checksum with what they were trained on."""
    settings = json.loads(torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)["settings"])
    net, target = load_relighter(run / "relighter.safetensors", device="cpu"), folder / "relighter.safetensors"
    net.save(target, note=settings["pairs"])
    content = {"sha256": sha256(target), "parameters": sum(p.numel() for p in net.parameters()), **settings}
    (folder / "relighter.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run of train_relighter")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    ship(given.run, given.folder)


if __name__ == "__main__":
    main()
