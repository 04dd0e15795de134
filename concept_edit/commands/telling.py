"""How verbs tell what they do: a bar while they work, then a sentence or one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(what: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, as the function that moves it."""
    from tqdm import tqdm

    with tqdm(desc=what, unit="picture", disable=not shown) as shows:

        def move(done: int, total: int) -> None:
            shows.total = total
            shows.update(done - shows.n)

        yield move


def say(facts: dict[str, Any], sentence: str, as_json: bool, quiet: bool) -> None:
    """What a verb did: one JSON object, one sentence, or nothing."""
    if as_json:
        print_json(facts)
    elif not quiet:
        sys.stdout.write(f"{sentence}\n")


def print_json(facts: dict[str, Any]) -> None:
    """Facts as JSON on stdout; paths as text."""
    sys.stdout.write(json.dumps(facts, ensure_ascii=False, indent=2, default=str) + "\n")
