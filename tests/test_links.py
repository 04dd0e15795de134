"""Every link and every path that a text of the project names leads somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("concept_edit", "styles", "ui", "tests", "benchmarks", "examples")
TEXTS = sorted(
    path
    for pattern in ("*.md", "benchmarks/*.md", "concept_edit/**/*.md", "styles/**/*.md", "ui/**/*.md")
    for path in ROOT.glob(pattern)
)
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")
NAMED = re.compile(rf"(?<![\w/.-])((?:{'|'.join(ROOMS)})/[\w/.-]*\w\.(?:py|md|yaml|csv|png|css|safetensors))(?![\w/])")

DOTTED = re.compile(r"(?<![\w/.-])((?:concept_edit|styles|ui)(?:\.[A-Za-z_]\w*)+)(?![\w(/])")
"""`concept_edit.prompts.collect`: a module, or a name in one."""
FILES = {"concept_edit.md"}
"""Names that look like modules and are files."""


def there(dotted: str) -> bool:
    """Whether a dotted name can be imported."""
    package, *parts = dotted.split(".")
    place, path = import_module(package), package
    for i, part in enumerate(parts):
        path = f"{path}.{part}"
        if find_spec(path) is None:
            return hasattr(place, part) and len(parts) - i <= 2
        place = import_module(path)
    return True


def headings(path: Path) -> set[str]:
    """The anchors of a Markdown file's headings, as GitHub makes them."""
    titles = re.findall(r"^#+\s+(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links(path: Path) -> Iterator[str]:
    for found in LINK.finditer(path.read_text(encoding="utf-8")):
        target = found[1] or found[2]
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    dead = []
    for target in links(path):
        place, _, anchor = target.partition("#")
        there = (path.parent / place).resolve() if place else path
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in headings(there)):
            dead.append(target)
    assert not dead


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_texts_are_there(path):
    named = NAMED.findall(path.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]
    dotted = set(DOTTED.findall(path.read_text(encoding="utf-8"))) - FILES
    assert not [name for name in dotted if not there(name)]


def test_files_and_modules_named_in_docstrings_are_there():
    dead, seen = [], 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                for name in NAMED.findall(node.value.value):
                    seen += 1
                    dead += [] if (ROOT / name).exists() else [f"{path.relative_to(ROOT)}: {name}"]
                for name in set(DOTTED.findall(node.value.value)) - FILES:
                    dead += [] if there(name) else [f"{path.relative_to(ROOT)}: {name}"]
    assert not dead
    assert seen > 10, "the pattern finds what docstrings name"


def test_a_dead_link_is_found(tmp_path):
    text = tmp_path / "page.md"
    text.write_text("# A b\n[here](page.md#a-b) [gone](gone.md) [nowhere](page.md#c)")
    with pytest.raises(AssertionError, match="gone"):
        test_links_lead_somewhere(text)
    text.write_text("see concept_edit/gone.py and concept_edit/edit.py")
    with pytest.raises(AssertionError, match="gone"):
        test_files_named_in_texts_are_there(text)
