"""The command line: every verb is one call of the library; `commands/` holds them by group."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer
from pydantic import ValidationError

from concept_edit.commands import corpus, evaluate, export, facts, generate, page, release, show, solve, tasks, trace
from concept_edit.notes import Note
from concept_edit.recipe import explain

app = typer.Typer(
    name="concept-edit",
    help="Erase, moderate and balance concepts of text-to-image models in closed form.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (solve, show, generate, export, evaluate, release, page, corpus, facts, trace, tasks):
    group.register(app)

_STOPPED = 130
"""Exit code after Ctrl-C."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 2 for bad input, 130 for Ctrl-C."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", Note)
            warnings.showwarning = _note  # type: ignore[assignment]
            result = app(list(arguments) or ["--help"], standalone_mode=False)
        code = result if isinstance(result, int) else 0
        return _fail("stopped", code) if code == _STOPPED else code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped", _STOPPED)
    except ValidationError as error:
        return _fail(explain(error))
    except (ValueError, OSError) as error:
        return _fail(_plain(error))
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _fail(error.format_message())


def main() -> None:
    """The `concept-edit` program."""
    sys.exit(run(sys.argv[1:]))


def _fail(message: str, code: int = 2) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _plain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _note(message: Warning | str, *_: Any) -> None:
    print(f"note: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
