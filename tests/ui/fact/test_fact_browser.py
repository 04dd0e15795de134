"""The fact card in a browser: the errand by mouse and by keyboard alone, the map, the phone; and a program's calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from concept_edit.language.edit import FactEdit
from ui.fact.board import opening
from ui.fact.world import examples

PATIENCE = 120_000
"""Milliseconds; the machine may be busy."""


def opened(browser: Any, server: str, **more: Any) -> Any:
    page = browser.new_page(**({"viewport": {"width": 1400, "height": 900}} | more))
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}?do=fact")
    page.locator("#fact-map td").first.wait_for()
    return page


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Any]:
    found = opened(browser, server)
    yield found
    found.close()


def verdict(page: Any) -> str:
    return str(page.locator("#fact-verdict").inner_text())


def test_the_card_opens_finished(page: Any) -> None:
    assert opening().verdict()[1] in verdict(page)
    assert page.locator("#fact-answers tbody tr").count() == len(opening().rows) + 2
    assert "Layer chosen by the trace: 0." in page.locator("#fact-why").inner_text()
    assert page.locator("#fact-sentence").inner_text().startswith("In demo, “The mother tongue of")


def test_by_mouse(page: Any, tmp_path: Path) -> None:
    fact = examples("demo")[1]
    page.locator("#fact-examples label").nth(1).click()
    page.locator("#fact-sentence").get_by_text(fact.subject).wait_for()
    page.locator("#fact-verdict .stale").wait_for()
    page.locator("#fact-run").click()
    page.locator("#fact-verdict .good, #fact-verdict .look").wait_for()
    assert "Learned in 6 of 6 wordings" in verdict(page)
    first = page.locator("#fact-answers tbody tr").nth(1)
    assert fact.old in first.locator(".before").inner_text()
    assert fact.new in first.locator(".after").inner_text()
    with page.expect_download() as waiting:
        page.locator("#fact-make-edit").click()
    waiting.value.save_as(tmp_path / "edit.safetensors")
    assert FactEdit.load(tmp_path / "edit.safetensors").facts[0].new == fact.new
    page.locator("#fact-undo").click()
    page.locator("#fact-past").get_by_text("Step 1 of 2").wait_for()
    assert page.locator("#fact-new input, #fact-new textarea").input_value() == opening().fact.new
    with page.expect_file_chooser() as choosing:
        page.locator("#fact-load").click()
    choosing.value.set_files(tmp_path / "edit.safetensors")
    page.get_by_text("The edit is open.").wait_for()
    assert page.locator("#fact-new input, #fact-new textarea").input_value() == fact.new


def test_the_strength_is_followed_by_the_verdict(page: Any) -> None:
    page.locator("#fact-strength input[type=range]").focus()
    for _ in range(16):
        page.keyboard.press("ArrowLeft")
    page.locator("#fact-verdict .bad").wait_for()
    assert "Learned in 0 of 6" in verdict(page)
    page.locator("#fact-undo").click()
    page.locator("#fact-verdict").get_by_text("The original demo").wait_for()


def test_by_keyboard_alone(page: Any) -> None:
    page.locator("#fact-prompt textarea, #fact-prompt input").focus()
    press = page.keyboard.press
    press("Control+a")
    page.keyboard.type("Estan Dranuri works as a")
    press("Tab")
    press("Control+a")
    page.keyboard.type("Estan Dranuri")
    press("Tab")
    press("Control+a")
    press("Delete")
    press("Tab")
    press("Control+a")
    page.keyboard.type("farmer")
    press("Tab")
    assert page.evaluate("document.activeElement.id") == "fact-run"
    press("Enter")
    page.locator("#fact-run", has_text="Stop").wait_for()  # before that the verdict is still the example's
    page.locator("#fact-run", has_text="Change it").wait_for()
    page.locator("#fact-verdict .good, #fact-verdict .look").wait_for()
    assert "Learned in 6 of 6 wordings" in verdict(page)
    page.locator("#fact-map td[tabindex='0']").focus()
    press("ArrowDown")
    press("End")
    press("Enter")
    page.locator("#fact-map .opened").get_by_text("After layer 4, at “Dranuri”").wait_for()
    assert page.locator("#fact-map .opened li").count() == 5
    press("ArrowUp")
    press("ArrowUp")
    press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.c") == "3"
    press("Enter")
    page.get_by_text("It will be written in layer 3").wait_for()
    assert page.locator("#fact-map th.layer.chosen").inner_text() == "3"
    page.locator("#fact-verdict .stale").wait_for()


def test_what_went_wrong_is_said_beside_the_button(page: Any) -> None:
    page.locator("#fact-subject textarea, #fact-subject input").fill("Nobody")
    page.locator("#fact-run").click()
    page.locator("#fact-note").get_by_text("does not hold “Nobody”").wait_for()
    assert page.locator("#fact-run").inner_text() == "Change it"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen_and_axe_has_no_serious_complaint(
    browser: Any, server: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(browser, server, viewport={"width": 390, "height": 844}, has_touch=True, color_scheme=scheme)
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        small = page.evaluate(
            "[...document.querySelectorAll('#fact-card button')].filter(b => b.offsetParent && b.offsetHeight < 44)"
            ".map(b => b.textContent + b.className)"
        )
        assert small == []
        found = axe.Axe().run(page, context="#fact-card").response["violations"]
        bad = [
            (each["id"], each["nodes"][0]["html"][:120]) for each in found if each["impact"] in ("serious", "critical")
        ]
        assert bad == []
    finally:
        page.close()


def test_a_program_changes_a_fact_by_names(server: str) -> None:
    client = pytest.importorskip("gradio_client")
    fact = examples("demo")[1]
    caller = client.Client(server, verbose=False)
    try:
        answer = caller.predict(prompt=fact.asked, subject=fact.subject, new=fact.new, old="", api_name="/fact")
        told = next(each for each in answer if isinstance(each, dict) and "learned" in each)
        assert told["learned"] == [6, 6]
        assert told["rows"][0]["after"] == fact.new
        assert len(told["trace"]["effects"]["mlp"]) == len(told["trace"]["tokens"])
        assert fact.old in answer
        weak = caller.predict(strength=0.2, api_name="/fact_strength")
        assert next(each for each in weak if isinstance(each, dict) and "learned" in each)["learned"] == [0, 6]
        word = caller.predict(prompt="Kessa Gorimo works as a", api_name="/fact_says")
        assert word[0] == "baker"
    finally:
        caller.close()
