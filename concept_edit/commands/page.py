"""The verb that serves the page. Its options are the page's own: this package does not know the page."""

from __future__ import annotations

from importlib import import_module

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    taken = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=taken, add_help_option=False)(ui)


def ui(context: typer.Context) -> int:
    """Serve the page for artists and moderators: concept-edit ui --help."""
    served = import_module("ui.__main__").program(
        list(context.args), standalone_mode=False, prog_name="concept-edit ui"
    )
    return served if isinstance(served, int) else 0
