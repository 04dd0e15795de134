"""Tables of comma-separated values from strangers: concepts, captions, prompts with seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from concept_edit.reading.plain import sentence


def csv_table(text: str, name: str) -> tuple[tuple[str, ...], Iterator[tuple[int, dict[str, str]]]]:
    """The columns of a CSV, and line number and cells by column of each row; what a short row lacks is ''.

    Raises:
        ValueError: not CSV (also while the rows are read); the message names the line.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    try:
        columns = tuple(column for column in reader.fieldnames or () if column)
    except csv.Error as error:
        raise ValueError(f"{name}, line 1: not CSV ({sentence(error)})") from None
    return columns, _rows(reader, name)


def named(columns: tuple[str, ...]) -> str:
    """Columns as a message names them."""
    return sentence(", ".join(columns)) or "nothing"


def _rows(reader: csv.DictReader[str], name: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if isinstance(key, str)}
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: not CSV ({sentence(error)})") from None
