"""Two tiny language models: one that knows a world of facts, one that learns tasks from examples.

`folder("facts")` and `folder("tasks")` are folders that transformers opens. What the first was told is
`facts.truths()`, with a list of facts to rewrite in `rewrites()`; what the second was shown is `tasks.skills()`. How
they were made: `concept_edit/demo/training/`; what they reach: the README.md in each folder.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from concept_edit.demo.language.requests import rewrites as rewrites
from concept_edit.demo.language.tasks import skills as skills

WEIGHTS = Path(__file__).parent / "weights"
Part = Literal["facts", "tasks"]


def folder(part: Part, *, verify: bool = True) -> Path:
    """The embedded model that knows ("facts") or that learns from examples ("tasks").

    Every file is checked against its SHA-256 (once per process) unless `verify` is off.

    Raises:
        ValueError: no such model, or a file that is missing or damaged; the message names it.
    """
    if part not in ("facts", "tasks"):
        raise ValueError(f"{part!r} is no embedded language model; expected facts or tasks")
    if not (WEIGHTS / part).is_dir():
        raise ValueError(f"this version ships no embedded model of {part}; name another model, such as smollm2")
    if verify:
        _verify(WEIGHTS / part)
    return WEIGHTS / part


@cache
def _verify(root: Path) -> None:
    from concept_edit.demo import verify_checksums

    verify_checksums(root)
