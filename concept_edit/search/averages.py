"""The mean of many traces by role of token, with intervals. Each fact is kept when done: a run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.files import replace_file
from concept_edit.reading.plain import read_object
from concept_edit.search.restore import Kind
from concept_edit.search.roles import by_role
from concept_edit.search.tracing import Asked, Settings, Traced, trace_one

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

_RESAMPLES = 1000


@dataclass(frozen=True)
class Mean:
    """Over facts."""

    value: Mapping[Kind, Float[Tensor, "roles layers"]]
    low: Mapping[Kind, Float[Tensor, "roles layers"]]
    high: Mapping[Kind, Float[Tensor, "roles layers"]]
    clean: float
    corrupted: float
    facts: int
    screened: Mapping[Kind, float]
    """Mean of the facts' correlations."""


def collected(
    lm: LanguageModel,
    listed: Sequence[Asked],
    settings: Settings,
    folder: str | os.PathLike[str] | None,
    progress: bool,
) -> Mean:
    """Trace each fact that the model says itself, and average.

    Raises:
        ValueError: it says none of them.
    """
    from tqdm import tqdm

    found = []
    for asked in tqdm(listed, desc="tracing", unit="fact", disable=not progress):
        row = kept_row(lm, asked, settings, folder)
        if row["said"]:
            found.append(row)
    if not found:
        raise ValueError(f"the model answers none of the {len(listed)} facts by itself, so there is nothing to trace")
    return _mean(found, settings.kinds)


def kept_row(
    lm: LanguageModel, asked: Asked, settings: Settings, folder: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """One fact's trace, out of the folder if it is there, else done and put there."""
    if folder is None:
        return _row(lm, asked, settings)
    path = Path(folder) / f"{_name(lm, asked, settings)}.json"
    if path.is_file():
        return read_object(path, finite=False)
    row = _row(lm, asked, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(row).encode())
    return row


def _row(lm: LanguageModel, asked: Asked, settings: Settings) -> dict[str, Any]:
    """What is kept of one trace; of a fact the model does not say, only that."""
    if not said_first(lm, asked):
        return {"said": False}
    one: Traced = trace_one(lm, asked, settings)
    effects = {kind: by_role(table, one.roles).tolist() for kind, table in one.effects.items()}
    told = {"said": one.said, "clean": one.clean, "corrupted": one.corrupted, "screened": dict(one.screened)}
    return {"prompt": asked.prompt, "answer": one.answer, "effects": effects} | told


def said_first(lm: LanguageModel, asked: Asked) -> bool:
    """Whether the model's likeliest next token begins the answer; true where no answer was given."""
    from concept_edit.language.runs import embed
    from concept_edit.search.tracing import first_token, pair_says

    wanted = first_token(lm, asked)
    return wanted is None or pair_says(lm, embed(lm, lm.encode([asked.prompt]).ids)) == wanted


def _name(lm: LanguageModel, asked: Asked, settings: Settings) -> str:
    """Of the model, the fact and how it is traced: another of these is another file."""
    text = json.dumps([lm.fingerprint, asdict(asked), asdict(settings)], sort_keys=True)
    return sha256(text.encode()).hexdigest()[:24]


def _mean(found: Sequence[Mapping[str, Any]], kinds: Sequence[Kind]) -> Mean:
    value: dict[Kind, Tensor] = {}
    low: dict[Kind, Tensor] = {}
    high: dict[Kind, Tensor] = {}
    screened: dict[Kind, float] = {}
    draws = np.random.default_rng(0).integers(len(found), size=(_RESAMPLES, len(found)))
    for kind in kinds:
        tables = np.array([row["effects"][kind] for row in found], dtype=np.float64)
        value[kind] = torch.from_numpy(_nanmean(tables))
        means = np.stack([_nanmean(tables[draw]) for draw in draws])
        few = np.isfinite(tables).sum(axis=0) < 2
        with np.errstate(all="ignore"):
            ends = np.nanpercentile(np.where(few, 0.0, means), [2.5, 97.5], axis=0)
        low[kind] = torch.from_numpy(np.where(few, -np.inf, ends[0]))
        high[kind] = torch.from_numpy(np.where(few, np.inf, ends[1]))
        told = [row["screened"][kind] for row in found if kind in row["screened"]]
        screened |= {kind: float(np.nanmean(told))} if told else {}
    clean, corrupted = (float(np.mean([row[side] for row in found])) for side in ("clean", "corrupted"))
    return Mean(value, low, high, clean, corrupted, len(found), screened)


def _nanmean(tables: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is there; NaN where nothing is."""
    there = np.isfinite(tables)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, tables, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
