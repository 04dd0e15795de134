"""The lamp card: a mark, a switch that really darkens it, other rooms, the neurons behind it, files."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import styles
from ui.lamp import example, light, switch, work
from ui.lamp.events import LampEvents
from ui.lamp.light import light_of
from ui.workshop.session import Visit, Workshop


def quiet(news: object) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def own(workshop: Workshop) -> Workshop:
    return workshop


@pytest.fixture
def marked(own: Workshop, visit: Visit) -> Visit:
    """Rooms 0 to 7, the brightest lamp on the canvas and marked."""
    work.opened(own, visit, "demo", work.FIRST)
    return visit


@pytest.fixture(scope="module")
def solved(own: Workshop):
    visit = Visit()
    work.opened(own, visit, "demo", work.FIRST)
    yield visit, switch.solve(own, visit, False, quiet)
    visit.close()


def test_the_brightest_lamp_is_marked_as_the_rooms_open(marked):
    mine = light_of(marked)
    assert set(mine.masks) == {mine.at}
    assert 0 < float(mine.masks[mine.at].mean()) < 0.2


def test_the_lamp_goes_as_dark_as_the_wall(solved):
    _, found = solved
    assert found.light[0] - found.wall > 0.25
    assert abs(found.light[-1] - found.wall) <= 0.1
    assert found.moved < 0.12
    assert found.verdict.state == "good"
    assert list(found.light) == sorted(found.light, reverse=True)


def test_the_first_frame_is_the_room_itself(own, solved):
    visit, found = solved
    mine = light_of(visit)
    (room,) = styles.to_pil(light.room_images(own, mine.rooms, [found.seed]))
    assert found.frames[0].tobytes() == room.tobytes()


def test_every_frame_is_said_in_words_and_lies_in_the_canvas(own, solved):
    visit, found = solved
    value = json.loads(work.result(own, light_of(visit), found))
    assert len(value["frames"]) == len(value["says"]) == switch.FRAMES
    assert value["says"][0].startswith("the marked place gives 100%")
    assert re.match(r"the marked place gives (\d|1\d)%", value["says"][-1])
    assert value["mark"].startswith("data:image/png;base64,")


def test_other_rooms_go_dark_too(own, solved):
    visit, _ = solved
    found = switch.others(own, visit, quiet)
    assert len(found) == switch.OTHERS
    lit = [(on, off) for seed, on, off in found if seed in (2, 3)]
    assert lit
    assert all(np.asarray(off, float).mean() < np.asarray(on, float).mean() + 3 for on, off in lit)
    assert work.strip(found).count("<img") == 2 * switch.OTHERS


def test_the_switch_is_saved_and_loads_as_a_unit_edit(solved):
    visit, found = solved
    loaded = styles.UnitEdit.load(switch.save(visit))
    assert loaded.units == found.edit.units


def test_a_saved_switch_is_opened_again_and_does_the_same(own, solved, marked, tmp_path):
    visit, found = solved
    path = switch.save(visit)
    light_of(marked).at = found.seed
    light_of(marked).masks = dict(light_of(visit).masks)
    again = switch.load(own, marked, path)
    assert again.light == pytest.approx(found.light, abs=1e-4)
    assert switch.switch_of(light_of(marked)).units == found.edit.units
    light_of(marked).masks = {}
    with pytest.raises(ValueError, match="nothing is marked in this room"):
        switch.load(own, marked, path)
    other = tmp_path / "other.json"
    units = [(layer.replace("b", "b9"), channel, value) for layer, channel, value in found.edit.units[:1]]
    styles.UnitEdit(tuple(units)).save(other)
    with pytest.raises(ValueError, match="b9"):
        switch.load(own, marked, other)
    other.write_text("{}")
    with pytest.raises(ValueError, match="is no unit edit"):
        switch.load(own, marked, other)


def test_the_gif_goes_off_and_on_again(own, solved):
    visit, _ = solved
    with Image.open(switch.gif(own, visit)) as film:
        assert film.n_frames >= 2 * switch.FRAMES - 4


def test_every_neuron_is_scored_and_the_best_are_shown(own, solved):
    visit, _ = solved
    events = LampEvents(SimpleNamespace(workshop=own, visit=None), SimpleNamespace(unit_note="note", neurons="list"))
    last = list(events.neurons(visit))[-1]
    assert last["note"] == ""
    assert last["list"].count("<li>") == 12
    assert "the mark" in last["list"]


def test_few_neurons_are_few(own, marked):
    found = switch.solve(own, marked, True, quiet)
    assert len(found.edit.units) <= switch.FEW
    assert found.light[-1] < found.light[0] - 0.1
    assert found.verdict.state == "look"
    assert "of the way" in found.verdict.sentence


def test_a_place_that_was_not_lit_is_no_success(own, solved):
    visit, _ = solved
    mine = light_of(visit)
    work.chosen(own, visit, 0)
    found = switch.shown(own, mine, mine.switch, 0)
    assert found.verdict.state == "look"
    assert "hardly lit" in found.verdict.sentence


def test_another_mark_or_wish_makes_the_verdict_stale(own, solved):
    visit, found = solved
    mine = light_of(visit)
    value = work.result(own, mine, found)
    assert not work.stale(mine, value, False)
    assert work.stale(mine, value, True)
    assert work.stale(mine, json.dumps({**json.loads(value), "mark": ""}), False)
    assert not work.stale(mine, "", False)


@pytest.mark.parametrize("ask", [switch.save, lambda visit: switch.others(Workshop(), visit, quiet)])
def test_without_a_switch_a_sentence(visit, ask):
    with pytest.raises(ValueError, match="press Switch it off first"):
        ask(visit)


def test_nothing_marked_is_said(own, marked):
    light_of(marked).masks.clear()
    with pytest.raises(ValueError, match="nothing is marked yet"):
        switch.solve(own, marked, False, quiet)


def test_the_example_ships_marked_and_switched_off():
    shown = example.load()
    assert len(shown.rooms) == 8
    value = json.loads(shown.canvas)
    assert value["mark"]
    assert len(value["frames"]) == switch.FRAMES
    assert "verdict good" in shown.verdict
