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


def test_looking_at_an_edit_needs_no_torch(tmp_path):
    import tiny

    path = tmp_path / "e.safetensors"
    ce.solve(tiny.tiny_model("sd1"), ce.Recipe(edits=[ce.Erase("dog")], method="uce")).save(path)
    shown = f"import sys\nfrom concept_edit.__main__ import run\nassert run(['show', {str(path)!r}]) == 0\n"
    run(shown + "assert not {'torch', 'transformers'} & set(sys.modules)")


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
    """By the room of models, what trains one, and the embedded one that is a pipeline (`demo/flow`)."""
    for path in (ROOT / "concept_edit").rglob("*.py"):
        if not {"models", "training", "flow"} & set(path.parts) and path.name not in ("evaluate.py", "export.py"):
            assert "diffusers" not in imported(path), path


ROOMS = ("concept_edit", "styles", "ui")


def modules() -> dict[str, Path]:
    """Every module of the three packages, by its dotted name."""
    found = {}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def edges(paths: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules it imports anywhere in it, for types too."""
    found: dict[str, set[str]] = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & set(paths)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    found[name] |= {inner if inner in paths else node.module} & set(paths)
    return {name: targets - {name} for name, targets in found.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that reach each other: what is left when modules with no way in or no way out are taken away,
    over and over."""
    left = {name: set(targets) for name, targets in graph.items()}
    while True:
        aimed = set().union(*left.values()) if left else set()
        free = {name for name, targets in left.items() if not targets or name not in aimed}
        if not free:
            break
        left = {name: targets - free for name, targets in left.items() if name not in free}
    return [sorted(left)] if left else []


def test_no_circle_of_imports():
    paths = modules()
    found = circles(edges(paths))
    assert not found, "a circle among: " + ", ".join(str(paths[name].relative_to(ROOT)) for name in found[0])


def test_a_circle_is_found_and_named():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set(), "f": {"e"}}
    assert circles(graph) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_imports_are_absolute():
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path
