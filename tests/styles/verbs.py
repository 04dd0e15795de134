"""The command line, run in a folder as a user would."""

from __future__ import annotations

from pathlib import Path

import pytest

from styles.__main__ import main


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    """The exit code of `styles WORDS`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["styles", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
