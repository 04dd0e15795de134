"""The card in a browser: a wide photograph is painted on, relit, downloaded; wiping by keyboard; a program's calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ui.relight.work import ONE, example_room

PATIENCE = 120_000
"""Milliseconds; the machine may be busy."""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    room = example_room().resize((900, 900), Image.Resampling.BICUBIC)
    room.crop((0, 300, 900, 900)).save(tmp_path / "room.jpg", quality=95)
    return tmp_path / "room.jpg"


@pytest.mark.parametrize(("theme", "width", "height"), [("light", 1400, 900), ("dark", 390, 844)])
def test_a_photograph_is_relit_where_it_is_painted(
    browser: Any, server: str, photo: Path, tmp_path: Path, theme: str, width: int, height: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}?do=relight")
    page.locator("#relight-after .after img").first.wait_for()
    with page.expect_file_chooser() as chooser:
        page.locator("#relight-photo").click()
    chooser.value.set_files(photo)
    page.wait_for_function("document.querySelector('#relight-canvas canvas').height === 341")
    canvas = page.locator("#relight-canvas canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.02)
    x, y = box["x"] + 0.4 * box["width"], box["y"] + 0.25 * box["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 8, y + 20, steps=4)
    page.mouse.up()
    page.locator("#relight-which label", has_text=ONE).locator("input:checked").wait_for()
    page.locator("#relight-run").click()
    page.locator("#relight-make:not([disabled])").wait_for()
    assert "The painted place went from" in page.locator("#relight-verdict").inner_text()
    with page.expect_download() as waiting:
        page.locator("#relight-make").click()
    waiting.value.save_as(tmp_path / "made.jpg")
    made, source = (np.asarray(Image.open(path), float) for path in (tmp_path / "made.jpg", photo))
    assert made.shape == source.shape
    assert made[100:200, 300:420].mean() < source[100:200, 300:420].mean() - 20
    context.close()


def test_after_is_wiped_and_enlarged_by_keyboard(browser: Any, server: str) -> None:
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}?do=relight")
    figure = page.locator("#relight-after figure")
    figure.focus()
    page.keyboard.press("ArrowDown")
    assert figure.evaluate("e => e.style.getPropertyValue('--wipe')") == "25%"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert dialog.locator("img").count() == 2
    assert dialog.get_by_text("before: the photograph as it is").count() == 1
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    page.context.close()


def test_a_program_relights_a_photograph(server: str, photo: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(server, verbose=False)
    client.predict(photo=handle_file(str(photo)), api_name="/relight_photo")
    *_, figures = client.predict(fraction=0.25, api_name="/relight")
    assert figures["size"] == [900, 600]
    assert figures["brightness"][1] < figures["brightness"][0] - 0.05
    told, path = client.predict(api_name="/relight_picture")
    assert "relit-0.25.jpg is ready" in told
    with Image.open(path if isinstance(path, str) else path["value"]) as made:
        assert made.size == (900, 600)
    client.close()
