"""Recipes as YAML text: read strictly, and every complaint told with its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from concept_edit.asked.items import KINDS
from concept_edit.reading.plain import sentence, short
from concept_edit.reading.yaml_text import read_yaml


def parsed(text: str, name: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """The keys of a YAML text, and its tree, which knows the lines; `name` is how messages call it.

    Raises:
        ValueError: as `read_yaml`, or no mapping; the message names the line.
    """
    data, tree = read_yaml(text, name)
    if data is not None and not isinstance(data, dict):
        raise ValueError(f"{name}, line 1: expected keys such as 'edits:' and 'preserve:', got a {type(data).__name__}")
    return data or {}, tree


def explain(error: ValidationError) -> str:
    """The first complaint of a failed check, in one sentence: where, what is wrong, what was given."""
    first = error.errors(include_url=False)[0]
    where = sentence(".".join(str(part) for part in first["loc"] if part not in KINDS))
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {short(first['loc'][-1])}"
    if first["type"] == "value_error":
        told = sentence(first["ctx"]["error"])
        return f"{where}: {told}" if where else told
    return f"{where or 'value'}: {sentence(first['msg'])} (got {short(first['input'])})"


def line_of(node: yaml.Node | None, location: Sequence[str | int]) -> int:
    """The line (from 1) of the deepest part of `location`, as pydantic names it, that the file holds."""
    line = node.start_mark.line if node else 0
    for place, part in enumerate(location):
        names_the_kind = part in KINDS and place + 1 < len(location)
        if isinstance(node, yaml.MappingNode) and not names_the_kind:
            key, value = next(((k, v) for k, v in node.value if k.value == str(part)), (None, None))
            if key is not None:
                node, line = value, key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1
