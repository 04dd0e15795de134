"""The kinds of tensor files this toolkit writes: the schema of their header, and the tensors that must be there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from concept_edit.reading.schemas import (
    CorpusHeader,
    EditHeader,
    FactsHeader,
    Header,
    KeysHeader,
    StatisticsHeader,
    StatisticsPart,
)
from concept_edit.reading.tables import Want

if TYPE_CHECKING:
    from torch import Tensor

EDIT, STATISTICS, CORPUS = "concept-edit 1", "concept-edit statistics 1", "concept-edit corpus 1"
FACTS, KEYS = "concept-edit facts 1", "concept-edit keys 1"
INSIDE = "statistics."
"""What stands before the statistics' tensors in an edit file."""
_GATE_REACH = 2


class Kind(NamedTuple):
    """One kind of file."""

    title: str
    """What messages call it."""
    header: type[Header]
    wanted: Callable[[Any, Collection[str]], dict[str, Want]]
    """Header and names of the tensors -> what each should be."""
    agree: Callable[[Any, Mapping[str, Tensor], Mapping[str, int]], None]
    """Header, tensors and lengths of the axes; refuses numbers that do not fit each other."""


def _edit_wanted(header: EditHeader, names: Collection[str]) -> dict[str, Want]:
    wanted = {}
    for stream in header.counts:
        width, rank = f"{stream} width", f"{stream} rank"
        wanted[f"{stream}.left"] = Want("F32", (width, rank))
        wanted[f"{stream}.right"] = Want("F32", (rank, width))
        if any(name.startswith(f"{stream}.gate.") for name in names):
            wanted |= _gate_wanted(stream, names)
    return wanted | ({} if header.statistics is None else _statistics_wanted(header.statistics, names, INSIDE))


def _gate_wanted(stream: str, names: Collection[str]) -> dict[str, Want]:
    """Files from before gates had a second threshold, pressed rows, or a lack of nearness, lack what these need."""
    width, rows, rank, gate = f"{stream} width", f"{stream} gate rows", f"{stream} gate rank", f"{stream}.gate"
    wanted = {
        f"{gate}.sources": Want("F32", (rows, width)),
        f"{gate}.ways": Want("F32", (rows, width)),
        f"{gate}.thresholds": Want("F32", (rows,)),
        f"{gate}.mean": Want("F32", (width,)),
    }
    second = {
        f"{gate}.left": Want("F32", (width, rank)),
        f"{gate}.right": Want("F32", (rank, width)),
        f"{gate}.reach": Want("F32", (_GATE_REACH,)),
    }
    pressed = {f"{gate}.pressed": Want("F32", (width, f"{gate} pressed"))}
    lack = {f"{gate}.lack": Want("F32", ())}
    return wanted | {
        name: want
        for part in (second, pressed, lack)
        if not part.keys().isdisjoint(names)
        for name, want in part.items()
    }


def _edit_agree(header: EditHeader, tensors: Mapping[str, Tensor], lengths: Mapping[str, int]) -> None:
    concepts = len(header.recipe.get("edits", []))
    for stream, counts in header.counts.items():
        rank, width = lengths[f"{stream} rank"], lengths[f"{stream} width"]
        if counts is None and rank > width:
            raise ValueError(f"the factors of the stream {stream!r} have rank {rank} and are {width} wide")
        if counts is not None and (sum(counts) != rank or len(counts) not in (0, concepts)):
            raise ValueError(f"counts of the stream {stream!r} do not add up to its rank {rank} over {concepts} edits")
        if counts is not None and rank > width + sum(counts):
            raise ValueError(f"the factors of the stream {stream!r} have rank {rank}, more than rows were told")
        reach = tensors.get(f"{stream}.gate.reach")
        if reach is not None and float(reach[0]) <= 0:
            raise ValueError(f"the gate of the stream {stream!r} has a way of length {float(reach[0])}")
    if header.statistics is not None:
        inside = {name.removeprefix(INSIDE): value for name, value in tensors.items() if name.startswith(INSIDE)}
        _statistics_agree(header.statistics, inside, lengths)


def _statistics_wanted(header: StatisticsPart, names: Collection[str], prefix: str = "") -> dict[str, Want]:
    wanted = {}
    for stream in header.streams:
        width, start = f"{stream} width", f"{prefix}{stream}."
        for part in ("pairs", "kept"):
            rows, own = f"{stream} {part} rows", f"{start}{part}."
            wanted[f"{own}sources"] = Want("F32", (rows, width))
            wanted[f"{own}weights"] = Want("F64", (rows,))
            wanted[f"{own}owner"] = Want("I64", (rows,))
            sums = [key for key in ("moment", "cross") if f"{own}{key}" in names]
            wanted |= {f"{own}{key}": Want("F64", (width, width)) for key in sums}
        if f"{start}pairs.whole" in names:
            wanted[f"{start}pairs.whole"] = Want("BOOL", (f"{stream} pairs rows",))
        wanted[f"{start}pairs.goals"] = Want("F32", (f"{stream} pairs rows", width))
        if any(name.startswith(f"{start}around.") for name in names):
            wanted |= _around_wanted(stream, f"{start}around.", names)
            wanted[f"{start}around.mean"] = Want("F64", (width,))
            wanted[f"{start}around.fixed"] = Want("F32", (f"{stream} fixed rows", width))
            wanted[f"{start}around.ordinary"] = Want("F32", (f"{stream} ordinary rows", width))
    return wanted


