"""The autoencoder: 64 px pictures <-> 8 x 8 latents of 16 channels.

python -m concept_edit.demo.training.vae --root work/demo
python -m concept_edit.demo.training.vae --root work/demo --decoder-only     # sharpen, latents unchanged
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from concept_edit.demo.training import data, loop
from concept_edit.demo.training.pictures import moved, sheet, stack, to_pil


def build() -> AutoencoderKL:
    channels = (16, 32, 64, 128)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=64,
    )


def edges(pictures: Tensor) -> tuple[Tensor, Tensor]:
    return pictures.diff(dim=-1), pictures.diff(dim=-2)


class Reconstruct(nn.Module):
    """Pictures -> loss, in one forward so that accelerate can wrap it."""

    def __init__(self, vae: AutoencoderKL, decoder_only: bool) -> None:
        super().__init__()
        self.vae, self.decoder_only = vae, decoder_only
        if decoder_only:
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        with torch.set_grad_enabled(not self.decoder_only):
            posterior = self.vae.encode(pictures).latent_dist
        latents = posterior.sample()
        if self.decoder_only:  # the denoiser's latents are never quite the encoder's
            latents = latents + 0.05 * latents.std() * torch.randn_like(latents)
        back = self.vae.decode(latents).sample
        loss = F.l1_loss(back, pictures) + 4 * F.mse_loss(back, pictures)
        for mine, true in zip(edges(back), edges(pictures), strict=True):
            loss = loss + 0.5 * F.l1_loss(mine, true)
        return loss if self.decoder_only else loss + 1e-6 * posterior.kl().mean()


def psnr(vae: AutoencoderKL, drawings: Tensor) -> float:
    """Mean PSNR (dB) over the drawings, under moves not drawn in training."""
    pictures = moved(drawings, torch.Generator().manual_seed(2**31 + 7))
    with torch.no_grad():
        back = torch.cat([vae.decode(vae.encode(p).latent_dist.mode()).sample for p in pictures.split(32)])
    error = ((back.clamp(-1, 1) - pictures) / 2).square().mean(dim=(1, 2, 3))
    return float((-10 * error.log10()).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decoder-only", action="store_true")
    args = parser.parse_args()
    drawings = stack(args.root, [row for row in data.load(args.root) if row.concept])

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(drawings), (args.batch,), generator=generator)
        return model(moved(drawings[chosen], generator))

    def show(model: Reconstruct, stem: Path) -> None:
        pictures = moved(drawings[:: len(drawings) // 24][:24], None)
        with torch.no_grad():
            back = model.vae.decode(model.vae.encode(pictures).latent_dist.mode()).sample
        sheet(to_pil(torch.cat([pictures, back])), 24, stem.with_suffix(".png"))
        print(f"{stem.name}: {psnr(model.vae, drawings):.2f} dB")

    vae = build()
    folder = args.root / "vae"
    if args.decoder_only:
        vae = AutoencoderKL.from_pretrained(folder / "diffusers")
        folder = args.root / "vae_decoder"
    schedule = loop.Schedule(steps=args.steps, rate=args.rate, save_every=200, ema=0.995, weight_decay=0.0)
    model = loop.run(Reconstruct(vae, args.decoder_only), loss, schedule, folder, show=show)
    latents = torch.cat([model.vae.encode(p).latent_dist.mode().detach() for p in moved(drawings, None).split(32)])
    if not args.decoder_only:
        model.vae.register_to_config(scaling_factor=float(1 / latents.std()))
    model.vae.save_pretrained(folder / "diffusers")
    print(f"{psnr(model.vae, drawings):.2f} dB, scaling factor {model.vae.config.scaling_factor:.4f}")


if __name__ == "__main__":
    main()
