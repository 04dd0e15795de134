"""Recipes as YAML text: read strictly, and every complaint told with its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from concept_edit.asked.items import KINDS


def parsed(text: str, name: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """The keys of a YAML text, and its tree, which knows the lines; `name` is how messages call it.

    Raises:
        ValueError: not YAML, a key that stands twice, or no mapping; the message names the line.
    """
    try:
        tree, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{name}{where}: not YAML ({getattr(error, 'problem', None) or error})") from error
    _refuse_repeated_keys(tree, name)
    if data is not None and not isinstance(data, dict):
        raise ValueError(f"{name}, line 1: expected keys such as 'edits:' and 'preserve:', got a {type(data).__name__}")
    return data or {}, tree


def explain(error: ValidationError) -> str:
    """The first complaint of a failed check, in one sentence: where, what is wrong, what was given."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in KINDS)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {first['loc'][-1]!r}"
    if first["type"] == "value_error":
        return f"{where}: {first['ctx']['error']}" if where else str(first["ctx"]["error"])
    return f"{where or 'value'}: {first['msg']} (got {first['input']!r})"


def _refuse_repeated_keys(node: yaml.Node | None, name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise ValueError(f"{name}, line {key.start_mark.line + 1}: key {key.value!r} stands twice")
            seen.add(key.value)
            _refuse_repeated_keys(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, name)


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
