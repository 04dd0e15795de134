"""The result of a ranking: raw sums per unit and image, and every score, label and table that follows from them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from styles.files import whole

if TYPE_CHECKING:
    import pandas

LABELS = ("light", "warmth", "shape")
SCORES = ("score", "in_sum", "in_mean", "out_mean", "share", "contrast", "d_luma", "d_warmth", "darkens")


@dataclass(frozen=True)
class Row:
    """One unit's scores for one mask, as means over the images; changes are those that zeroing the unit makes."""

    layer: str
    channel: int
    score: float
    """in_mean · contrast^γ, less the mean change of protected pixels."""
    in_mean: float
    """Mean |change| of a pixel inside the mask (display values, which span 2)."""
    out_mean: float
    share: float
    """Part of the whole change that lies inside the mask."""
    contrast: float
    """in_mean / (in_mean + out_mean)."""
    d_luma: float
    """Signed mean change of luminance inside the mask: negative for a unit that gives light."""
    d_warmth: float
    """Signed mean change of (red + green) / 2 - blue inside the mask."""
    darkens: float
    """"Darkens the mask, leaves the rest": how much darker the mask gets, less the mean |change| of a pixel outside."""
    label: str
    """"light" or "warmth" when the change inside an image's mask has one sign, else "shape" (it moves or resizes)."""
    consistency: float
    """mean / (mean + standard deviation) of the score over the images: 1 when all agree."""
    exact: bool
    """True when the unit was really ablated, False for the estimate of the gradient probes."""
    shares: dict[str, float]
    """The share of every named mask."""


