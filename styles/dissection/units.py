"""Which concept each unit of a layer detects: its map, cut at its highest 1 %, against what stands in the pictures.

    found = dissect(network, "body.3", pictures, {"lamp": masks, "bed": masks})
    found.units[0].label, found.units[0].iou

Bau et al. 2017, "Network Dissection: Quantifying Interpretability of Deep Visual Representations" (section 2: a
threshold T_k with P(a_k > T_k) = 0.005, IoU over the whole set; a unit is a detector above 0.04); Bau et al. 2020,
"Understanding the role of individual units in a deep neural network", with the top 1 %. Without masks: SoftWPMI of
Oikarinen and Weng 2023, "CLIP-Dissect" (section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from styles.dissection.activations import maps_of, pictures_of, pieces
from styles.dissection.segmenter import Segments, seen_in

LEAST = 0.04
"""IoU from which on a unit is said to detect a concept."""
_SHARP = 10.0
"""Sharpness of the concepts' probabilities from CLIP's cosines, as its authors multiply them before the softmax."""


class Clip(Protocol):
    """What `concept_edit.evaluate` takes as `clip`: unit rows of texts and of pictures."""

    def texts(self, prompts: Sequence[str]) -> Float[Tensor, "prompts d"]: ...

    def images(self, images: Sequence[Any]) -> Float[Tensor, "pictures d"]: ...


@dataclass(frozen=True)
class Unit:
    """One unit and what it detects."""

    channel: int
    threshold: float
    """The value that its map exceeds in the asked share of all places; in more, where its highest value is that
    common."""
    label: str
    """The best concept; '' where none reaches `least`."""
    iou: float
    """Intersection over union with the best concept's masks, over the whole probe set; the score where CLIP labels."""
    scores: tuple[tuple[str, float], ...]
    """The best three concepts and their scores."""
    top: tuple[int, ...]
    """Pictures with its highest values, highest first."""


@dataclass(frozen=True)
class Dissection:
    """The units of one layer."""

    layer: str
    share: float
    least: float
    by: str
    """`masks` or `CLIP`."""
    pictures: int
    units: tuple[Unit, ...]

    def detectors(self, label: str | None = None) -> list[Unit]:
        """Units with a label, or with this one, best first."""
        found = [unit for unit in self.units if unit.label and label in (None, unit.label)]
        return sorted(found, key=lambda unit: -unit.iou)

    def counts(self) -> dict[str, int]:
        """Detectors of each concept, most first."""
        names = [unit.label for unit in self.units if unit.label]
        return dict(sorted({name: names.count(name) for name in names}.items(), key=lambda pair: -pair[1]))

    def sentence(self) -> str:
        """What was found, in words."""
        found = self.counts()
        told = ", ".join(f"{count} of {name}" for name, count in found.items()) or "none"
        return f"{sum(found.values())} of {len(self.units)} units of {self.layer} detect something: {told}."


