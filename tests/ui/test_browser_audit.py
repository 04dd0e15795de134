"""A real browser on the Audit tab: an evaluation of few pictures, its table and report, a release, its verification."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser tests").expect
PATIENCE = 120_000
"""Milliseconds; the machine may be busy."""


@pytest.fixture
def tab(browser: Any, server: str) -> Iterator[Any]:
    """The Audit tab of a fresh page."""
    context = browser.new_context(viewport={"width": 1440, "height": 1400}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}?do=expert")
    page.get_by_role("tab", name="Audit").click()
    yield page
    context.close()


def set_number(page: Any, label: str, value: int) -> None:
    field = page.get_by_label(f"number input for {label}")
    field.fill(str(value))
    field.press("Enter")


def test_evaluate_report_release_and_verify(tab: Any, tmp_path: Path) -> None:
    tab.get_by_role("button", name="Example: a style erased").click()
    tab.locator("#audit-subject", has_text="Audited: example: erase").wait_for()
    set_number(tab, "Prompts of each set", 2)
    set_number(tab, "Steps", 2)
    tab.locator("#audit-run").click()
    tab.locator("#audit-note", has_text="pictures").wait_for()
    tab.locator("#audit-note", has_text="Measured.").wait_for()

    expect(tab.locator("#audit-summary")).to_contain_text("Prompts of what was edited still show it in")
    table = tab.locator("#audit-table")
    expect(table).to_contain_text("named as its concept")
    expect(table).to_contain_text(" to ")
    with tab.expect_download() as waiting:
        tab.locator("#audit-report").click()
    waiting.value.save_as(tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "95 %" in report
    assert "data:image/png" in report

    tab.get_by_text("Release it: edit, manifest").click()
    tab.get_by_label("Decision").fill("ship it")
    tab.get_by_label("Reviewed by").fill("Ada")
    tab.locator("#audit-release").click()
    tab.get_by_text("The release's name is its manifest's hash").wait_for()
    with tab.expect_download() as waiting:
        tab.locator("#audit-pack a").first.click()
    waiting.value.save_as(tmp_path / "release.zip")
    with ZipFile(tmp_path / "release.zip") as packed:
        packed.extractall(tmp_path)

    tab.get_by_text("Verify an edit: was it touched?").click()
    files = [tmp_path / name for name in ("edit.safetensors", "manifest.json", "history.jsonl")]
    tab.locator("#audit-files input[type=file]").set_input_files(files)
    tab.locator("#audit-files").get_by_text("manifest").first.wait_for()
    tab.locator("#audit-verify").click()
    tab.locator(
        "#audit-verified", has_text="Untouched: everything is what it was. 0 of 2 trusted signatures"
    ).wait_for()
    tab.get_by_text("Ada has not signed").locator("visible=true").first.wait_for()
