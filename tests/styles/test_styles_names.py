"""Promises about the package as a whole: its public names, and what importing it pulls in."""

from __future__ import annotations

import subprocess
import sys

import pytest

import styles


def test_public_names_are_sorted_complete_and_there() -> None:
    assert styles.__all__ == sorted(styles.__all__)
    assert set(styles.__all__) == set(styles._HOMES)
    for name in styles.__all__:
        assert getattr(styles, name).__module__.startswith("styles.")
    assert set(styles.__all__) <= set(dir(styles))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = styles.nothing


def test_import_is_light() -> None:
    """`import styles` loads no torch; using it loads neither the other packages nor the web page's libraries."""
    heavy = ("gradio", "diffusers", "transformers", "concept_edit", "ui", "pandas")
    code = (
        "import sys, styles; assert 'torch' not in sys.modules; styles.rank_units; styles.turned; "
        f"styles.load_generator; print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
