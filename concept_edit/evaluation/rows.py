"""What is painted: prompts with seeds, from a CSV or from code. The picture's file name is a function of the row."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from concept_edit.reading.lists import csv_table, named
from concept_edit.reading.plain import read_text, short

GROUPS = ("edited", "near", "unrelated", "balanced")
"""Prompts of changed concepts, of their neighbours, of anything else, and of concepts to balance."""
_SEEDS = ("evaluation_seed", "sd_seed", "seed")
_CONCEPTS = ("concept", "class", "artist")
_MOST = 1 << 28
"""Bytes of a file of prompts: a million of them."""


@dataclass(frozen=True)
class Row:
    """One picture to paint."""

    prompt: str
    seed: int
    group: str = "unrelated"
    """One of `GROUPS`."""
    concept: str = ""
    """What the picture should show when nothing is changed; '' where nobody said."""
    subject: str = ""
    """The concept of the recipe that this row is about, for rows of changed concepts."""

    @property
    def file(self) -> str:
        """File name of its picture: the prompt's first words and a hash of prompt and seed."""
        words = re.sub(r"[^a-z0-9]+", "-", self.prompt.lower()).strip("-")[:40].strip("-")
        stamp = hashlib.sha256(f"{self.seed}\n{self.prompt}".encode()).hexdigest()[:16]
        return f"{words or 'empty'}.{stamp}.png"


def rows_from(
    prompts: Iterable[str], seeds: Sequence[int], *, group: str = "unrelated", concept: str = ""
) -> list[Row]:
    """Every prompt with every seed."""
    return [Row(prompt, seed, group, concept) for prompt in prompts for seed in seeds]


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Rows of a CSV with a `prompt` column and one of seeds: UCE, ESD, SLD, I2P and COCO-30k files, as they are.

    Seeds stand under `evaluation_seed`, `sd_seed` or `seed`; what a picture should show under `concept`, `class` or
    `artist`, and the set it belongs to under `group`, where the file has them.

    Raises:
        ValueError: a column is missing, a seed is no whole number, no row; file and line are named.
        OSError: the file cannot be read.
    """
    name = Path(path).name
    columns, records = csv_table(read_text(path, most=_MOST), name)
    seed = next((column for column in _SEEDS if column in columns), None)
    if "prompt" not in columns or seed is None:
        raise ValueError(f"{name}: expected the columns prompt and evaluation_seed, found {named(columns)}")
    concept = next((column for column in _CONCEPTS if column in columns), "")
    rows = [_row(record, seed, concept, f"{name}, line {line}") for line, record in records]
    if not rows:
        raise ValueError(f"{name} has no rows; write one prompt a line")
    return rows


def _row(record: Mapping[str, str], seed: str, concept: str, where: str) -> Row:
    text, group = (record.get(seed) or "").strip(), (record.get("group") or "").strip() or "unrelated"
    if group not in GROUPS:
        raise ValueError(f"{where}: the group {short(group)} is none of {', '.join(GROUPS)}")
    try:
        number = int(float(text)) if re.fullmatch(r"\d+\.0+", text) else int(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: the seed {short(text)} is no whole number") from error
    if number < 0:
        raise ValueError(f"{where}: the seed {number} is below 0")
    named = (record.get(concept) or "").strip() if concept else ""
    return Row(record["prompt"] or "", number, group, named, named if group == "edited" else "")


def shard(text: str) -> tuple[int, int]:
    """'2/5' as (2, 5): the second of five shares.

    Raises:
        ValueError: not of that form, or a share outside 1 ... n.
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    share, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= share <= of:
        raise ValueError(f"shard {text!r} is not of the form i/n with 1 <= i <= n, as in 2/5")
    return share, of
