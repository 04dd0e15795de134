"""Small whole files of every kind, and seeded damage to them."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import concept_edit as ce
from concept_edit.memory.gate import Gate
from concept_edit.memory.guard import Surroundings
from concept_edit.memory.solve import Factors
from concept_edit.prompts.corpus import Moments
from concept_edit.prompts.stats import Rows, Stream

WIDTH = 6
RECIPE = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art"), ce.Moderate("apple")], preserve=["Monet"], method="uce")
NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 3, 1 << 70, 0.5, -1e308, float("inf"), float("nan"), "", "x", "\ud800", "9" * 5000, [], {}, [[]],
    [None], [-1], ["x"] * 30_000, {"text": None}, {"x": {"x": {"x": 1}}}, json.loads("[" * 100 + "]" * 100),
)  # fmt: skip
"""What a header may hold where something else belongs."""
WORDS = (
    b"[",
    b"]",
    b"{",
    b"}",
    b"&a ",
    b"*a",
    b"!!float ",
    b"<<: ",
    b"- ",
    b": ",
    b"\n",
    b"\xff",
    b"\x00",
    b'"',
    b"1e999",
)


def statistics() -> ce.Statistics:
    """Of two concepts, one kept prompt and a corpus, in one stream."""
    g = torch.Generator().manual_seed(0)

    def rows(n: int) -> torch.Tensor:
        return torch.randn(n, WIDTH, generator=g)

    pairs = Rows(rows(2), rows(2), torch.ones(2, dtype=torch.float64), torch.tensor([0, 1]))
    kept = Rows(rows(1), None, torch.ones(1, dtype=torch.float64), torch.tensor([0]))
    around = Surroundings(
        torch.eye(WIDTH, dtype=torch.float64), rows(1)[0].double(), rows(1), rows(3),
        common=rows(3), common_of=torch.tensor([0, 0, 1]),
    )  # fmt: skip
    return ce.Statistics(RECIPE, {"text": Stream(pairs, kept, around)}, "tiny", "f" * 64, {}, "c", ("bee", "bus"))


def edit(*, gated: bool = False) -> ce.Edit:
    """With its statistics, and a gate in place of factors where `gated`."""
    rank, counts = (0, ()) if gated else (2, (1, 1))
    g = torch.Generator().manual_seed(1)
    factors = Factors(torch.randn(WIDTH, rank, generator=g), torch.randn(rank, WIDTH, generator=g))
    ways = torch.randn(2, WIDTH, generator=g)
    gate = Gate.read(
        {"sources": ways, "ways": ways.clone(), "thresholds": torch.tensor([0.8, 0.9]), "mean": ways[0].clone()}
    )
    return ce.Edit(
        RECIPE, {"text": factors}, {"text": counts}, "tiny", "f" * 64, statistics(), "0.1.0",
        gates={"text": gate} if gated else {}, predicted={"text": {"left": 0.2}},
    )  # fmt: skip


def corpus() -> ce.Corpus:
    """Of two captions."""
    square, total = torch.eye(WIDTH, dtype=torch.float64), torch.ones(WIDTH, dtype=torch.float64)
    moments = Moments(square, total, 4.0, torch.ones(3, WIDTH).half(), torch.tensor([0, 0, 1]))
    return ce.Corpus({"text": moments}, 2, ("a dog", "a cat"), "tiny", "f" * 64)


def parts_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file and its data."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(table: dict[str, Any], data: bytes) -> bytes:
    """A safetensors file of a header and data, whatever they are."""
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + data


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the toolkit's own header inside a safetensors file."""
    table, data = parts_of(path)
    own = json.loads(table["__metadata__"]["concept_edit"])
    change(own)
    table["__metadata__"]["concept_edit"] = json.dumps(own)
    path.write_bytes(joined(table, data))


def with_nasty(value: Any, rng: random.Random) -> Any:
    """The same data with something nasty in one place."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {name: part for name, part in value.items() if name != key}
        return value | {key: with_nasty(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], with_nasty(value[at], rng), *value[at + 1 :]]
    return rng.choice(NASTY)


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled, or words of the format put in."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 40)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            data[at:at] = rng.choice(WORDS) * rng.choice((1, 1, 2000))
        else:
            del data[at:]
    return bytes(data)


def damaged_tensors(path: Path, rng: random.Random) -> bytes:
    """A safetensors file whose own header, table of contents, or bytes are damaged."""
    table, data = parts_of(path)
    kind = rng.randrange(4)
    if kind == 0:
        return damaged(path.read_bytes(), rng)
    if kind == 1:
        own = with_nasty(json.loads(table["__metadata__"]["concept_edit"]), rng)
        table["__metadata__"]["concept_edit"] = json.dumps(own)
    elif kind == 2:
        name = rng.choice(sorted(table.keys() - {"__metadata__"}))
        about = table.pop(name)
        about["shape"] = rng.choice((about["shape"][::-1], [*about["shape"], 1], about["shape"][1:], [1 << 40, 0]))
        about["dtype"] = rng.choice((about["dtype"], "I32", "F16", "F8_E4M3", "BOOL", "U64"))
        table[rng.choice((name, name, "other.left", name + "x", "text.gate.ways"))] = about
    else:
        spoilt = bytearray(data)
        at = rng.randrange(0, len(data) - 8, 4)
        spoilt[at : at + 4] = rng.choice((b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff", b"\xff\xff\xff\xff"))
        data = bytes(spoilt)
    return joined(table, data)


def told(read: Callable[[], Any]) -> str:
    """'' where something is read, else the sentence it is refused with; anything else than a ValueError is an error."""
    try:
        read()
    except ValueError as error:
        text = str(error)
        assert 12 < len(text) < 900, text[:2000]
        assert "\n" not in text, text
        return text
    return ""
