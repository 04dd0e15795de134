"""What measures pictures: labellers that name what they show, scores of picture against prompt, detectors.

Each has a name with its version, which stands beside every figure it made. Nothing is fetched from a network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from concept_edit.recipe import normal

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.demo.judge import Judge

_BATCH = 64


class Labeller(Protocol):
    """Names what pictures show."""

    name: str
    """With version: stands beside every figure it made."""

    def choices(self, concept: str) -> tuple[str, ...]:
        """The names among which `concept` is told apart; empty where it cannot be told."""

    def __call__(self, images: Sequence[Image], choices: Sequence[str]) -> Float[Tensor, "images choices"]:
        """Probability of each choice for each picture; rows sum to 1."""


class Clip(Protocol):
    """A pair of towers: pictures and prompts as unit vectors of one space."""

    name: str

    def texts(self, prompts: Sequence[str]) -> Float[Tensor, "prompts d_joint"]:
        """Unit vectors of prompts."""

    def images(self, images: Sequence[Image]) -> Float[Tensor, "images d_joint"]:
        """Unit vectors of pictures."""


Detector = Callable[[Sequence["Image"]], Sequence[bool]]
"""A plug-in that says of each picture whether it shows what must not be shown."""


@dataclass(frozen=True)
class Instruments:
    """What measures. What is missing is not measured, and the report says so."""

    labeller: Labeller | None = None
    clip: Clip | None = None
    detectors: Mapping[str, Detector] | None = None
    """Name with version -> detector, such as NudeNet, installed and wrapped by the user."""


class JudgeLabeller:
    """The embedded model's judge: concepts, styles and presentations it was trained on."""

    def __init__(self, judge: Judge, name: str) -> None:
        from concept_edit.demo.judge import CONCEPT_NAMES, STYLE_NAMES
        from concept_edit.demo.judge import PRESENTATIONS as PRESENTATION_NAMES

        self.judge, self.name = judge, name
        self.heads = (CONCEPT_NAMES, STYLE_NAMES, tuple(PRESENTATION_NAMES))

    def choices(self, concept: str) -> tuple[str, ...]:
        """The head that has `concept` among its classes."""
        return next((head for head in self.heads if normal(concept) in map(normal, head)), ())

    def __call__(self, images: Sequence[Image], choices: Sequence[str]) -> Float[Tensor, "images choices"]:
        """Probabilities of the choices, which must be of one head."""
        for index, head in enumerate(self.heads):
            names = [normal(name) for name in head]
            if all(normal(choice) in names for choice in choices):
                found = self.judge.probabilities(images)[index][:, [names.index(normal(c)) for c in choices]]
                return found / found.sum(dim=1, keepdim=True).clamp(min=1e-12)
        raise ValueError(
            f"the judge cannot tell {', '.join(choices)} apart; it knows {'; '.join(map(', '.join, self.heads))}"
        )


