"""YAML from strangers: only what a recipe needs, and bounded while it is read.

Events are counted as they come, before a node is made. Aliases, tags, merge keys and keys that are no plain text have
no place in a recipe. Plain words become null, truth values, numbers or text; dates stay text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from concept_edit.reading.plain import sentence, short

MOST_CHARACTERS = 8 << 20
MOST_ENTRIES = 200_000
"""Words, numbers, lists and mappings in all; 20,000 concepts with guide and weight have 160,000."""
MOST_KEYS = 4096
"""Keys of one mapping."""
DEEPEST = 16
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: 20 times as fast."""
_PLAIN = (None, "")
"""Style of a word without quotes."""
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})")
_OTHER_BASE = re.compile(r"[-+]?0(b[01_]{1,64}|x[0-9a-fA-F_]{1,16}|[0-7_]{1,21})")
_DECIMAL = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]{1,4})?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


def read_yaml(text: str, name: str) -> tuple[Any, yaml.Node | None]:
    """The value of a YAML text, and its tree, which knows the lines; `name` is how messages call it.

    Raises:
        ValueError: too long, too many entries, too deep, an alias, a tag, a merge key, a key that stands twice or is no
            text, a second document, or not YAML; the message names the line.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{name} is longer than {MOST_CHARACTERS >> 20} MB, which no recipe needs; it was not read")
    try:
        tree = _Tree(name).built(yaml.parse(str(text), Loader=_LOADER))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        told = sentence(getattr(error, "problem", None) or error)
        raise ValueError(f"{name}{where}: not YAML ({told})") from None
    except UnicodeError as error:
        raise ValueError(f"{name}: not text that can be written ({sentence(error)})") from None
    return None if tree is None else _value(tree), tree


class _Tree:
    """Events into nodes, each event checked first."""

    def __init__(self, name: str) -> None:
        self.name, self.entries = name, 0
        self.open: list[yaml.Node] = []
        self.keys: list[yaml.ScalarNode | None] = []
        """For each open mapping the key that waits for its value."""
        self.seen: list[set[str]] = []
        self.root: yaml.Node | None = None

    def built(self, events: Iterator[yaml.Event]) -> yaml.Node | None:
        """The tree of all events."""
        for event in events:
            if isinstance(event, yaml.CollectionEndEvent):
                self.open.pop(), self.keys.pop(), self.seen.pop()
            elif isinstance(event, yaml.NodeEvent):
                self.take(event)
        return self.root

    def take(self, event: yaml.NodeEvent) -> None:
        """One word, or the start of a list or a mapping."""
        self.entries += 1
        if self.entries > MOST_ENTRIES or len(self.open) >= DEEPEST:
            most = f"{MOST_ENTRIES:,} entries" if self.entries > MOST_ENTRIES else f"{DEEPEST} levels"
            self.refuse(event, f"more than {most}, which no recipe needs")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.refuse(event, "an anchor or alias (& or *); write the value out")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.refuse(event, f"the tag {short(tag)}; write the value without it")
        node = _node(event)
        self.place(event, node)
        if isinstance(node, yaml.CollectionNode):
            self.open.append(node)
            self.keys.append(None)
            self.seen.append(set())

    def place(self, event: yaml.NodeEvent, node: yaml.Node) -> None:
        """Hang the node where it belongs."""
        parent = self.open[-1] if self.open else None
        if isinstance(parent, yaml.SequenceNode):
            parent.value.append(node)
        elif isinstance(parent, yaml.MappingNode) and self.keys[-1] is None:
            self.keys[-1] = self.key(event, node)
        elif isinstance(parent, yaml.MappingNode):
            parent.value.append((self.keys[-1], node))
            self.keys[-1] = None
        elif self.root is not None:
            self.refuse(event, "a second document; a recipe is one")
        else:
            self.root = node

    def key(self, event: yaml.NodeEvent, node: yaml.Node) -> yaml.ScalarNode:
        """A node as a key of the open mapping."""
        if not isinstance(node, yaml.ScalarNode):
            self.refuse(event, "a list or mapping as a key; keys are words")
        assert isinstance(node, yaml.ScalarNode)
        if node.value == "<<" and node.style in _PLAIN:
            self.refuse(event, "the merge key <<; write the values out")
        if node.value in self.seen[-1]:
            raise ValueError(f"{self.name}, line {node.start_mark.line + 1}: key {short(node.value)} stands twice")
        if len(self.seen[-1]) >= MOST_KEYS:
            self.refuse(event, f"more than {MOST_KEYS:,} keys in one mapping, which no recipe needs")
        self.seen[-1].add(node.value)
        return node

    def refuse(self, event: yaml.Event, what: str) -> None:
        """Say no, naming file and line."""
        mark: Any = event.start_mark
        raise ValueError(f"{self.name}, line {mark.line + 1}: {what}")


def _node(event: yaml.NodeEvent) -> yaml.Node:
    start: Any = event.start_mark
    if isinstance(event, yaml.ScalarEvent):
        return yaml.ScalarNode("", event.value, start, start, style=event.style)
    kind = yaml.SequenceNode if isinstance(event, yaml.SequenceStartEvent) else yaml.MappingNode
    return kind("", [], start, start)


def _value(node: yaml.Node) -> Any:
    """Plain data of a node; at most `DEEPEST` calls within each other."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _value(value) for key, value in node.value}
    return _scalar(node.value) if getattr(node, "style", None) in _PLAIN else node.value


def _scalar(text: str) -> Any:
    """A plain word as YAML 1.1 reads it, but for dates and numbers to base 60, which stay text."""
    if text in _WORDS:
        return _WORDS[text]
    plain = text.replace("_", "")
    if _WHOLE.fullmatch(text):
        return int(plain)
    if _OTHER_BASE.fullmatch(text) and plain.lstrip("+-") not in ("0", "0b", "0x"):
        return int(plain, 0 if plain.lstrip("+-")[1] in "bx" else 8)
    if _DECIMAL.fullmatch(text) and len(text) < 400:
        return float(plain)
    return text
