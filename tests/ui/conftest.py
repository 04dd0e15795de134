"""One workshop and one server for all tests of the page, and a real browser where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from pages import SMALL

from concept_edit.edit import Edit, solve
from ui.workshop.session import Visit, Workshop


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def visit() -> Iterator[Visit]:
    found = Visit()
    yield found
    found.close()


@pytest.fixture(scope="session")
def small_edit(workshop: Workshop) -> Edit:
    """A solved edit of two concepts."""
    return solve(workshop.model("demo"), SMALL)


@pytest.fixture(scope="session")
def app(workshop: Workshop) -> Any:
    """The page of the tests' server."""
    from ui.app import build_app

    return build_app(workshop)


@pytest.fixture(scope="session")
def server(app: Any, workshop: Workshop) -> Iterator[str]:
    """The address of the page, served in this process."""
    from ui.app import launch

    workshop.warm()
    _, url, _ = launch(app, server_name="127.0.0.1")
    yield url
    app.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium of the system."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser tests")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: no browser tests (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()
