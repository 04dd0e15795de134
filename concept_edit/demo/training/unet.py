"""The denoiser: a UNet2DConditionModel with cross-attention on the text tower's tokens, v-prediction.

python -m concept_edit.demo.training.unet --root work/demo --steps 7000
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers import UNet2DConditionModel as UNet
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from concept_edit.demo.training import data, loop
from concept_edit.demo.training.captions import Curriculum
from concept_edit.demo.training.pictures import moved, sheet, stack

BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}
PROMPTS = (
    "a red apple in the style of Noto",
    "a red apple in the style of Twemoji",
    "a red apple in the style of EmojiOne",
    "a red apple in the style of Lobe",
    "a cat by Twemoji",
    "a knife in the style of Noto",
    "a doctor",
    "a woman doctor in the style of Twemoji",
    "a rocket by EmojiOne",
    "art",
)


def build(channels: tuple[int, ...] = (96, 192)) -> UNet:
    return UNet(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        cross_attention_dim=256,
        attention_head_dim=4,
        norm_num_groups=8,
    )


class Texts:
    """Captions -> the text tower's last hidden states, each computed once."""

    def __init__(self, tokenizer: CLIPTokenizer, tower: CLIPTextModel) -> None:
        self.tokenizer, self.tower = tokenizer, tower.eval()
        self.known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Float[Tensor, "batch 77 d_text"]:
        new = sorted(set(texts) - self.known.keys())
        if new:
            ids = self.tokenizer(new, padding="max_length", truncation=True, return_tensors="pt").input_ids
            self.known.update(zip(new, self.tower(ids).last_hidden_state, strict=True))
        return torch.stack([self.known[text] for text in texts])


def text_tower(clip: CLIPModel) -> CLIPTextModel:
    tower = CLIPTextModel(clip.config.text_config)  # type: ignore[arg-type]
    source = clip.text_model.state_dict()
    target = tower.state_dict()
    tower.load_state_dict({name: source[name.removeprefix("text_model.")] for name in target})
    return tower


@torch.no_grad()
def encode(vae: AutoencoderKL, drawings: Tensor, variants: int) -> Float[Tensor, "drawings variants 16 8 8"]:
    """Latents of each drawing under `variants` moves; the last is the drawing unmoved."""
    out = []
    for v in tqdm(range(variants), desc="latents"):
        generator = torch.Generator().manual_seed(v) if v < variants - 1 else None
        pictures = moved(drawings, generator).split(52)
        out.append(torch.cat([vae.encode(p).latent_dist.mode() for p in pictures]))
    return torch.stack(out, dim=1) * vae.config.scaling_factor


class Denoise(nn.Module):
    """Latents and text -> the v-prediction loss (Salimans & Ho 2022)."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet, self.noise = unet, DDPMScheduler(**BETAS)

    def forward(self, latents: Tensor, text: Tensor) -> Tensor:
        noise = torch.randn_like(latents)
        times = torch.randint(self.noise.config.num_train_timesteps, (len(latents),), device=latents.device)
        noisy = self.noise.add_noise(latents, noise, times)
        goal = self.noise.get_velocity(latents, noise, times)
        return F.mse_loss(self.unet(noisy, times, text).sample.float(), goal)


def assemble(root: Path, unet: UNet, *, decoder: Path | None = None) -> StableDiffusionPipeline:
    """The parts as one diffusers pipeline."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(decoder or root / "vae/diffusers", shift_factor=None),
        text_encoder=text_tower(CLIPModel.from_pretrained(root / "clip/transformers")),
        tokenizer=CLIPTokenizer.from_pretrained(root / "tokenizer"),
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**BETAS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--variants", type=int, default=16)
    parser.add_argument("--channels", type=int, nargs="+", default=[96, 192])
    args = parser.parse_args()
    rows = [row for row in data.load(args.root) if row.concept]
    pipe = assemble(args.root, build(tuple(args.channels)))
    pipe.set_progress_bar_config(disable=True)
    latents = encode(pipe.vae, stack(args.root, rows), args.variants)
    texts, curriculum = Texts(pipe.tokenizer, pipe.text_encoder), Curriculum(rows)

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        chosen = [curriculum.draw(rng) for _ in range(args.batch)]
        variant = torch.randint(args.variants, (args.batch,), generator=generator)
        device = next(model.parameters()).device
        batch = latents[[i for i, _ in chosen], variant]
        return model(batch.to(device), texts([t for _, t in chosen]).to(device))

    def show(model: Denoise, stem: Path) -> None:
        model.eval()
        generators = [torch.Generator().manual_seed(i) for _ in PROMPTS for i in range(3)]
        prompts = [p for p in PROMPTS for _ in range(3)]
        images = pipe(prompts, generator=generators, num_inference_steps=20, guidance_scale=3.0, height=64, width=64)
        sheet(images.images, 15, stem.with_suffix(".png"))
        model.train()

    schedule = loop.Schedule(steps=args.steps, rate=args.rate, save_every=800, ema=0.999, weight_decay=0.0, warmup=200)
    model = loop.run(Denoise(pipe.unet), loss, schedule, args.root / "unet", show=show)
    model.unet.save_pretrained(args.root / "unet/diffusers")


if __name__ == "__main__":
    main()
