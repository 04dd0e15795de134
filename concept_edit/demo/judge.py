"""The judges: which concept, style and presentation does a picture show? Never used to train the denoiser.

Two networks of different kinds, so that no figure hangs on one: `cnn` (residual convolutions) is the judge, `vit`
(a patch transformer) is asked for a second opinion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from concept_edit.demo.concepts import CONCEPTS, PRESENTATIONS, STYLES

if TYPE_CHECKING:
    from PIL.Image import Image

OTHER = "other"
"""The judge's word for a picture that shows none of the model's concepts."""
CONCEPT_NAMES = (*(c.name for c in CONCEPTS), OTHER)
STYLE_NAMES = tuple(s.name for s in STYLES)
HEADS = (len(CONCEPT_NAMES), len(STYLE_NAMES), len(PRESENTATIONS))
_PEOPLE = {c.name for c in CONCEPTS if c.women is not None}


@dataclass(frozen=True)
class Verdict:
    """What a judge sees in one picture; the probabilities are those of the named classes."""

    concept: str
    style: str
    presentation: str
    """`man` or `woman` for a profession, '' for anything else."""
    concept_probability: float
    style_probability: float
    presentation_probability: float


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Convolutional(nn.Module):
    """Three strided stages with a residual block each, mean and maximum pooled."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers.append(ResidualBlock(width))
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(2 * widths[-1], sum(HEADS))

    def forward(self, pictures: Float[Tensor, "batch 3 64 64"]) -> Float[Tensor, "batch classes"]:
        x = self.body(pictures)
        return self.head(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))


class PatchTransformer(nn.Module):
    """8 px patches, four pre-norm transformer layers, a class token."""

    def __init__(self, width: int = 96, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(192, width)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, 65, width))
        layer = nn.TransformerEncoderLayer(width, 4, 3 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, sum(HEADS))

    def forward(self, pictures: Float[Tensor, "batch 3 64 64"]) -> Float[Tensor, "batch classes"]:
        patches = rearrange(pictures, "b c (h p) (w q) -> b (h w) (c p q)", p=8, q=8)
        x = torch.cat([self.token.expand(len(patches), -1, -1), self.embed(patches)], dim=1) + self.place
        return self.head(self.layers(x)[:, 0])


KINDS: dict[str, type[nn.Module]] = {"cnn": Convolutional, "vit": PatchTransformer}
Kind = Literal["cnn", "vit"]


class Judge:
    """Names what pictures show. `network` answers 64 px pictures in [-1, 1] with one logit per class."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image]) -> tuple[Tensor, Tensor, Tensor]:
        """Class probabilities (images x classes) of concept, style and presentation. Pictures are resized to 64 px."""
        parts = [self.network(as_pictures(images[i : i + 64])) for i in range(0, len(images), 64)]
        logits = torch.cat(parts) if parts else torch.zeros(0, sum(HEADS))
        concept, style, presentation = (part.softmax(dim=1) for part in logits.split(HEADS, dim=1))
        return concept, style, presentation

    def __call__(self, images: Sequence[Image]) -> list[Verdict]:
        """One verdict per picture."""
        best = [(p.argmax(dim=1).tolist(), p.amax(dim=1).tolist()) for p in self.probabilities(images)]
        (concept, sure), (style, style_sure), (who, who_sure) = best
        verdicts = []
        for i in range(len(images)):
            name = CONCEPT_NAMES[concept[i]]
            shown = PRESENTATIONS[who[i]] if name in _PEOPLE else ""
            verdicts.append(Verdict(name, STYLE_NAMES[style[i]], shown, sure[i], style_sure[i], who_sure[i]))
        return verdicts


def as_pictures(images: Sequence[Image]) -> Float[Tensor, "batch 3 64 64"]:
    arrays = [np.asarray(image.convert("RGB").resize((64, 64))) for image in images]
    pictures = torch.from_numpy(np.stack(arrays)).float() / 127.5 - 1
    return rearrange(pictures, "n h w c -> n c h w")
