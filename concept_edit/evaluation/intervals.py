"""Figures with their uncertainty: a number alone is not a measurement.

Proportions have Wilson's score interval, means and ratios a bootstrap over pictures, distances between sets of pictures
a jackknife over groups of them. All at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""
_RESAMPLES = 2000
_GROUPS = 20


@dataclass(frozen=True)
class Figure:
    """One measured figure with its 95 % interval."""

    name: str
    """What was measured."""
    group: str
    """The prompts it was measured on: `edited`, `near`, `unrelated`, `balanced`, or one concept."""
    side: str
    """`before`, `after`, or `paired` where both enter."""
    value: float
    low: float
    high: float
    n: int
    """Pictures, or pairs of pictures, that entered."""
    instrument: str
    """What measured it, with its version."""
    method: str
    """How the interval was made."""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), which holds for few pictures and for shares near 0 and 1."""
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no proportion")
    if n == 0:
        return 0.0, 1.0
    share, square = hits / n, Z * Z
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return (0.0 if hits == 0 else centre - half), (1.0 if hits == n else centre + half)


def bootstrap(
    values: Float[np.ndarray, "n columns"], statistic: Callable[[np.ndarray], float], *, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of `statistic` over resampled rows; the same rows give the same interval."""
    if len(values) < 2:
        return -math.inf, math.inf
    rng = np.random.default_rng(seed)
    draws = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(_RESAMPLES)]
    finite = [draw for draw in draws if math.isfinite(draw)]
    if not finite:
        return -math.inf, math.inf
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def jackknife(n: int, statistic: Callable[[np.ndarray], float]) -> tuple[float, float, float]:
    """Value of `statistic(indices)` on all of `n` items, with a 95 % interval from leaving groups of them out.

    A bootstrap would repeat items, which distances between sets mistake for likeness.
    """
    whole = statistic(np.arange(n))
    groups = [group for group in np.array_split(np.random.default_rng(0).permutation(n), min(_GROUPS, n)) if len(group)]
    if len(groups) < 2:
        return whole, -math.inf, math.inf
    parts = np.array([statistic(np.setdiff1d(np.arange(n), group)) for group in groups])
    count = len(groups)
    error = math.sqrt((count - 1) / count * float(((parts - parts.mean()) ** 2).sum()))
    return whole, whole - Z * error, whole + Z * error


def proportion(hits: Sequence[bool]) -> tuple[float, float, float]:
    """Share of true answers with its interval; NaN for no answer."""
    if not hits:
        return math.nan, 0.0, 1.0
    return sum(hits) / len(hits), *wilson(sum(hits), len(hits))


def mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean with its interval."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    return float(column.mean()), *bootstrap(column, lambda rows: float(rows.mean()))


def ratio(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """Σ after / Σ before over paired pictures, with its interval."""
    rows = np.stack([np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)], axis=1)
    return _ratio(rows), *bootstrap(rows, _ratio)


def _ratio(rows: np.ndarray) -> float:
    before, after = rows.sum(axis=0)
    return float(after / before) if before else math.nan
