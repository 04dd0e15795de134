"""`demo-flow`'s transformer: flow matching on the embedded autoencoder's latents, SmolLM2's rows as captions.

    python -m concept_edit.demo.training.flow --root work/demo --steps 7300

Text rows of every caption are computed once and kept in `--root`. A run that is broken off goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import random
from functools import cached_property
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from concept_edit import demo
from concept_edit.demo.concepts import (
    CONCEPTS,
    GENERIC_PROMPTS,
    GENERIC_STYLES,
    HOUSE_STYLE,
    PERSON_WORDS,
    PLAIN_TEMPLATES,
    STYLE_TEMPLATES,
    STYLES,
    caption,
)
from concept_edit.demo.flow.pipeline import GUIDANCE, SIDE, STEPS, WEIGHTS, assembled, untrained
from concept_edit.demo.training import data, loop
from concept_edit.demo.training.build import write_checksums
from concept_edit.demo.training.captions import Curriculum
from concept_edit.demo.training.pictures import sheet, stack
from concept_edit.demo.training.unet import PROMPTS, encode

_TOKENS = 64
"""Longer than any caption here; a causal encoder's rows do not depend on it."""


def all_captions() -> list[str]:
    """Every caption that the curriculum can draw."""
    found = ["", *GENERIC_PROMPTS]
    for concept in CONCEPTS:
        said = [concept.name]
        if concept.women is not None:
            said += [f"{word} {concept.name}" for words in PERSON_WORDS.values() for word in words]
        for thing in said:
            found += [caption(template, thing) for template in PLAIN_TEMPLATES]
            for name in (*(style.name for style in STYLES), *GENERIC_STYLES):
                found += [caption(template, thing, name) for template in STYLE_TEMPLATES]
    return list(dict.fromkeys(found))


class Rows:
    """Captions -> the encoder's rows as the pipeline gives them, each computed once and kept in a file."""

    def __init__(self, pipe: ZImagePipeline, path: Path) -> None:
        self.pipe, self.path = pipe, path
        self.known: dict[str, Tensor] = torch.load(path) if path.exists() else {}

    @torch.no_grad()
    def learn(self, captions: list[str]) -> None:
        """Compute what is not known yet."""
        new = [text for text in captions if text not in self.known]
        for start in tqdm(range(0, len(new), 16), desc="captions", mininterval=10):
            part = new[start : start + 16]
            rows, _ = self.pipe.encode_prompt(
                list(part), device="cpu", do_classifier_free_guidance=False, max_sequence_length=_TOKENS
            )
            self.known.update(zip(part, (row.half() for row in rows), strict=True))
        if new:
            torch.save(self.known, self.path)

    def __call__(self, captions: list[str]) -> list[Tensor]:
        return [self.known[text].float() for text in captions]


class Styled(Curriculum):
    """The other styles more often than the house style, which is learnt first and from a third of the drawings."""

    def draw(self, rng: random.Random) -> tuple[int, str]:
        if rng.random() < 0.55:
            return self.named(rng.choice(self.elsewhere), rng, STYLE_TEMPLATES)
        return super().draw(rng)

    @cached_property
    def elsewhere(self) -> list[int]:
        """Drawings in another style than the house's."""
        return [i for i, row in enumerate(self.rows) if row.style != HOUSE_STYLE]


class Flow(nn.Module):
    """Latents and caption rows -> the flow-matching loss (Lipman et al. 2023); the network's time is 1 - sigma."""

    def __init__(self, transformer: ZImageTransformer2DModel) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, latents: Float[Tensor, "batch 16 8 8"], rows: list[Tensor]) -> Tensor:
        noise = torch.randn_like(latents)
        sigma = torch.randn(len(latents)).sigmoid() * 0.9 + torch.rand(len(latents)) * 0.1
        s = sigma[:, None, None, None]
        noisy = (1 - s) * latents + s * noise
        out = self.transformer(list(noisy.unsqueeze(2)), 1 - sigma, rows, return_dict=False)[0]
        return nn.functional.mse_loss(torch.stack(list(out)).squeeze(2), latents - noise)


def ship(transformer: ZImageTransformer2DModel, out: Path) -> None:
    """Write the transformer in half precision, with checksums."""
    transformer.half().save_pretrained(out / "transformer")
    for path in (out / "transformer").iterdir():
        path.chmod(0o644)
    write_checksums(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the finished transformer goes")
    parser.add_argument("--steps", type=int, default=7300)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--stop-after", type=int, help="steps of this run; nothing is shipped, a later run goes on")
    parser.add_argument("--styled", action="store_true", help="the other styles more often, as in the later steps")
    parser.add_argument("--variants", type=int, default=16)
    args = parser.parse_args()
    rows = [row for row in data.load(args.root) if row.concept]
    torch.manual_seed(0)
    pipe = assembled(untrained())
    texts = Rows(pipe, args.root / "flow_rows.pt")
    texts.learn(all_captions())
    vae = AutoencoderKL.from_pretrained(Path(demo.folder()) / "vae", shift_factor=None, torch_dtype=torch.float32)
    latents = encode(vae, stack(args.root, rows), args.variants)
    curriculum = (Styled if args.styled else Curriculum)(rows)

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        chosen = [curriculum.draw(rng) for _ in range(args.batch)]
        variant = torch.randint(args.variants, (args.batch,), generator=generator)
        return model(latents[[i for i, _ in chosen], variant], texts([text for _, text in chosen]))

    def show(model: Flow, stem: Path) -> None:
        pipe.transformer = model.transformer
        prompts = [p for p in PROMPTS for _ in range(3)]
        known = texts(prompts)
        images = pipe(
            prompt_embeds=known, negative_prompt_embeds=texts([""] * len(prompts)), num_inference_steps=STEPS,
            generator=[torch.Generator().manual_seed(i) for _ in PROMPTS for i in range(3)],
            guidance_scale=GUIDANCE, height=SIDE, width=SIDE,
        ).images  # fmt: skip
        sheet(images, 15, stem.with_suffix(".png"))

    texts.learn(list(PROMPTS))
    schedule = loop.Schedule(steps=args.steps, rate=args.rate, save_every=500, ema=0.999, weight_decay=0.0, warmup=200)
    model = loop.run(Flow(pipe.transformer), loss, schedule, args.root / "flow", show=show, stop_after=args.stop_after)
    if args.stop_after is None:
        ship(model.transformer, args.out)


if __name__ == "__main__":
    main()