class ZeroShot:
    """Any CLIP as a labeller: the prompt whose vector lies nearest to the picture's (Radford et al. 2021).

    `template` wraps each name, `scale` is the softmax's (CLIP was trained to 100).
    """

    def __init__(
        self, clip: Clip, vocabulary: Sequence[str], *, template: str = "a picture of a {}", scale: float = 100.0
    ) -> None:
        if "{}" not in template:
            raise ValueError(f"the template {template!r} has no {{}} for the name to stand in")
        self.clip, self.vocabulary, self.template, self.scale = clip, tuple(vocabulary), template, scale
        self.name = f"zero-shot {clip.name}, '{template}'"

    def choices(self, concept: str) -> tuple[str, ...]:
        """The whole vocabulary, if `concept` is in it."""
        return self.vocabulary if normal(concept) in map(normal, self.vocabulary) else ()

    def __call__(self, images: Sequence[Image], choices: Sequence[str]) -> Float[Tensor, "images choices"]:
        """Softmax of scaled cosines."""
        texts = self.clip.texts([self.template.replace("{}", choice) for choice in choices])
        parts = [self.clip.images(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
        return (self.scale * torch.cat(parts) @ texts.T).softmax(dim=1) if parts else torch.zeros(0, len(choices))


class TransformersClip:
    """A CLIP in transformers' format: a folder, or a hub id that is in the local cache."""

    def __init__(self, source: str | os.PathLike[str], *, device: str = "cpu") -> None:
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

        try:
            model: Any = CLIPModel.from_pretrained(source, local_files_only=True)
            self.tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
            self.processor = CLIPImageProcessor.from_pretrained(source, local_files_only=True)
        except OSError as error:
            raise ValueError(f"there is no CLIP at {source}; fetch it first: hf download {source}") from error
        self.model = model.to(device).eval()
        self.device = device
        self.name = f"CLIP {Path(source).name} ({getattr(self.model.config, '_commit_hash', None) or 'local'})"

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Float[Tensor, "prompts d_joint"]:
        """Unit vectors of prompts."""
        length = self.model.config.text_config.max_position_embeddings
        given = self.tokenizer(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        found = self.model.get_text_features(**given.to(self.device))
        return F.normalize(_vector(found), dim=-1).cpu()

    @torch.no_grad()
    def images(self, images: Sequence[Image]) -> Float[Tensor, "images d_joint"]:
        """Unit vectors of pictures."""
        given = self.processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
        return F.normalize(_vector(self.model.get_image_features(given["pixel_values"].to(self.device))), dim=-1).cpu()


class OpenClip:
    """A model of open_clip (extra `[clip]`); `pretrained` is a file, or a tag whose weights are in the cache."""

    def __init__(self, architecture: str, pretrained: str, *, device: str = "cpu") -> None:
        try:
            import open_clip
        except ImportError as error:
            raise ValueError("open_clip is not installed; pip install 'concept-edit[clip]'") from error
        made = open_clip.create_model_and_transforms(architecture, pretrained=pretrained, device=device)
        self.model, self.transform = made[0].eval(), made[2]
        self.tokenizer, self.device = open_clip.get_tokenizer(architecture), device
        self.name = f"open_clip {open_clip.__version__} {architecture} {pretrained}"

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Float[Tensor, "prompts d_joint"]:
        """Unit vectors of prompts."""
        return F.normalize(self.model.encode_text(self.tokenizer(list(prompts)).to(self.device)), dim=-1).float().cpu()

    @torch.no_grad()
    def images(self, images: Sequence[Image]) -> Float[Tensor, "images d_joint"]:
        """Unit vectors of pictures."""
        pixels = torch.stack([self.transform(image.convert("RGB")) for image in images]).to(self.device)
        return F.normalize(self.model.encode_image(pixels), dim=-1).float().cpu()


class _DemoClip:
    """The embedded CLIP with the name of its weights."""

    def __init__(self) -> None:
        from concept_edit import demo

        self.towers = demo.load_clip()
        self.name = f"embedded CLIP ({demo.sha256(demo.WEIGHTS / 'clip' / 'image_tower.safetensors')[:12]})"

    def texts(self, prompts: Sequence[str]) -> Float[Tensor, "prompts d_joint"]:
        return self.towers.texts(prompts)

    def images(self, images: Sequence[Image]) -> Float[Tensor, "images d_joint"]:
        return self.towers.images(images)


def embedded_instruments() -> tuple[JudgeLabeller, Clip]:
    """The judge and the CLIP that ship with the embedded model.

    Raises:
        ValueError: their weights are missing or damaged.
    """
    from concept_edit import demo

    clip = _DemoClip()
    name = f"embedded judge cnn ({demo.sha256(demo.WEIGHTS / 'judge_cnn.safetensors')[:12]})"
    return JudgeLabeller(demo.load_judge(), name), clip


@dataclass(frozen=True)
class Confusion:
    """How often a labeller says what is true: one row per truth, one column per answer."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """Pictures of each truth (row) that were given each label (column)."""
    source: str
    """Where the pictures of known truth came from."""

    @property
    def rates(self) -> Float[np.ndarray, "truths answers"]:
        """Share of each answer for each truth."""
        table = np.asarray(self.counts, dtype=np.float64)
        return table / np.maximum(table.sum(axis=1, keepdims=True), 1)

    @property
    def accuracy(self) -> float:
        """Mean share of right answers over the truths."""
        return float(np.diag(self.rates).mean())

    def corrected(self, shares: Mapping[str, float]) -> dict[str, float]:
        """The shares that lie behind labelled `shares` (Rogan and Gladen 1978), held within 0 ... 1.

        Raises:
            ValueError: the labeller answers all truths alike, so that nothing can be told from its answers.
        """
        said = np.array([shares[label] for label in self.labels])
        if abs(np.linalg.det(self.rates)) < 1e-6:
            raise ValueError("the labeller gives the same answers whatever is true; its shares mean nothing")
        truth = np.clip(np.linalg.solve(self.rates.T, said), 0, None)
        return dict(zip(self.labels, (truth / truth.sum()).tolist(), strict=True))


def confusion(labeller: Labeller, pictures: Mapping[str, Sequence[Image]], *, source: str) -> Confusion:
    """Let `labeller` name pictures of known truth: label -> its pictures."""
    labels = tuple(pictures)
    counts = []
    for truth in labels:
        said = named(labeller, pictures[truth], labels)
        counts.append(tuple(said.bincount(minlength=len(labels)).tolist()))
    return Confusion(labels, tuple(counts), source)


def named(labeller: Labeller, images: Sequence[Image], choices: Sequence[str]) -> Int[Tensor, " images"]:
    """Index of the likeliest choice for each picture."""
    if not images:
        return torch.zeros(0, dtype=torch.long)
    return labeller(images, choices).argmax(dim=1)


def _vector(found: Any) -> Tensor:
    return found if isinstance(found, Tensor) else found.pooler_output
