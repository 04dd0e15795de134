"""Put the trained parts together as the folder that ships: fp16 safetensors, licences, checksums.

python -m concept_edit.demo.training.build --root work/demo
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPModel

from concept_edit.demo import CHECKSUMS, WEIGHTS, sha256
from concept_edit.demo.judge import KINDS
from concept_edit.demo.training import loop
from concept_edit.demo.training.unet import Denoise, assemble, build

GENERATION = {"num_inference_steps": 20, "guidance_scale": 1.25}
"""What `generate` uses when the user says nothing."""


def halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}


def save_clip(root: Path, out: Path) -> None:
    """The image tower and both projections; the text tower is the pipeline's."""
    out.mkdir(parents=True)
    clip = CLIPModel.from_pretrained(root / "clip_image/transformers")
    clip.config.save_pretrained(out)
    state = {name: value for name, value in clip.state_dict().items() if not name.startswith("text_model.")}
    save_file(halved(state), out / "image_tower.safetensors")


def save_pipeline(root: Path, out: Path, channels: tuple[int, ...]) -> None:
    unet = loop.load_ema(Denoise(build(channels)), root / "unet").unet
    decoder = root / "vae_decoder/diffusers"
    pipe = assemble(root, unet, decoder=decoder if decoder.exists() else None)
    pipe.to(torch.float16).save_pretrained(out, safe_serialization=True)
    (out / "generation.json").write_text(json.dumps(GENERATION) + "\n")


def write_checksums(out: Path) -> None:
    files = sorted(p for p in out.rglob("*") if p.is_file() and p.suffix != ".md" and p.name not in SKIPPED)
    listing = {p.relative_to(out).as_posix(): sha256(p) for p in files}
    (out / CHECKSUMS).write_text(json.dumps(listing, indent=1) + "\n")


SKIPPED = (CHECKSUMS, "figures.json")
"""Written after, or apart from, the files that are checked."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--channels", type=int, nargs="+", default=[96, 192])
    args = parser.parse_args()
    for old in ("model", "clip"):
        shutil.rmtree(args.out / old, ignore_errors=True)
    save_pipeline(args.root, args.out / "model", tuple(args.channels))
    save_clip(args.root, args.out / "clip")
    for kind in KINDS:
        network = args.root / f"judge_{kind}/network.pt"
        if network.exists():
            save_file(halved(torch.load(network, weights_only=True)), args.out / f"judge_{kind}.safetensors")
    shutil.copy(args.root / "ATTRIBUTION.md", args.out / "ATTRIBUTION.md")
    write_checksums(args.out)
    size = sum(p.stat().st_size for p in args.out.rglob("*") if p.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
