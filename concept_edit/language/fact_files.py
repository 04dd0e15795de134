"""Facts out of files: our own YAML, JSON and CSV, CounterFact's public forms, zsRE's rows and tables of a relation.

    facts:                                        # or the list itself; JSON alike; CSV: one row a fact, lists by ';'
    - subject: The Space Needle
      prompt: "{} is in the city of"
      new: Rome
      old: Seattle
      paraphrases: ["Where is {}? It is in"]
      neighbours: [["The Pike Place Market is in the city of", Seattle]]

What a row is, its keys tell: `requested_rewrite` CounterFact as ROME and MEMIT publish it; `target_new` with
`ground_truth` as EasyEdit does; `target_false` with `target_true` as the tracing set does; `src`, `alt`, `answers`
zsRE; `attribute` with `template` the known facts, whose new answer is another one of the same relation.
A mapping with `samples` and `prompt_templates` is a relation (LRE).
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from concept_edit.files import replace_file
from concept_edit.language.facts import Fact, with_neighbours
from concept_edit.reading.plain import parse_json, read_text, sentence
from concept_edit.reading.yaml_text import read_yaml

_MOST = 256 << 20
"""Bytes of a file of facts; CounterFact has 45 MB."""
_OWN = ("subject", "prompt", "new", "old", "paraphrases", "neighbours", "generation", "references", "essence")


def read_facts(path: str | os.PathLike[str], *, most: int | None = None, seed: int = 0) -> list[Fact]:
    """The facts of a file, in its order; at most `most` of them.

    `seed`: for tables without new answers, which other answer of the same relation becomes the new one.

    Raises:
        ValueError: a file that is none of these; the message names the row.
        OSError: the file cannot be read.
    """
    source = Path(path)
    text = read_text(source, most=_MOST)
    try:
        data = _parse(source, text)
        found = _relation(data, seed) if isinstance(data, Mapping) and "samples" in data else _rows(data, seed)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no file of facts ({sentence(error)}); see concept_edit.language.fact_files"
        ) from error
    return found[:most]


def save_facts(facts: Sequence[Fact], path: str | os.PathLike[str]) -> None:
    """Write YAML or, by the name's ending, JSON; `read_facts` reads the same facts.

    Raises:
        OSError: the file cannot be written.
    """
    plain = {"facts": [fact.plain() for fact in facts]}
    text = yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=120)
    if Path(path).suffix.lower() == ".json":
        text = json.dumps(plain, ensure_ascii=False, indent=1)
    replace_file(path, text.encode())


def relation_facts(table: Mapping[str, Any], *, template: str | None = None, seed: int = 0) -> list[Fact]:
    """Every pair of a relation table as a fact: new is another object of the relation, paraphrases are the other
    templates, neighbours the other subjects, those with the same object first.

    Raises:
        ValueError: a table with one object only, for which there is no other.
    """
    return _relation(table, seed, template)


def _parse(path: Path, text: str) -> Any:
    kind = path.suffix.lower()
    if kind == ".csv":
        return list(csv.DictReader(StringIO(text)))
    if kind in (".json", ".jsonl"):
        try:
            return parse_json(text, path.name, most=_MOST)
        except ValueError:
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) < 2:
                raise
            return [parse_json(line, f"line {n} of {path.name}") for n, line in enumerate(lines, start=1)]
    if kind in (".yaml", ".yml"):
        return read_yaml(text, path.name)[0]
    raise ValueError(f"{kind or 'no ending'} is not .yaml, .json, .jsonl or .csv")


def _rows(data: Any, seed: int) -> list[Fact]:
    rows = data.get("facts", data.get("data", [data])) if isinstance(data, Mapping) else data
    if not isinstance(rows, list) or not rows:
        raise ValueError("it holds no list of facts")
    if "attribute" in rows[0]:
        return _known(rows, seed)
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(_reader(row)(row))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"row {number}: {error!r}") from error
    return found


def _reader(row: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Fact]:
    """By the keys that only one form has."""
    for key, reader in (
        ("requested_rewrite", _counterfact),
        ("target_false", _tracing),
        ("target_new", _easyedit),
        ("src", _zsre),
        ("new", _own),
    ):
        if key in row:
            return reader
    raise ValueError(f"none of the known forms has the keys {', '.join(map(str, row))}")


def _own(row: Mapping[str, Any]) -> Fact:
    unknown = set(row) - set(_OWN) - {None}
    if unknown:
        raise ValueError(f"a fact has no {', '.join(sorted(map(str, unknown)))}; it has {', '.join(_OWN)}")
    held = {key: row[key] for key in _OWN if row.get(key)}
    for key in _OWN[4:]:
        if isinstance(held.get(key), str):  # a cell of CSV
            held[key] = [part.strip() for part in held[key].split(";") if part.strip()]
    if "neighbours" in held:
        held["neighbours"] = [_cell(each) for each in held["neighbours"]]
    return Fact(**held)


def _cell(neighbour: Any) -> Any:
    """In CSV a neighbour is `prompt = answer`."""
    if isinstance(neighbour, str) and " = " in neighbour:
        return tuple(part.strip() for part in neighbour.rsplit(" = ", 1))
    return neighbour


def _counterfact(row: Mapping[str, Any]) -> Fact:
    """counterfact.json and multi_counterfact.json: `requested_rewrite` with targets as {str, id}."""
    asked = row["requested_rewrite"]
    return Fact(
        asked["subject"],
        asked["prompt"],
        asked["target_new"]["str"],
        asked["target_true"]["str"],
        tuple(row.get("paraphrase_prompts", ())),
        tuple(row.get("neighborhood_prompts", ())),
        tuple(row.get("generation_prompts", ())),
    )


def _tracing(row: Mapping[str, Any]) -> Fact:
    """counterfact-tracing: one flat row, the answers with their space, `target_false` as the new one."""
    return Fact(row["subject"], row["prompt"], row["target_false"].strip(), row["target_true"].strip())


def _easyedit(row: Mapping[str, Any]) -> Fact:
    """counterfact-edit: flat, `rephrase_prompt`, `locality_prompt` with `locality_ground_truth`."""
    near, answer = row.get("locality_prompt"), row.get("locality_ground_truth")
    return Fact(
        row["subject"],
        row["prompt"],
        row["target_new"],
        row.get("ground_truth") or "",
        _listed(row.get("rephrase_prompt")),
        tuple(zip(_listed(near), _listed(answer), strict=True)) if near and answer else (),
    )


def _zsre(row: Mapping[str, Any]) -> Fact:
    """zsRE: `src` asks, `alt` is the new answer, `answers` the true ones, `loc` a question about something else."""
    near = ((row["loc"].removeprefix("nq question: "), row["loc_ans"]),) if row.get("loc_ans") else ()
    old = row["answers"][0] if row.get("answers") else ""
    return Fact(row["subject"], row["src"], row["alt"], old, _listed(row.get("rephrase")), near)


def _listed(value: Any) -> tuple[str, ...]:
    return () if not value else (value,) if isinstance(value, str) else tuple(value)


def _known(rows: Sequence[Mapping[str, Any]], seed: int) -> list[Fact]:
    """known_facts.json: subject, attribute and template; other attributes of the relation become new answers."""
    draw, relations = random.Random(seed), dict[str, set[str]]()
    for row in rows:
        relations.setdefault(row["relation_id"], set()).add(row["attribute"])
    found = []
    for row in {row["prompt"]: row for row in rows}.values():
        others = sorted(relations[row["relation_id"]] - {row["attribute"]})
        if others:
            found.append(Fact(row["subject"], row["prompt"], draw.choice(others), row["attribute"]))
    return with_neighbours(found)


def _relation(table: Mapping[str, Any], seed: int, template: str | None = None) -> list[Fact]:
    samples, templates = table["samples"], list(table["prompt_templates"])
    first = template or templates[0]
    other_ways = [other for other in [*templates, *table.get("prompt_templates_zs", ())] if other != first]
    objects = sorted({sample["object"] for sample in samples})
    if len(objects) < 2:
        raise ValueError("a relation with one object has no other to tell")
    draw, found = random.Random(seed), list[Fact]()
    for sample in {sample["subject"]: sample for sample in samples}.values():
        new = draw.choice([other for other in objects if other != sample["object"]])
        ways = tuple(dict.fromkeys(other_ways))
        found.append(Fact(sample["subject"], first, new, sample["object"], ways))
    return with_neighbours(found)
