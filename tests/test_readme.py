"""Every Python block of the README and of the examples' page runs as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_readme_has_python_to_run() -> None:
    assert BLOCKS


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_readme_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_the_table_of_rooms_is_the_tree() -> None:
    """Every folder of code stands in the table, and nothing that is no folder; the page's cards are one row."""
    named = set(re.findall(r"^\|[^|]*\| \[([\w/]+)/\]", README, re.M))
    folders = {path.parent for room in ("concept_edit", "styles", "ui") for path in (ROOT / room).rglob("__init__.py")}
    top = {str(folder.relative_to(ROOT)) for folder in folders if len(folder.relative_to(ROOT).parts) <= 2}
    top = {name for name in top if not name.startswith("ui/")}
    assert named == top


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", README, re.M)
    assert {"demo", "test"} <= set(targets)
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.M)] == []