@dataclass(frozen=True)
class Ranking:
    """All units with their raw sums.

    `sums` holds, per unit and image, Σ M D for each mask, Σ D over all counted pixels, Σ D over protected pixels, then
    Σ M Δluma and Σ M Δwarmth for each mask, with D = mean_c |I - I_u|.
    """

    units: tuple[tuple[str, int], ...]
    masks: tuple[str, ...]
    sums: Float[Tensor, "units images columns"]
    areas: Float[Tensor, "images weights"]
    """Σ M of each mask, counted pixels, protected pixels."""
    exact: Bool[Tensor, " units"]
    mode: str
    gamma: float = 0.0
    screen: str = "none"
    resolution: int = 0
    """Side of the image that was scored."""

    def __len__(self) -> int:
        return len(self.units)

    def _mask(self, mask: str | None) -> int:
        if mask is None:
            return 0
        if mask not in self.masks:
            raise ValueError(f"no mask {mask!r} in this ranking, which has {', '.join(self.masks)}.")
        return self.masks.index(mask)

    def in_sum(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """Σ M D, the lecture's score."""
        return self.sums[..., self._mask(mask)]

    def in_mean(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """in_sum per pixel of the mask."""
        return self.in_sum(mask) / self.areas[:, self._mask(mask)]

    def out_mean(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """Mean change of a counted pixel outside the mask."""
        outside = self.areas[:, len(self.masks)] - self.areas[:, self._mask(mask)]
        return (self.sums[..., len(self.masks)] - self.in_sum(mask)).clamp_min(0) / outside.clamp_min(1e-6)

    def share(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """Part of the whole change inside the mask; 0 for a unit without effect."""
        return self.in_sum(mask) / self.sums[..., len(self.masks)].clamp_min(1e-12)

    def contrast(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """in_mean / (in_mean + out_mean)."""
        inside, outside = self.in_mean(mask), self.out_mean(mask)
        return inside / (inside + outside).clamp_min(1e-12)

    def score(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """in_mean · contrast^γ - mean change of protected pixels."""
        count = len(self.masks)
        guarded = self.sums[..., count + 1] / self.areas[:, count + 1].clamp_min(1e-6)
        return self.in_mean(mask) * self.contrast(mask) ** self.gamma - guarded

    def d_luma(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """Signed mean change of luminance inside the mask when the unit is zeroed."""
        at = self._mask(mask)
        return self.sums[..., len(self.masks) + 2 + at] / self.areas[:, at]

    def d_warmth(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """Signed mean change of (red + green) / 2 - blue inside the mask when the unit is zeroed."""
        at = self._mask(mask)
        return self.sums[..., 2 * len(self.masks) + 2 + at] / self.areas[:, at]

    def darkens(self, mask: str | None = None) -> Float[Tensor, "units images"]:
        """-d_luma - out_mean: high for a unit whose zeroing darkens the mask and leaves the rest."""
        return -self.d_luma(mask) - self.out_mean(mask)

    def consistency(self, mask: str | None = None) -> Float[Tensor, " units"]:
        """mean / (mean + standard deviation) of |score| over the images."""
        score = self.score(mask)
        mean, spread = score.mean(1).abs(), score.std(1, correction=0)
        return mean / (mean + spread).clamp_min(1e-12)

    def split_half(self, mask: str | None = None) -> float | None:
        """Spearman correlation of the exact units' mean scores over even and over odd images; None for one image."""
        score = self.score(mask)[self.exact]
        if score.shape[1] < 2 or len(score) < 3:
            return None
        return spearman(score[:, ::2].mean(1), score[:, 1::2].mean(1))

    def order(self, mask: str | None = None, *, by: str = "score") -> list[int]:
        """Positions of the units, largest mean first (signed scores by size, image by image); ties stay in order."""
        if by not in SCORES:
            raise ValueError(f"units are ordered by one of {', '.join(SCORES)}, got {by!r}.")
        values: Tensor = getattr(self, by)(mask)
        sizes = (values.abs() if by.startswith("d_") else values).mean(1)
        return torch.argsort(sizes, descending=True, stable=True).tolist()

    def confirmed_depth(self, mask: str | None = None) -> int:
        """How many rows at the head of the list are exact."""
        for depth, unit in enumerate(self.order(mask)):
            if not bool(self.exact[unit]):
                return depth
        return len(self)

    def labels(self, mask: str | None = None) -> list[str]:
        """What each unit does inside the mask, from the signed means of each image."""
        size = self.in_mean(mask).mean(1).clamp_min(1e-12)
        luma, warmth = self.d_luma(mask).abs().mean(1) / size, self.d_warmth(mask).abs().mean(1) / 2 / size
        names = torch.where(torch.maximum(luma, warmth) < 0.5, 2, torch.where(warmth > luma, 1, 0))
        return [LABELS[i] for i in names.tolist()]

    def top(
        self, count: int = 20, *, mask: str | None = None, label: str | None = None, by: str = "score"
    ) -> list[Row]:
        """The first rows for a mask (the first mask when none is named), perhaps only those of one label.

        `by` orders them by another score of the row: what dims or warms the region is found best by d_luma, d_warmth,
        what dims it and leaves the rest by darkens.
        """
        if label is not None and label not in LABELS:
            raise ValueError(f"label must be one of {', '.join(LABELS)}, got {label!r}.")
        labels = self.labels(mask)
        chosen = [unit for unit in self.order(mask, by=by) if label is None or labels[unit] == label]
        return self._rows(chosen[:count], mask, labels)

    def rows(self, mask: str | None = None) -> list[Row]:
        """All units, best first."""
        return self._rows(self.order(mask), mask, self.labels(mask))

    def _rows(self, chosen: list[int], mask: str | None, labels: list[str]) -> list[Row]:
        makers = {
            "score": self.score, "in_mean": self.in_mean, "out_mean": self.out_mean, "share": self.share,
            "contrast": self.contrast, "d_luma": self.d_luma, "d_warmth": self.d_warmth, "darkens": self.darkens,
        }  # fmt: skip
        columns = {name: make(mask)[chosen].mean(1).tolist() for name, make in makers.items()}
        columns["consistency"] = self.consistency(mask)[chosen].tolist()
        shares = torch.stack([self.share(name)[chosen].mean(1) for name in self.masks], 1).tolist()
        found = []
        for i, unit in enumerate(chosen):
            layer, channel = self.units[unit]
            numbers = {name: values[i] for name, values in columns.items()}
            named = dict(zip(self.masks, shares[i], strict=True))
            found.append(Row(layer, channel, **numbers, label=labels[unit], exact=bool(self.exact[unit]), shares=named))
        return found

    def summary(self) -> dict[str, Any]:
        """How the ranking was made, and how far it is exact."""
        return {
            "mode": self.mode, "screen": self.screen, "gamma": self.gamma, "resolution": self.resolution,
            "masks": list(self.masks), "images": self.sums.shape[1], "units": len(self),
            "confirmed": int(self.exact.sum()), "confirmed_depth": self.confirmed_depth(),
            "split_half": self.split_half(),
        }  # fmt: skip

    def to_json(self, mask: str | None = None) -> str:
        """Summary and rows."""
        return json.dumps({**self.summary(), "rows": [asdict(row) for row in self.rows(mask)]}, indent=1)

    def to_csv(self, mask: str | None = None) -> str:
        """One line per unit; a share column per mask."""
        text = io.StringIO()
        names = [field.name for field in fields(Row) if field.name != "shares"]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*names, *(f"share_{name}" for name in self.masks)])
        for row in self.rows(mask):
            writer.writerow([*(getattr(row, name) for name in names), *row.shares.values()])
        return text.getvalue()

    def to_pandas(self, mask: str | None = None) -> pandas.DataFrame:
        """The CSV's columns as a data frame."""
        try:
            import pandas
        except ImportError:
            raise ValueError("pandas is not installed; `pip install pandas`, or use to_csv or to_json.") from None
        return pandas.read_csv(io.StringIO(self.to_csv(mask)))

    def save(self, path: str | Path, *, mask: str | None = None) -> None:
        """Write the table as .json or .csv."""
        target = Path(path)
        if target.suffix not in (".json", ".csv"):
            raise ValueError(f"a ranking is saved as .json or .csv, got {target.name!r}.")
        text = self.to_json(mask) if target.suffix == ".json" else self.to_csv(mask)
        with whole(target) as part:
            part.write_text(text, encoding="utf-8")


def spearman(first: Float[Tensor, " units"], second: Float[Tensor, " units"]) -> float:
    """Rank correlation (ties by position)."""
    ranks = torch.stack([first.double().argsort().argsort(), second.double().argsort().argsort()]).double()
    return float(torch.corrcoef(ranks)[0, 1])
