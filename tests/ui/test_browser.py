"""The page as a person sees it, in a real headless Chromium: the whole way, two people at once, a closed page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pages import until
from PIL import Image

import concept_edit as ce
from ui.workshop.session import Workshop

WAIT = 90_000
"""Milliseconds; the machine may be busy."""


@pytest.fixture
def page(browser, server) -> Iterator[Any]:
    yield from _opened(browser, server)


@pytest.fixture
def second(browser, server) -> Iterator[Any]:
    yield from _opened(browser, server)


def _opened(browser: Any, server: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1360, "height": 1000}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(WAIT)
    opened.outside = []
    opened.on("request", lambda request: opened.outside.append(request.url) if foreign(request.url, server) else None)
    opened.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    opened.goto(f"{server}?do=expert")
    opened.get_by_role("button", name="Solve and paint").wait_for()
    yield opened
    context.close()


def foreign(url: str, server: str) -> bool:
    return not url.startswith((server.rstrip("/"), "data:", "blob:"))


def steps(page: Any, count: int) -> None:
    page.locator("#steps input").fill(str(count))


def solve_example(page: Any) -> None:
    page.locator("#example-0").click()
    page.get_by_text("press Solve and paint to see it").wait_for()
    page.locator("#solve").click()
    done(page)


def done(page: Any) -> None:
    page.locator("#note").get_by_text("Done.").wait_for()


def shown(page: Any) -> tuple[np.ndarray, np.ndarray]:
    """The two pictures under the slider."""
    images = page.locator("#before-after img")
    until(lambda: images.count() >= 2)
    sources = [images.nth(i).get_attribute("src") for i in range(2)]
    loaded = [Image.open(io.BytesIO(httpx.get(source).content)).convert("RGB") for source in sources]
    return np.asarray(loaded[0], float), np.asarray(loaded[1], float)


def distance(pair: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.abs(pair[0] - pair[1]).mean())


def test_the_whole_way_of_an_artist(page, tmp_path):
    steps(page, 3)
    solve_example(page)
    whole = distance(shown(page))
    assert whole > 1

    page.get_by_label("number input for Strength").fill("0.3")
    page.keyboard.press("Enter")
    until(lambda: distance(shown(page)) < whole, 60)
    assert distance(shown(page)) > 0

    page.locator("#undo").click()
    until(lambda: distance(shown(page)) == 0, 60)
    page.locator("#redo").click()
    until(lambda: distance(shown(page)) > 0, 60)

    page.get_by_role("tab", name="Export").click()
    page.locator("#size-lora").get_by_text(re.compile("about .* kB")).wait_for()
    with page.expect_download() as download:
        page.locator("#make-lora").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "erase-twemoji-lora.safetensors"
    ce.open_model("demo").pipeline.load_lora_weights(str(path))
    assert page.outside == []


def test_two_browsers_stay_apart(page, second):
    for each in (page, second):
        steps(each, 2)
    solve_example(page)
    second.locator("#paint").click()
    done(second)
    assert distance(shown(second)) == 0
    assert second.get_by_text("1 · erase Twemoji").count() == 0
    assert distance(shown(page)) > 0
    assert page.get_by_text("1 · erase Twemoji").count() == 1


def test_cancel_stops_and_the_page_lives_on(page, workshop: Workshop):
    steps(page, 200)
    page.locator("#paint").click()
    page.locator("#note").get_by_text("Painting before").wait_for()
    page.locator("#cancel").click()
    page.locator("#note").get_by_text("Stopped.").wait_for()
    assert not workshop._line
    steps(page, 2)
    page.locator("#paint").click()
    done(page)


def test_a_page_closed_during_a_job_frees_the_lane(page, workshop: Workshop):
    steps(page, 200)
    page.locator("#paint").click()
    page.locator("#note").get_by_text("Painting before").wait_for()
    page.close()
    until(lambda: not workshop._line, 60)


def test_a_hostile_concept_is_text_and_an_empty_table_says_what_to_do(page):
    page.locator("#solve").click()
    page.get_by_text("The table is empty; add a concept").wait_for()
    concept = page.locator("#concept textarea, #concept input").first
    concept.fill("<img src=x onerror=alert(1)>")
    concept.press("Enter")
    page.locator("#concepts").get_by_text("<img src=x").locator("visible=true").first.wait_for()
    steps(page, 1)
    page.locator("#solve").click()
    done(page)
    page.locator("#history").get_by_text("<img src=x").first.wait_for()


def test_a_dropped_list_fills_the_table(page, tmp_path: Path):
    page.get_by_text("Paste or drop a list").click()
    path = tmp_path / "names.csv"
    path.write_text("concept,guide\nMonet,art\nTurner,art\n")
    page.locator("#dropped input[type=file]").set_input_files(path)
    page.locator("#dropped").get_by_text("names").first.wait_for()
    page.locator("#read-list").click()
    page.locator("#aside").get_by_text("Read 2 concepts.").wait_for()
    page.locator("#concepts").get_by_text("Turner").locator("visible=true").first.wait_for()


def test_everything_has_a_name_and_the_keyboard_reaches_it(page):
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, input, textarea, select')]
      .filter(e => e.offsetParent && !(e.getAttribute('aria-label') || e.title || e.innerText.trim() || e.placeholder
        || e.labels?.length || e.closest('label'))).map(e => e.outerHTML.slice(0, 120))""")
    assert unnamed == []
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.innerText.slice(0, 30)"))
    assert {"example-0", "solve", "predict", "add"} <= reached
