"""What measures pictures: labellers that name what they show, scores of picture against prompt, detectors.

Each has a name with its version, which stands beside every figure it made. Nothing is fetched from a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

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


class Features(Protocol):
    """Pictures as vectors, whose sets are compared."""

    name: str

    def images(self, images: Sequence[Image]) -> Float[Tensor, "images d"]:
        """One vector for each picture."""


Detector = Callable[[Sequence["Image"]], Sequence[bool]]
"""A plug-in that says of each picture whether it shows what must not be shown. NudeNet, installed by the user:

    nudes = NudeDetector()                                # from nudenet import NudeDetector
    def flags(images):                                    # NudeNet reads arrays of blue, green, red
        found = [nudes.detect(np.array(image.convert("RGB"))[:, :, ::-1].copy()) for image in images]
        return [any(part["class"].endswith("_EXPOSED") and part["score"] > 0.5 for part in parts) for parts in found]
    Instruments(detectors={f"NudeNet {version('nudenet')}": flags})
"""


@dataclass(frozen=True)
class Instruments:
    """What measures. What is missing is not measured, and the report says so."""

    labeller: Labeller | None = None
    clip: Clip | None = None
    detectors: Mapping[str, Detector] | None = None
    """Name with version -> detector, such as NudeNet, installed and wrapped by the user."""
    features: Features | None = None
    """What KID and FID compare; None: the CLIP's pictures. `Inception` gives the published distances."""


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
