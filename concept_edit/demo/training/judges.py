"""The two judges, trained on the drawings only (never on generated pictures), and measured on what they never saw.

    python -m concept_edit.demo.training.judges --root work/demo --kind cnn
    python -m concept_edit.demo.training.judges --root work/demo --kind vit

In training: moves, scaling, colour, blur. Held out for measuring: turning, JPEG, noise, the autoencoder.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from concept_edit.demo.concepts import PRESENTATIONS
from concept_edit.demo.judge import CONCEPT_NAMES, HEADS, KINDS, OTHER, STYLE_NAMES, Judge, as_pictures
from concept_edit.demo.training import data, loop
from concept_edit.demo.training.data import Drawing
from concept_edit.demo.training.pictures import moved, stack, to_pil

PEOPLE = ("People & Body", "Smileys & Emotion")
"""Categories left out of `other`: too like the professions and faces the prompts name."""


def labels(rows: Sequence[Drawing]) -> Tensor:
    """Concept, style and presentation index of each drawing; -1 where there is none to learn."""
    out = []
    for row in rows:
        who = PRESENTATIONS.index(row.presentation) if row.presentation else -1
        out.append([CONCEPT_NAMES.index(row.concept or OTHER), STYLE_NAMES.index(row.style), who])
    return torch.tensor(out)


def varied(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Channels scaled by 0.85 to 1.15, a smooth random tint in blotches, half of the pictures blurred."""
    n = len(pictures)
    colour = 0.85 + 0.3 * torch.rand(n, 3, 1, 1, generator=generator)
    tint = 0.15 * torch.rand(n, 1, 1, 1, generator=generator) * torch.randn(n, 3, 12, 12, generator=generator)
    pictures = 1 - (1 - pictures) * (colour + F.interpolate(tint, size=pictures.shape[-2:], mode="bicubic"))
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    amount = torch.rand(n, 1, 1, 1, generator=generator) * (torch.rand(n, 1, 1, 1, generator=generator) < 0.5)
    return pictures.lerp(blurred, amount)


class Name(nn.Module):
    """Pictures and labels -> cross-entropy of the three heads."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor, truth: Tensor) -> Tensor:
        loss = torch.zeros(())
        for i, logits in enumerate(self.network(pictures).split(HEADS, dim=1)):
            known = truth[:, i] >= 0
            if known.any():
                loss = loss + F.cross_entropy(logits[known], truth[known, i], label_smoothing=0.02)
        return loss


def jpeg(pictures: Tensor) -> Tensor:
    files = [io.BytesIO() for _ in pictures]
    for file, image in zip(files, to_pil(pictures), strict=True):
        image.save(file, format="JPEG", quality=40)
    return as_pictures([Image.open(file) for file in files])


def unseen(vae: AutoencoderKL | None) -> dict[str, Callable[[Tensor], Tensor]]:
    """Changes of a 96 px drawing that no judge was trained on."""

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(2**31 + 99)

    changes = {
        "turned by up to 9 degrees": lambda d: moved(d, generator(), turn=0.157),
        "JPEG quality 40": lambda d: jpeg(moved(d, generator())),
        "noise, sigma 0.1": lambda d: (lambda p: p + 0.1 * torch.randn(p.shape, generator=generator()))(
            moved(d, generator())
        ),
    }
    if vae is not None:
        changes["through the autoencoder"] = lambda d: (
            vae.decode(vae.encode(moved(d, generator())).latent_dist.mode()).sample
        )
    return changes


@torch.no_grad()
def accuracy(judge: Judge, drawings: Tensor, truth: Tensor, vae: AutoencoderKL | None) -> dict[str, dict[str, float]]:
    """Share of drawings whose concept, style and presentation the judge names right, per unseen change."""
    table = {}
    for name, change in unseen(vae).items():
        pictures = torch.cat([change(part) for part in drawings.split(52)])
        answers = judge.network(pictures).split(HEADS, dim=1)
        right = [answer.argmax(1) == truth[:, i] for i, answer in enumerate(answers)]
        people = truth[:, 2] >= 0
        table[name] = {
            "concept": float(right[0].float().mean()),
            "style": float(right[1].float().mean()),
            "presentation": float(right[2][people].float().mean()),
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--kind", choices=sorted(KINDS), default="cnn")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    args = parser.parse_args()
    rows = [row for row in data.load(args.root) if row.category not in PEOPLE]
    drawings, truth = stack(args.root, rows), labels(rows)
    named = torch.tensor([i for i, row in enumerate(rows) if row.concept])
    other = torch.tensor([i for i, row in enumerate(rows) if not row.concept])

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        share = args.batch // 5
        chosen = torch.cat(
            [
                named[torch.randint(len(named), (args.batch - share,), generator=generator)],
                other[torch.randint(len(other), (share,), generator=generator)],
            ]
        )
        pictures = moved(drawings[chosen], generator, shift=0.1, scale=(0.78, 1.04))
        return model(varied(pictures, generator), truth[chosen])

    schedule = loop.Schedule(steps=args.steps, rate=args.rate, save_every=200, ema=0.99, weight_decay=0.05)
    torch.manual_seed(1)
    folder = args.root / f"judge_{args.kind}"
    network = loop.run(Name(KINDS[args.kind]()), loss, schedule, folder).network
    torch.save(network.state_dict(), folder / "network.pt")
    vae_folder = args.root / "vae/diffusers"
    vae = AutoencoderKL.from_pretrained(vae_folder) if vae_folder.exists() else None
    for name, row in accuracy(Judge(network), drawings[named], truth[named], vae).items():
        print(name, row)


if __name__ == "__main__":
    main()
