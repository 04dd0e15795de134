"""A real browser on the Light and Audit tabs: paint over a lamp, rank, turn, see it dark; blurred until clicked."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import until
from PIL import Image

import styles
from styles.demo.renderer import SIDE, factors_of, render
from ui.expert import audit_tab
from ui.lamp import light
from ui.workshop.session import EMBEDDED, Workshop

PATIENCE = 120_000
"""Milliseconds; the machine may be busy."""


@pytest.fixture
def tab(browser: Any, server: str) -> Iterator[Any]:
    """The Light tab of a fresh page."""
    page = browser.new_page(viewport={"width": 1440, "height": 1800})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}?do=expert")
    page.get_by_role("tab", name="Light", exact=True).click()
    yield page
    page.close()


def paint_over(page: Any, mask: torch.Tensor) -> None:
    """Move the brush over the middle line of a mask, as a hand would."""
    box = page.locator("#light-canvas canvas").bounding_box()
    rows, columns = (torch.nonzero(mask > 0.5).float()[:, axis] for axis in (0, 1))
    step = box["width"] / len(mask)
    x = box["x"] + float(columns.mean()) * step
    page.mouse.move(x, box["y"] + float(rows.min() + 1) * step)
    page.mouse.down()
    page.mouse.move(x, box["y"] + float(rows.max() - 1) * step, steps=5)
    page.mouse.up()


def levels(page: Any, which: int) -> torch.Tensor:
    """Light of the result's picture before (0) or after (1), h x w from 0 to 1, as the browser got it. Linear: half of
    it is half of the light, which display values do not tell."""
    source = page.locator("#light-result img").nth(which).get_attribute("src")
    picture = Image.open(BytesIO(page.request.get(source).body())).convert("L").resize((SIDE, SIDE))
    return (torch.from_numpy(np.asarray(picture, dtype=np.float32)) / 255) ** 2.2


def shade_of(workshop: Workshop, seed: int) -> torch.Tensor:
    """Where the renderer puts the lamp of an embedded room."""
    return render(factors_of(workshop.generator(EMBEDDED).sample_z([seed]))).masks["shade"][0]


def turned(page: Any, value: float) -> torch.Tensor:
    """Light of the room after the first slider was moved."""
    before = page.locator("#light-result img").nth(1).get_attribute("src")
    field = page.locator("#light-slider-0 input[type=number]")
    field.fill(f"{value:g}")
    field.press("Enter")
    page.wait_for_function(
        "old => document.querySelectorAll('#light-result img')[1]?.src !== old", arg=before, timeout=PATIENCE
    )
    return levels(page, 1)


def test_paint_rank_turn_and_the_lamp_dims(tab: Any, workshop: Workshop, tmp_path: Path) -> None:
    seed = light.brightest_lamp(range(8))
    mask = shade_of(workshop, seed)
    tab.get_by_role("button", name="Show rooms").click()
    tab.locator("#light-rooms button").nth(seed).click()
    tab.get_by_text("Paint over the lamp.").wait_for()
    tab.locator("#light-canvas canvas").wait_for()
    tab.get_by_role("button", name="Find the units").click()
    tab.get_by_text("Nothing is marked yet").wait_for()
    paint_over(tab, mask)
    tab.get_by_role("button", name="Find the units").click()
    tab.get_by_text("units ranked on room").wait_for()
    tab.locator("#light-units img").first.wait_for()
    assert "light" in tab.locator("#light-units img").first.get_attribute("alt")
    tab.locator("#light-result img").nth(1).wait_for()
    lit, lamp = levels(tab, 0), mask > 0.5
    ends = {value: turned(tab, value) for value in (-12.0, 12.0)}
    dark = min(ends, key=lambda value: float(ends[value][lamp].mean()))
    gone = 1 - ends[dark][lamp].mean() / lit[lamp].mean()
    elsewhere = (ends[dark] - lit)[~lamp].abs().mean() / lit[~lamp].mean()
    # One unit of the many that light it; a picture gone dark as a whole would be no lamp gone out.
    assert gone > 0.2, f"{gone:.0%} of the lamp's light is gone"
    assert gone > 2 * elsewhere, f"{gone:.0%} of the lamp's light is gone, and {elsewhere:.0%} elsewhere"
    with tab.expect_download() as waiting:
        tab.locator("#light-save").click()
    waiting.value.save_as(tmp_path / "edit.json")
    assert styles.UnitEdit.load(tmp_path / "edit.json").how == "sigma"


def test_painted_by_keys_and_closed_while_it_ranks(browser: Any, server: str, workshop: Workshop) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1800})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}?do=expert")
    page.get_by_role("tab", name="Light", exact=True).click()
    page.get_by_role("button", name="Show rooms").click()
    page.locator("#light-rooms button").nth(2).click()
    page.get_by_text("Paint over the lamp.").wait_for()
    page.locator("#light-canvas canvas").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Find the units").click()
    page.get_by_text("Switching units off").wait_for()
    page.close()
    until(lambda: not workshop._line, seconds=60)
    assert not workshop.generator(EMBEDDED).edited


def test_moderated_pictures_are_blurred_until_clicked_or_the_space_key(browser: Any) -> None:
    from concept_edit.evaluation import Row
    from concept_edit.evaluation.page import grid
    from concept_edit.evaluation.pairs import Pair

    png = BytesIO()
    Image.new("RGB", (8, 8), "red").save(png, "PNG")
    pairs = [Pair(Row("a bomb", seed), png.getvalue(), png.getvalue(), True) for seed in (1, 2)]
    page = browser.new_page()
    page.set_content(f"<style>{audit_tab._STYLE}</style><div class='shown'>{grid(pairs)}</div>")

    def blur(which: int) -> str:
        return page.locator(".pair").nth(which).evaluate("e => getComputedStyle(e).filter")

    assert [blur(0), blur(1)] == ["blur(14px)", "blur(14px)"]
    page.locator(".pair img").first.click()
    assert [blur(0), blur(1)] == ["none", "blur(14px)"]
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert blur(1) == "none"
    page.close()
