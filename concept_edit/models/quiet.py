"""Loading without the libraries' progress bars: library code prints nothing, a command shows its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Hold back the progress bars of transformers and diffusers, or of those named, and give them back as they were."""
    libraries = [import_module(f"{name}.utils.logging") for name in names or ("diffusers", "transformers")]
    shown = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, was_shown in zip(libraries, shown, strict=True):
            if was_shown:
                library.enable_progress_bar()
