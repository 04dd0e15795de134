"""The example of the page's API runs, and every errand's arguments have names a person can write."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import httpx
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "page_api.py"


def test_the_example_runs(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("page_api", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.main(server, steps=4)
    assert [each["role"] for each in found["result"]["pictures"]].count("word") == 2
    assert Path(found["lora"]).stat().st_size > 1000
    assert len(found["pictures"]) == 2 * len(found["result"]["pictures"])
    assert "did you mean Twemoji?" in capsys.readouterr().out


def test_arguments_of_the_errands_have_names_and_defaults(server: str) -> None:
    endpoints = httpx.get(f"{server}gradio_api/info").json()["named_endpoints"]
    for name in ("/style", "/suppress", "/balance_people", "/slide", "/lamp", "/relight", "/fact"):
        given = endpoints[name]["parameters"]
        assert [each["parameter_name"] for each in given if each["parameter_name"].startswith("param_")] == [], name
        assert all(each["parameter_has_default"] for each in given), name
        answers = [each["label"] for each in endpoints[name]["returns"]]
        assert not [label for label in answers if label.startswith("value_")], (name, answers)
