"""The page as a program sees it: gradio_client from end to end, two clients apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pages import SMALL, until
from PIL import Image, ImageChops

from concept_edit.recipe import Recipe
from ui.workshop.session import Workshop
from ui.workshop.table import HEAD, rows_of

client = pytest.importorskip("gradio_client")
SHOT = ("a rocket in the style of Twemoji", 1, 2)


def fields() -> list[Any]:
    """The fields of the Edit tab for the small recipe, in the order /solve takes them."""
    table = {"headers": list(HEAD), "data": rows_of(SMALL)}
    return [table, "\n".join(SMALL.preserve), "uce", "last", 0.5, 1.0, None, ""]


def connect(server: str) -> Any:
    return client.Client(server, verbose=False, download_files=True)


def pictures(answer: Any) -> tuple[Image.Image, Image.Image]:
    before, after = answer[0]["value"]
    return Image.open(before).convert("RGB"), Image.open(after).convert("RGB")


def differ(pair: tuple[Image.Image, Image.Image]) -> bool:
    return ImageChops.difference(*pair).getbbox() is not None


@pytest.fixture
def caller(server):
    found = connect(server)
    yield found
    found.close()


def test_solve_turn_undo_and_export(server, caller, small_edit):
    solved = caller.predict(*fields(), *SHOT, 1.0, api_name="/solve")
    assert differ(pictures(solved))
    assert not differ(pictures(caller.predict(0.0, *SHOT, api_name="/strength")))
    assert not differ(pictures(caller.predict(*SHOT, api_name="/undo")))
    caller.predict(*SHOT, api_name="/redo")
    caller.predict(1.0, *SHOT, api_name="/strength")
    told, path = caller.predict(api_name="/export_lora")
    assert "erase-twemoji-erase-cat-lora.safetensors is ready" in told
    assert Path(path).stat().st_size > 1000


def test_two_clients_never_see_each_others_edit(server, caller):
    caller.predict(*fields(), *SHOT, 1.0, api_name="/solve")
    other = connect(server)
    try:
        assert not differ(pictures(other.predict(*SHOT, api_name="/paint")))
        told, path = other.predict(api_name="/export_lora")
        assert "There is no edit to export yet" in told
        assert path is None
    finally:
        other.close()
    assert differ(pictures(caller.predict(*SHOT, api_name="/paint")))


def test_a_profession_is_measured_and_balanced(server, caller):
    table = {"headers": list(HEAD), "data": [["balance", "doctor", "man .5, woman .5", "", ""]]}
    job = caller.submit(table, *fields()[1:], 4, 2, 4, "a doctor", 1, 2, 1.0, api_name="/balance")
    answer = job.result(timeout=240)
    assert "Done." in answer[3]
    assert any("doctor was counted as man" in str(told) for told in job.outputs())
    assert "Measured balance" in answer[4]
    assert "share of woman, held-out templates" in answer[4]
    assert "balance doctor" in str(answer)
    yaml, _ = caller.predict(table, *fields()[1:], api_name="/recipe")
    (measured,) = Recipe.from_yaml(yaml).edits
    assert list(measured.aims) == ["man", "woman"]


def test_errors_are_sentences(server, caller):
    wrong = [{"headers": list(HEAD), "data": [["destroy", "x", "", "", ""]]}, *fields()[1:]]
    answer = caller.predict(*wrong, *SHOT, 1.0, api_name="/solve")
    assert "is no change; write erase" in answer[3]
    assert 'role="alert"' in answer[3]
    answer = caller.predict(*fields(), "", 1, 2, 1.0, api_name="/solve")
    assert "The prompt is empty" in answer[3]


def test_the_recipe_is_told_as_yaml(server, caller):
    yaml, told = caller.predict(*fields(), api_name="/recipe")
    assert Recipe.from_yaml(yaml) == SMALL
    assert told == ""


def test_one_that_leaves_takes_what_gradio_kept_about_its_page(app, server):
    leaver = connect(server)
    leaver.predict(*fields(), api_name="/recipe")
    session = app.state_holder.session_data[leaver.session_hash]
    assert session.config_values
    leaver.close()
    until(lambda: not session.config_values)


def test_cancel_from_a_program_stops_a_long_job(server, caller, workshop: Workshop):
    job = caller.submit("a dog in the style of Lobe", 77, 200, api_name="/paint")
    until(lambda: any("Painting" in str(news) for news in job.outputs()))
    assert "Stopping at the next step" in caller.predict(api_name="/cancel")
    assert "Stopped." in str(job.result(timeout=60))
    assert not workshop._line
