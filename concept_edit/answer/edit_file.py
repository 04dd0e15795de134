"""What stands in an edit file: tensors under their names, and a header that says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from concept_edit.memory.gate import Gate
from concept_edit.memory.solve import Factors
from concept_edit.prompts.stats import Statistics
from concept_edit.reading.kinds import EDIT, INSIDE
from concept_edit.recipe import Recipe

FORMAT, STATISTICS = EDIT, INSIDE


def named_tensors(factors: Mapping[str, Factors], gates: Mapping[str, Gate]) -> dict[str, Tensor]:
    """`<stream>.left`, `<stream>.right`, and the parts of gates: `<stream>.gate.ways` and so on."""
    tensors = {f"{name}.{side}": getattr(f, side) for name, f in factors.items() for side in f._fields}
    for name, gate in gates.items():
        tensors |= {f"{name}.gate.{part}": value.contiguous() for part, value in gate._asdict().items()}
    return tensors


def fields_of(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the `Edit` in a file.

    Raises:
        KeyError, TypeError, ValueError: something is missing, or does not fit.
    """
    counts = {name: None if n is None else tuple(n) for name, n in header["counts"].items()}
    return {
        "recipe": Recipe.stored(header["recipe"]),
        "factors": _factors(tensors, counts),
        "counts": counts,
        "model": header["model"],
        "fingerprint": header["text_encoder"],
        "statistics": _statistics(tensors, header),
        "toolkit": header["toolkit"],
        "gates": _gates(tensors, counts),
        "corpus": header.get("corpus", ""),
        "predicted": header.get("predicted", {}),
    }


def _factors(tensors: Mapping[str, Tensor], streams: Mapping[str, Any]) -> dict[str, Factors]:
    factors = {name: Factors(tensors[f"{name}.left"], tensors[f"{name}.right"]) for name in streams}
    for name, (left, right) in factors.items():
        if left.shape != right.T.shape or not bool(left.isfinite().all() & right.isfinite().all()):
            raise ValueError(f"the factors of the stream {name!r} do not fit each other or hold NaN")
    return factors


def _gates(tensors: Mapping[str, Tensor], streams: Mapping[str, Any]) -> dict[str, Gate]:
    return {
        name: Gate.read({part: tensors[key] for part in Gate._fields if (key := f"{name}.gate.{part}") in tensors})
        for name in streams
        if f"{name}.gate.ways" in tensors
    }


def _statistics(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Statistics | None:
    if "statistics" not in header:
        return None
    parts = {name.removeprefix(STATISTICS): t for name, t in tensors.items() if name.startswith(STATISTICS)}
    return Statistics.read(parts, header["statistics"])
