"""Promises about names and weight: what is public, and what importing must not pull in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import concept_edit as ce

ROOT = Path(__file__).parent.parent


def test_public_names_are_complete_sorted_and_there():
    assert list(ce.__all__) == sorted(ce.__all__)
    assert set(ce.__all__) == set(ce._HOMES)
    assert all(getattr(ce, name).__name__ == name for name in ce.__all__)
    assert set(ce.__all__) <= set(dir(ce))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ce.nothing


def test_functions_stay_functions_when_their_rooms_are_imported():
    code = "import concept_edit.memory.solve, concept_edit.prompts.collect, concept_edit.diagnose, concept_edit as ce\n"
    run(code + "assert all(callable(f) for f in (ce.solve, ce.collect, ce.diagnose))")


@pytest.mark.parametrize("names", ["concept_edit", "concept_edit.recipe", "concept_edit.__main__"])
def test_importing_is_light(names):
    run(f"import sys, {names}\nassert not {{'gradio', 'diffusers', 'transformers', 'torch'}} & set(sys.modules)")


def test_the_editor_pulls_in_neither_gradio_nor_diffusers():
    run("import sys, concept_edit.edit, concept_edit.diagnose\nassert not {'gradio', 'diffusers'} & set(sys.modules)")


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(
    ("package", "others"), [("concept_edit", {"styles", "ui"}), ("styles", {"concept_edit", "ui"})]
)
def test_the_packages_do_not_know_each_other(package, others):
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & others, path


def test_diffusers_is_imported_by_the_models_only():
    for path in (ROOT / "concept_edit").rglob("*.py"):
        if not {"models", "training"} & set(path.parts) and path.name not in ("evaluate.py", "export.py"):
            assert "diffusers" not in imported(path), path
