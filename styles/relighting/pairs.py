"""Pairs of pictures for learning to relight: the same room without and with a unit edit, and a CSV that lists them.

    pairs/pairs.json   pairs/pairs.csv   pairs/without/<seed>.png   pairs/with/<seed>.png

Local Relighting of Real Scenes (Cui et al., 2022) trains on such pairs. A killed run goes on where it stopped.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from styles.files import whole
from styles.generator import Generator
from styles.pictures import to_pil
from styles.reading import parse_json, read_text
from styles.units.modulate import Statistics, UnitEdit, style_statistics

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PAIRS_FORMAT = "styles.pairs/1"
COLUMNS = ("seed", "without", "with")
SIDES = ("without", "with")


@torch.no_grad()
def write_pairs(
    model: Generator,
    edit: UnitEdit,
    seeds: Sequence[int],
    folder: str | Path,
    *,
    truncation: float = 1.0,
    class_label: int | None = None,
    mask: Float[Tensor, "h w"] | None = None,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a pair for every seed and list them in `pairs.csv`; pairs that are there already are left as they are.

    Returns how many pairs were painted now. `progress(done, total)` is called after every batch.

    Raises:
        ValueError: no seed, an edit that does not fit the generator, or a folder of another run.
        OSError: the folder cannot be written.
    """
    wanted = list(dict.fromkeys(int(seed) for seed in seeds))
    if not wanted or batch < 1:
        raise ValueError(f"give at least one seed and a batch of at least 1, got {len(wanted)} and {batch}.")
    root = Path(folder)
    _claim(root, _settings(model, edit, truncation, class_label, mask))
    there = _listed(root)
    missing = [seed for seed in wanted if seed not in there]
    statistics = style_statistics(model) if edit.how == "sigma" and missing else None
    for start in range(0, len(missing), batch):
        part = missing[start : start + batch]
        labels = None if class_label is None else [class_label] * len(part)
        w = model.map(model.sample_z(part), truncation=truncation, class_labels=labels)
        _add(root, part, _both_sides(model, edit, w, mask, statistics))
        if progress is not None:
            progress(start + len(part), len(missing))
    return len(missing)


def _both_sides(
    model: Generator, edit: UnitEdit, w: Tensor, mask: Tensor | None, statistics: Statistics | None
) -> list[tuple[Picture, Picture]]:
    without = to_pil(model.synthesize(w))
    with edit.applied(model, mask=mask, statistics=statistics):
        return list(zip(without, to_pil(model.synthesize(w)), strict=True))


def _settings(
    model: Generator, edit: UnitEdit, truncation: float, class_label: int | None, mask: Tensor | None
) -> dict[str, Any]:
    """What the pictures depend on besides the seed."""
    weights = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        weights.update(f"{name} {tuple(value.shape)}".encode())
        weights.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    turned = {key: value for key, value in asdict(edit).items() if key not in ("note", "measured")}
    region = None if mask is None else hashlib.sha256(mask.float().cpu().contiguous().numpy().tobytes()).hexdigest()
    plain = {"format": PAIRS_FORMAT, "generator": weights.hexdigest(), "edit": turned, "truncation": truncation}
    return json.loads(json.dumps({**plain, "class": class_label, "mask": region}))


def _claim(root: Path, settings: dict[str, Any]) -> None:
    """Make the folder this run's, or refuse one that holds other pairs."""
    for side in SIDES:
        (root / side).mkdir(parents=True, exist_ok=True)
    path = root / "pairs.json"
    if not path.is_file():
        return _replace(path, json.dumps(settings, indent=1) + "\n")
    try:
        found = parse_json(read_text(path), path.name)
    except ValueError:
        found = {}
    different = [key for key in settings if not isinstance(found, dict) or found.get(key) != settings[key]]
    if different:
        raise ValueError(f"{root} holds pairs of another run (another {', '.join(different)}); name another folder.")
    return None


def _listed(root: Path) -> set[int]:
    """Seeds of the pairs that are whole; the list is written anew without the others."""
    path, rows = root / "pairs.csv", []
    if path.is_file():
        try:
            read = list(csv.reader(io.StringIO(read_text(path))))
        except csv.Error as error:
            raise ValueError(f"{path} is no list of pairs ({error}); delete it, or name another folder.") from None
        rows = [r for r in read if len(r) == 3 and r[0].isdecimal() and all((root / name).is_file() for name in r[1:])]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    _replace(path, text.getvalue())
    return {int(row[0]) for row in rows}


def _add(root: Path, seeds: Sequence[int], pairs: Sequence[tuple[Picture, Picture]]) -> None:
    """Write pictures whole, then their lines."""
    with (root / "pairs.csv").open("a", encoding="utf-8", newline="") as index:
        writer = csv.writer(index, lineterminator="\n")
        for seed, pair in zip(seeds, pairs, strict=True):
            names = [f"{side}/{seed}.png" for side in SIDES]
            for name, picture in zip(names, pair, strict=True):
                with whole(root / name) as part:
                    picture.save(part, "PNG")
            writer.writerow([seed, *names])
            index.flush()


def _replace(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")