def dissect(
    network: nn.Module,
    layer: str,
    probe: Tensor,
    concepts: Mapping[str, Tensor] | Sequence[str] | Segments,
    *,
    share: float = 0.01,
    least: float = LEAST,
    top: int = 8,
    batch: int = 32,
    clip: Clip | None = None,
    pictures: Sequence[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dissection:
    """Label every unit of a layer.

    `network`, `layer`, `probe`: as `maps_of`. `concepts`: masks by name (pictures x h x w, true or over 0.5 where the
    concept is; all of one size); a segmenter, such as `load_segmenter()`, which finds them in what a generator makes of
    the probe, or in the probe itself; or names alone, which `clip` scores on `pictures` (one per probe row). `share` of
    all places lie above a unit's threshold. Labels need at least `least`; with CLIP they need a score above 0.

    Raises:
        ValueError: as `maps_of`; no concept, masks that do not fit the probe, a segmenter of other classes, names
            without `clip` and `pictures`.
    """
    if isinstance(concepts, Segments):
        concepts = seen_in(concepts, pictures_of(network, probe, batch=batch))
    maps = maps_of(network, layer, probe, batch=batch, progress=progress)
    return labelled(layer, maps, concepts, share=share, least=least, top=top, clip=clip, pictures=pictures)


def labelled(
    layer: str,
    maps: Float[Tensor, "pictures units h w"],
    concepts: Mapping[str, Tensor] | Sequence[str],
    *,
    share: float = 0.01,
    least: float = LEAST,
    top: int = 8,
    clip: Clip | None = None,
    pictures: Sequence[Any] | None = None,
) -> Dissection:
    """`dissect` of maps that are there already, as `maps_of` gives them.

    Raises:
        ValueError: as `dissect`.
    """
    if not concepts:
        raise ValueError("there is no concept to look for; give masks by name, or names with clip=")
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; give the share of places above the threshold, such as 0.01")
    highest = maps.flatten(2).amax(dim=2)
    thresholds = torch.cat([_threshold(part, share) for _, part in pieces(maps)])
    if isinstance(concepts, Mapping):
        names, scores = list(concepts), overlaps(maps, thresholds, _checked(concepts, len(maps)))
    else:
        names = list(concepts)
        if clip is None or pictures is None or len(pictures) != len(maps):
            raise ValueError(
                "concepts without masks are scored by CLIP; give clip= and pictures=, one for each probe row"
            )
        scores = soft_wpmi(highest, clip.images(pictures) @ clip.texts(names).T)
        least = 0.0
    units = []
    for channel in range(maps.shape[1]):
        order = scores[channel].argsort(descending=True)[:3].tolist()
        best = float(scores[channel, order[0]])
        alive = bool(highest[:, channel].max() > maps[:, channel].min())
        units.append(
            Unit(
                channel,
                float(thresholds[channel]),
                names[order[0]] if alive and best > least else "",
                best,
                tuple((names[i], float(scores[channel, i])) for i in order),
                tuple(highest[:, channel].argsort(descending=True)[:top].tolist()),
            )
        )
    by = "masks" if isinstance(concepts, Mapping) else "CLIP"
    return Dissection(layer, share, least, by, len(maps), tuple(units))


def overlaps(
    maps: Float[Tensor, "pictures units h w"],
    thresholds: Float[Tensor, " units"],
    masks: Bool[Tensor, "concepts pictures H W"],
) -> Float[Tensor, "units concepts"]:
    """IoU of each unit's map, grown to the masks' size and cut at its threshold, with each concept, over all."""
    areas = masks.flatten(1).sum(1).double()
    flat = masks.flatten(1).float()
    rows = []
    for part, some in pieces(maps):
        grown = F.interpolate(some, size=masks.shape[-2:], mode="bilinear", align_corners=False)
        on = grown > thresholds[part, None, None]
        on = on.transpose(0, 1).flatten(1)
        both = (on.float() @ flat.T).double()
        rows.append(both / (on.sum(1).double()[:, None] + areas - both).clamp(min=1))
    return torch.cat(rows)


def soft_wpmi(
    highest: Float[Tensor, "pictures units"], cosines: Float[Tensor, "pictures concepts"]
) -> Float[Tensor, "units concepts"]:
    """log E[p(t | pictures that a unit fires on)] - log p(t), with pictures counted by how strongly it fires.

    A picture is in the unit's set with probability 0.998 at its highest, falling linearly over its 100 highest
    pictures; p(t) is the mean over units.
    """
    told = (_SHARP * cosines.double()).softmax(dim=1)
    count = min(100, len(highest))
    ranks = highest.argsort(dim=0, descending=True).argsort(dim=0)
    inside = (0.998 - (0.998 - 0.97) * ranks / max(1, count - 1)).where(ranks < count, torch.zeros(()))
    logs = torch.log1p(inside.double().T[:, :, None] * (told[None] - 1)).sum(dim=1)
    return logs - (logs.logsumexp(dim=0) - math.log(len(logs)))


def _threshold(maps: Float[Tensor, "pictures units h w"], share: float) -> Float[Tensor, " units"]:
    values = maps.transpose(0, 1).flatten(1)
    keep = max(1, round(values.shape[1] * (1 - share)))
    found, most = values.kthvalue(keep, dim=1).values, values.amax(dim=1)
    for unit in (found == most).nonzero()[:, 0].tolist():  # it rests at its highest value in more places than that
        below = values[unit][values[unit] < most[unit]]
        if len(below):
            found[unit] = below.max()
    return found


def _checked(concepts: Mapping[str, Tensor], count: int) -> Bool[Tensor, "concepts pictures h w"]:
    sizes = {tuple(mask.shape) for mask in concepts.values()}
    wrong = [name for name, mask in concepts.items() if mask.ndim != 3 or len(mask) != count]
    if wrong or len(sizes) > 1:
        raise ValueError(
            f"masks are {count} x h x w, one for each picture and all of one size; got "
            + ", ".join(f"{name}: {tuple(mask.shape)}" for name, mask in concepts.items())
        )
    masks = torch.stack([mask > 0.5 if mask.is_floating_point() else mask.bool() for mask in concepts.values()])
    nowhere = [name for name, mask in zip(concepts, masks, strict=True) if not bool(mask.any())]
    if nowhere:
        raise ValueError(
            f"no picture shows {', '.join(nowhere)}: its masks are empty; leave it out or give other pictures"
        )
    return masks
