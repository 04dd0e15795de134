"""A folder of checkpoints: a real file in the original layout, chosen on the page, edited, pictured, exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from pages import result
from safetensors.torch import load_file, save_file

import styles
from concept_edit.models import FAMILIES
from concept_edit.models.files.original import original_state
from concept_edit.recipe import Erase, Recipe
from ui.app import build_app, launch
from ui.workshop import edit
from ui.workshop.companions import joined, parted
from ui.workshop.painting import Shot
from ui.workshop.session import Settings, Visit, Workshop, say

PATIENCE = 90_000
"""Milliseconds; the machine may be busy."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion as one file, the folder that says what it lacks, and a generator of rooms."""
    place = tmp_path_factory.mktemp("checkpoints")
    pipeline = tiny.tiny_pipeline("sd1")
    pipeline.save_pretrained(place / "mine")
    save_file(original_state(pipeline, FAMILIES["sd1"]), place / "mine.safetensors")
    styles.save_generator(styles.load_generator("demo"), place / "rooms.safetensors")
    return place


@pytest.fixture(scope="module")
def own(folder: Path) -> Workshop:
    return Workshop(Settings(device="cpu", checkpoint_folder=folder))


@pytest.fixture
def page(browser: Any, own: Workshop) -> Iterator[Any]:
    app = build_app(own)
    _, url, _ = launch(app, server_name="127.0.0.1")
    context = browser.new_context(viewport={"width": 1360, "height": 1000}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.goto(f"{url}?do=expert")
    yield opened
    context.close()
    app.close()


def test_each_list_offers_what_it_can_open(own: Workshop, visit: Visit) -> None:
    assert own.model_names()[-1] == "mine.safetensors"
    assert "rooms.safetensors" not in own.model_names()
    assert own.generator_names() == ["demo", "rooms.safetensors"]
    assert own.generator("rooms.safetensors").config == styles.load_generator("demo").config


def test_a_checkpoint_is_chosen_edited_pictured_and_exported(page: Any, folder: Path, tmp_path: Path) -> None:
    page.locator("#model input").click()
    page.get_by_role("option", name="mine.safetensors").click()
    page.get_by_text("The next job opens mine.safetensors.").wait_for()
    page.locator("#concept textarea, #concept input").first.fill("Van Gogh")
    page.locator("#add").click()
    page.locator("#concepts").get_by_text("Van Gogh").locator("visible=true").first.wait_for()
    page.locator("#prompt textarea, #prompt input").first.fill("a village by Van Gogh")
    page.locator("#steps input").fill("2")
    page.locator("#solve").click()
    page.locator("#note").get_by_text("Done.").wait_for()
    images = page.locator("#before-after img")
    assert images.nth(0).get_attribute("src") != images.nth(1).get_attribute("src")

    page.get_by_role("tab", name="Export").click()
    page.locator("#size-checkpoint").get_by_text("about").wait_for()
    with page.expect_download() as download:
        page.locator("#make-checkpoint").click()
    download.value.save_as(tmp_path / "baked.safetensors")
    old, new = load_file(folder / "mine.safetensors"), load_file(tmp_path / "baked.safetensors")
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert old.keys() == new.keys()
    assert changed
    assert all("attn2.to_k" in name or "attn2.to_v" in name for name in changed)


def test_what_a_file_lacks_is_picked_beside_it(page: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "alone.safetensors").write_bytes((folder / "mine.safetensors").read_bytes())
    page.reload()
    page.locator("#companion").wait_for(state="hidden")
    workshop = Workshop(Settings(device="cpu", checkpoint_folder=folder))
    with pytest.raises(ValueError, match="companion"):
        workshop.model("alone.safetensors")
    opened = workshop.model("alone.safetensors + mine")
    assert opened.name == "alone.safetensors"
    assert torch.equal(
        opened.encode(["a cat"])["text"].rows, workshop.model("mine.safetensors").encode(["a cat"])["text"].rows
    )
    for companion in ("../mine", str(folder / "mine"), "nothing"):
        with pytest.raises(ValueError, match="is neither a folder of this server nor a hub id"):
            workshop.model(f"alone.safetensors + {companion}")
    page.locator("#model input").click()
    page.get_by_role("option", name="mine.safetensors").click()
    page.locator("#companion input").click()
    page.get_by_role("option", name="mine", exact=True).click()
    page.get_by_text("The next job opens mine.safetensors, with what it lacks from mine.").wait_for()


def test_a_plus_in_a_files_own_name_parts_nothing() -> None:
    for name in ("a + b.safetensors", "demo", "owner/name + other"):
        assert parted(joined(name, "")) == (name, "")
    assert parted(joined("a + b.safetensors", "mine")) == ("a + b.safetensors", "mine")


def test_a_hub_id_that_cannot_be_fetched_is_one_sentence(own: Workshop, visit: Visit, monkeypatch: Any) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect to the hub.\nCheck your connection.")

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", offline)
    visit.model = "nobody/no-such-model"
    with pytest.raises(
        ValueError, match="nobody/no-such-model is not in the hub cache and cannot be fetched"
    ) as caught:
        result(edit.solve(own, visit, Recipe(edits=(Erase("Monet"),), method="uce"), Shot("a cat", 0, 1)))
    said = say(caught.value)
    assert said.endswith("hf download nobody/no-such-model.")
    assert "\n" not in said
    assert visit.edits.titles() == ["0 · original"]
