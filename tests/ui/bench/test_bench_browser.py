"""The errands in a real browser: by keyboard alone, in both themes and sizes, judged by an accessibility checker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

WAIT = 90_000
CARDS = ("", "style", "suppress", "balance", "slide", "lamp", "relight", "expert")


@pytest.fixture(params=[("light", 1400, 1000), ("dark", 390, 844)], ids=["light-wide", "dark-phone"])
def page(request: Any, browser: Any, server: str) -> Iterator[Any]:
    theme, width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    opened = context.new_page()
    opened.set_default_timeout(WAIT)
    yield opened
    context.close()


def show(page: Any, server: str, card: str) -> None:
    page.goto(f"{server}?do={card}" if card else server)
    page.locator(f"#{card}-run:visible, #home a:visible, #solve:visible").first.wait_for()


@pytest.mark.parametrize("card", CARDS)
def test_no_serious_violation_and_nothing_wider_than_the_screen(page, server, card):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    show(page, server, card)
    found = axe.Axe().run(page).response["violations"]
    heavy = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert heavy == []
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0


def test_a_style_goes_by_keyboard_alone(browser, server):
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(WAIT)
    page.goto(server)
    page.locator("#home a").first.wait_for()
    page.locator("#home a").first.focus()
    page.keyboard.press("Enter")
    page.locator("#style-run").wait_for()
    assert page.url.endswith("?do=style")
    page.locator("#style-words textarea, #style-words input").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "style-run"
    page.keyboard.press("Enter")
    page.locator("#style-make-lora:not([disabled])").wait_for()
    verdict = page.locator("#style-verdict")
    assert "gone in 2 of 2 pictures" in verdict.inner_text()
    page.locator("#style-pairs figure").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert dialog.locator("img").count() == 2
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.evaluate("document.activeElement.tagName") == "FIGURE"
    page.locator("#style-words textarea, #style-words input").fill("cat")
    verdict.get_by_text("The fields say something else now").wait_for()
    page.locator("#style-undo").focus()
    page.keyboard.press("Enter")
    verdict.get_by_text("The original model: nothing is changed.").wait_for()
    page.context.close()


def test_the_lamp_goes_off_in_two_clicks(browser, server):
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(WAIT)
    page.goto(server)
    page.locator("#home a[data-do=lamp]").click()
    page.locator("#lamp-run").click()
    page.locator("#lamp-others:not([disabled])").wait_for()
    assert "Good." in page.locator("#lamp-verdict").inner_text()
    shown = page.locator("#lamp-canvas .result")
    shown.wait_for()
    page.locator("#lamp-canvas .fade").focus()
    page.keyboard.press("Home")
    assert "100%" in page.locator("#lamp-canvas .says").inner_text()
    page.context.close()


def test_a_second_press_stops(browser, server):
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{server}?do=style")
    page.locator("#style-run").wait_for()
    page.get_by_text("Choose the pictures").locator("visible=true").click()
    page.locator("#style-steps input").fill("200")
    page.locator("#style-run").click()
    page.locator("#style-run", has_text="Stop").wait_for()
    page.locator("#style-run").click()
    page.locator("#style-note").get_by_text("Stopped.").wait_for()
    page.locator("#style-run", has_text="Take it out").wait_for()
    page.locator("#style-steps input").fill("2")
    page.locator("#style-run").click()
    page.locator("#style-make-lora:not([disabled])").wait_for()
    page.locator("#style-past .steps button").nth(1).wait_for()
    page.locator("#style-undo").click()
    page.locator("#style-past").get_by_text("Step 0 of").wait_for()
    page.locator("#style-past .steps button").nth(1).click()
    page.locator("#style-past").get_by_text("Step 1 of").wait_for()
    page.context.close()