def _around_wanted(stream: str, start: str, names: Collection[str]) -> dict[str, Want]:
    """The corpus as a square, or as rows and a floor in wide streams; how readers see rows where that is told."""
    width = f"{stream} width"
    rows = {f"{start}moment": Want("F32", (f"{stream} corpus rows", width)), f"{start}floor": Want("F64", ())}
    told = {f"{start}scale": Want("F64", (width,)), f"{start}lens": Want("F32", (f"{stream} seen rows", width))}
    told = {name: want for name, want in told.items() if name in names}
    common = {f"{start}common": Want("F32", (f"{stream} common rows", width))}
    common |= {f"{start}common_of": Want("I64", (f"{stream} common rows",))}
    told |= {} if common.keys().isdisjoint(names) else common
    square = {f"{start}moment": Want("F64", (width, width))}
    return (rows if f"{start}floor" in names else square) | told


def _statistics_agree(header: StatisticsPart, tensors: Mapping[str, Tensor], lengths: Mapping[str, int]) -> None:
    owners = {"pairs": len(header.recipe.get("edits", [])), "kept": len(header.recipe.get("preserve", [])) + 1}
    for stream in header.streams:
        for part, most in owners.items():
            _inside(tensors[f"{stream}.{part}.owner"], most, f"{stream}.{part}.owner")
            if bool((tensors[f"{stream}.{part}.weights"] < 0).any()):
                raise ValueError(f"{stream}.{part}.weights holds a weight below 0")
        common = tensors.get(f"{stream}.around.common_of")
        if common is not None:
            _inside(common, len(header.common), f"{stream}.around.common_of")


def _corpus_wanted(header: CorpusHeader, names: Collection[str]) -> dict[str, Want]:
    wanted = {}
    for stream in header.weights:
        width, rows = f"{stream} width", f"{stream} sampled rows"
        wanted[f"{stream}.square"] = Want("F64", (f"{stream} square rows", width))
        wanted[f"{stream}.total"] = Want("F64", (width,))
        wanted[f"{stream}.sample"] = Want("F16", (rows, width))
        wanted[f"{stream}.caption"] = Want("I64", (rows,))
    return wanted


def _corpus_agree(header: CorpusHeader, tensors: Mapping[str, Tensor], lengths: Mapping[str, int]) -> None:
    for stream in header.weights:
        if header.sampled:
            _inside(tensors[f"{stream}.caption"], len(header.sampled), f"{stream}.caption")
        square, rows = tensors[f"{stream}.square"], lengths[f"{stream} square rows"]
        if rows not in (1, lengths[f"{stream} width"]):
            raise ValueError(f"{stream}.square has {rows} rows, neither one nor as many as it is wide")
        if float((square if rows == 1 else square.diagonal()).min()) < 0:
            raise ValueError(f"{stream}.square holds a sum of squares below 0")


def _facts_wanted(header: FactsHeader, names: Collection[str]) -> dict[str, Want]:
    """Matrices differ in width, so each has axes of its own; where facts are held, a row for each."""
    wanted: dict[str, Want] = {}
    for n, matrix in enumerate(header.matrices):
        rank, into, out = (f"{n} rank", f"{n} input width", f"{n} output width")
        wanted |= {f"{matrix}:left": Want("F32", (out, rank)), f"{matrix}:right": Want("F32", (rank, into))}
        if header.mode is not None:
            wanted[f"{matrix}:keys"] = Want("F32", (len(header.facts), into))
            wanted[f"{matrix}:wanted"] = Want("F32", (len(header.facts), out))
    return wanted


def _keys_wanted(header: KeysHeader, names: Collection[str]) -> dict[str, Want]:
    return {f"layer.{n}": Want("F32", (f"{n} width", f"{n} width")) for n in header.layers}


def _nothing(header: Header, tensors: Mapping[str, Tensor], lengths: Mapping[str, int]) -> None:
    """All was said by the shapes."""


def _inside(index: Tensor, most: int, name: str) -> None:
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < most:
        raise ValueError(f"{name} points at {int(index.max())}, and there are {most}")


KINDS: Mapping[str, Kind] = {
    EDIT: Kind("edit file", EditHeader, _edit_wanted, _edit_agree),
    STATISTICS: Kind("file of statistics", StatisticsHeader, _statistics_wanted, _statistics_agree),
    CORPUS: Kind("file of a corpus", CorpusHeader, _corpus_wanted, _corpus_agree),
    FACTS: Kind("edit file of facts", FactsHeader, _facts_wanted, _nothing),
    KEYS: Kind("file of keys", KeysHeader, _keys_wanted, _nothing),
}
"""Format, as the header says it -> kind. Each room that writes a format of its own adds a row."""
