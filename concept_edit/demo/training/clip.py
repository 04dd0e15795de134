"""The CLIP towers, trained contrastively on the drawings and their captions.

    python -m concept_edit.demo.training.clip --root work/demo
    python -m concept_edit.demo.training.clip --root work/demo --image-tower      # a smaller one, to ship

The text tower becomes the pipeline's text encoder. The image tower that ships is trained against it, frozen.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from concept_edit.demo.training import captions, data, loop
from concept_edit.demo.training.pictures import moved, stack

WIDTH = 256


def build(tokenizer: CLIPTokenizer, *, image_width: int = 192, image_layers: int = 4) -> CLIPModel:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": image_width,
        "intermediate_size": 4 * image_width,
        "num_hidden_layers": image_layers,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))


class Contrast(nn.Module):
    """Symmetric InfoNCE (Radford et al. 2021, fig. 3); equal captions in a batch count as the same answer."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, ids: Tensor, mask: Tensor, pictures: Tensor, same: Tensor) -> Tensor:
        logits = self.clip(input_ids=ids, attention_mask=mask, pixel_values=pictures).logits_per_text
        goal = same / same.sum(dim=1, keepdim=True)
        return (F.cross_entropy(logits, goal) + F.cross_entropy(logits.T, goal)) / 2


def against_frozen_text(tokenizer: CLIPTokenizer, trained: Path) -> CLIPModel:
    """A smaller image tower beside the trained text tower, which no longer moves."""
    clip, old = build(tokenizer, image_width=128, image_layers=3), CLIPModel.from_pretrained(trained)
    for part in ("text_model", "text_projection"):
        getattr(clip, part).load_state_dict(getattr(old, part).state_dict())
        getattr(clip, part).requires_grad_(False)
    clip.logit_scale.data.copy_(old.logit_scale)
    return clip


class Batches:
    """Half of a batch is concepts in all their styles, so that the contrast is one of style; a third is the other
    emoji, which widen the vocabulary; the rest is drawn at random."""

    def __init__(self, rows: Sequence[data.Drawing], size: int) -> None:
        self.size = size
        self.named = [i for i, row in enumerate(rows) if row.concept]
        self.wide = [i for i, row in enumerate(rows) if not row.concept] or self.named
        self.kin: dict[str, list[int]] = {}
        for i in self.named:
            self.kin.setdefault(rows[i].name, []).append(i)

    def draw(self, rng: random.Random) -> list[int]:
        names = rng.sample(sorted(self.kin), self.size // 8)
        chosen = [i for name in names for i in self.kin[name]]
        chosen += rng.sample(self.wide, self.size // 3)
        return chosen + rng.sample([i for i in self.named if i not in chosen], max(0, self.size - len(chosen)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--image-tower", action="store_true")
    args = parser.parse_args()
    tokenizer = CLIPTokenizer.from_pretrained(args.root / "tokenizer")
    rows = data.load(args.root)
    drawings = stack(args.root, rows)
    batches = Batches(rows, args.batch)
    named = batches.named

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        chosen = batches.draw(rng)
        texts = [captions.full(rows[i], rng, styled=rng.random() < 0.9) for i in chosen]
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        same = torch.tensor([[float(a == b) for b in texts] for a in texts])
        return model(tokens.input_ids, tokens.attention_mask, moved(drawings[chosen], generator), same)

    schedule = loop.Schedule(steps=args.steps, rate=args.rate, save_every=100, ema=0.99, weight_decay=0.05)
    clip, folder = build(tokenizer), args.root / "clip"
    if args.image_tower:
        clip, folder = against_frozen_text(tokenizer, folder / "transformers"), args.root / "clip_image"
    model = loop.run(Contrast(clip), loss, schedule, folder)
    model.clip.save_pretrained(folder / "transformers")
    pictures = moved(drawings[named], torch.Generator().manual_seed(2**31 + 1))
    texts = [captions.full(rows[i], random.Random(i), styled=True) for i in named]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model.clip(tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pictures)
    right = (logits.logits_per_image.argmax(1) == torch.arange(len(named))).float().mean()
    print(f"picture -> its caption among {len(named)}: {right:.3f}")


if __name__ == "__main__":
    main()
