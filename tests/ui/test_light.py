"""The Light tab without a browser: marks, rankings, the desk, what bad input says, and that visitors stay apart."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

import styles
from styles.demo.renderer import SIDE as ROOM
from ui.expert import light_tab
from ui.expert.light_events import LightEvents
from ui.lamp import desk, light, switch
from ui.lamp.marks import SIDE, mask_file, painted
from ui.lamp.painter import held
from ui.workshop.card import Shared
from ui.workshop.session import EMBEDDED, News, Stopped, Visit, Workshop

UNIT = "b16.torgb:3"


@pytest.fixture
def marked(workshop: Workshop, visit: Visit) -> Visit:
    """The brightest of eight rooms is on the canvas, its lamp marked."""
    rooms = light.rooms_from(EMBEDDED, "0-7")
    light.show_rooms(workshop, visit, rooms)
    light.canvas_of(workshop, visit, light.brightest_lamp(rooms.seeds))
    light.mark_lamp(workshop, visit)
    return visit


def quiet(news: News) -> None:
    """Nobody listens."""


def ranked(workshop: Workshop, visit: Visit) -> light.Found:
    return light.rank(workshop, visit, confirm=20, mode="style", tell=quiet)


def canvas(*boxes: tuple[int, int, int, int], opacity: int = 255) -> str:
    """What the page's canvas hands over after these boxes were painted."""
    mark = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    for box in boxes:
        mark.paste((255, 45, 149, opacity), box)
    return held(Image.new("RGB", (SIDE, SIDE)), mark)


def brightness(picture: Image.Image, mask: torch.Tensor) -> float:
    """Mean level inside a mask, 0 to 255."""
    levels = torch.from_numpy(np.asarray(picture.convert("L").resize(mask.shape[::-1]), dtype=np.float32))
    return float((levels * mask).sum() / mask.sum())


def last(page: Iterator[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The values a page ends with."""
    return list(page)[-1]


# Marks


def test_paint_becomes_a_mask_of_the_generators_size() -> None:
    mask = painted(canvas((128, 256, 192, 320)), 64)
    assert mask is not None
    assert mask.shape == (64, 64)
    assert bool((mask[32:40, 16:24] == 1).all())
    assert float(mask.sum()) == 64
    for nothing in (canvas(), canvas((0, 0, 100, 100), opacity=10), "", None, '{"mark": ""}'):
        assert painted(nothing, 64) is None


def test_marks_stay_with_their_rooms(workshop: Workshop, visit: Visit) -> None:
    light.show_rooms(workshop, visit, light.rooms_from(EMBEDDED, "0-3"))
    light.canvas_of(workshop, visit, 1)
    light.keep_mark(workshop, visit, canvas((0, 0, 64, 64)))
    shown = light.canvas_of(workshop, visit, 2)
    assert painted(shown, ROOM) is None
    light.keep_mark(workshop, visit, canvas())
    again = light.canvas_of(workshop, visit, 1)
    painted_again = painted(again, ROOM)
    assert painted_again is not None
    assert float((painted_again - light.light_of(visit).masks[1]).abs().max()) < 0.6
    assert set(light.light_of(visit).masks) == {1}
    light.show_rooms(workshop, visit, light.rooms_from(EMBEDDED, "1,9"))
    assert set(light.light_of(visit).masks) == {1}
    light.show_rooms(workshop, visit, light.rooms_from(EMBEDDED, "1,9", 0.5))
    assert not light.light_of(visit).masks


def test_a_picture_serves_as_a_mark(workshop: Workshop, marked: Visit, tmp_path: Path) -> None:
    picture = Image.new("L", (256, 256))
    picture.paste(255, (0, 0, 64, 64))
    picture.save(tmp_path / "mask.png")
    assert float(mask_file(str(tmp_path / "mask.png"), ROOM).sum()) == (ROOM // 4) ** 2
    clear = Image.new("RGBA", (256, 256), (255, 255, 255, 0))
    clear.paste((0, 0, 0, 255), (0, 0, 128, 64))
    clear.save(tmp_path / "clear.png")
    light.take_mark(workshop, marked, str(tmp_path / "clear.png"))
    mine = light.light_of(marked)
    assert float(mine.masks[light.on_canvas(mine)].sum()) == ROOM // 2 * ROOM // 4


def test_fifty_megapixels_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: Any) -> None:
    Image.new("1", (10_000, 5_000), 1).save(tmp_path / "large.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="50 megapixels; give one of at most 16"):
        mask_file(str(tmp_path / "large.png"), 64)
    large = base64.b64encode((tmp_path / "large.png").read_bytes()).decode()
    with pytest.raises(ValueError, match="50 megapixels; paint on the picture"):
        painted(json.dumps({"mark": f"data:image/png;base64,{large}"}), 64)


@pytest.mark.parametrize(
    "value",
    ["<script>", "[]", "{}", '{"mark": 3}', '{"mark": "data:image/png;base64,%%"}', '{"mark": "/etc/passwd"}',
     '{"mark": "data:image/png;base64,AAAA"}', "[" * 100_000, "x" * 5_000_000],
)  # fmt: skip
def test_a_mark_that_was_not_painted_here_is_refused(workshop: Workshop, marked: Visit, value: str) -> None:
    told, *_ = last(LightEvents(workshop).find(marked, value, 20, "style"))
    assert "not one that was painted here" in told


def test_what_is_no_picture_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"<script>alert(1)</script>")
    with pytest.raises(ValueError, match="no PNG, JPEG or WebP"):
        mask_file(str(tmp_path / "mask.png"), 64)
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    with pytest.raises(ValueError, match="nothing white in it"):
        mask_file(str(tmp_path / "black.png"), 64)


# Ranking


def test_the_best_unit_turned_makes_the_lamp_dark(workshop: Workshop, marked: Visit) -> None:
    told: list[News] = []
    found = light.rank(workshop, marked, confirm=40, mode="style", tell=told.append)
    assert len(found.pictures) == len(found.units) == light.UNITS_SHOWN
    assert "units ranked on room" in found.text
    shares = [news.share for news in told if news.share is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    made = desk.put_on_desk(workshop, marked, [found.units[0][1]])
    mask = light.light_of(marked).masks[light.light_of(marked).at]  # type: ignore[index]
    before, same = desk.turned(workshop, marked)
    assert same.tobytes() == before.tobytes()
    brightest = {}
    for end in (made[0].low, made[0].high):
        desk.set_values(marked, [end])
        brightest[end] = brightness(desk.turned(workshop, marked)[1], mask)
    lit = brightness(before, mask)
    assert min(brightest.values()) < 0.9 * lit
    dark = min(brightest, key=lambda end: brightest[end])
    desk.set_values(marked, [dark])
    outside = 1 - mask
    after = desk.turned(workshop, marked)[1]
    assert lit - brightness(after, mask) > 4 * abs(brightness(before, outside) - brightness(after, outside))
    inside = desk.turned(workshop, marked, inside=True)[1]
    assert brightness(inside, mask) < lit - 10


def test_nothing_marked_is_a_sentence(workshop: Workshop, visit: Visit) -> None:
    events = LightEvents(workshop)
    last(events.show(visit, EMBEDDED, "0-1", 1.0, None, None))
    last(events.choose_room(visit, 1, None))
    told, *values = last(events.find(visit, canvas(), 20, "style"))
    assert "Nothing is marked yet: paint over the lamp" in told
    assert "alert" in told
    assert all(value == gr.skip() for value in values)
    everything = canvas((0, 0, SIDE, SIDE))
    told, *_ = last(events.find(visit, everything, 20, "style"))
    assert "covers the whole image" in told
    assert not visit.busy


def test_kinds_are_told_apart(workshop: Workshop, marked: Visit) -> None:
    with pytest.raises(ValueError, match="nothing has been ranked yet"):
        light.found(workshop, marked)
    ranked(workshop, marked)
    for label in ("light", "warmth", "shape"):
        names = light.names(marked, label)
        found = light.found(workshop, marked, label)
        assert found.units == names
        assert len(found.pictures) == len(names)
        assert all(caption.split(". ")[1].startswith(label) for _, caption in found.pictures)


def test_several_marked_rooms_are_ranked_together(workshop: Workshop, marked: Visit) -> None:
    other = next(seed for seed in light.light_of(marked).rooms.seeds if seed != light.light_of(marked).at)
    light.canvas_of(workshop, marked, other)
    light.mark_lamp(workshop, marked)
    found = ranked(workshop, marked)
    ranking = light.light_of(marked).ranking
    assert ranking is not None
    assert ranking.sums.shape[1] == 2
    assert "rooms" in found.text


def find_again(workshop: Workshop, visit: Visit) -> str:
    """The note under a ranking that goes through."""
    return str(last(LightEvents(workshop).find(visit, None, 20, "style"))[0])


def test_stop_ends_a_ranking_at_its_next_step(workshop: Workshop, marked: Visit) -> None:
    steps = 0

    def tell(news: News) -> None:
        nonlocal steps
        steps += marked.stop.is_set()
        if news.share:
            marked.cancel()

    def job(_: Any) -> Any:
        return light.rank(workshop, marked, confirm=400, mode="style", tell=tell)

    with pytest.raises(Stopped):
        list(workshop.work(marked, job))
    assert steps <= 1
    assert light.light_of(marked).ranking is None
    assert not workshop.generator(EMBEDDED).edited
    assert "units ranked" in find_again(workshop, marked)


def test_a_second_click_is_told_to_wait(workshop: Workshop, marked: Visit) -> None:
    events = LightEvents(workshop)
    first = events.find(marked, None, 200, "style")
    next(first)
    told, *values = last(events.find(marked, None, 20, "style"))
    assert "last job still runs" in told
    assert all(value == gr.skip() for value in values)
    marked.cancel()
    assert "Stopped." in last(first)[0]
    assert not marked.busy


def test_a_page_closed_while_it_ranks_leaves_the_lane_free(workshop: Workshop, marked: Visit) -> None:
    gone = Visit()
    gone.light = light.light_of(marked)
    page = LightEvents(workshop).find(gone, None, 1000, "style")
    next(page)
    page.close()
    gone.close()
    assert "units ranked" in find_again(workshop, marked)
    assert not gone.busy
    assert gone.light is None


def test_visitors_stay_apart(workshop: Workshop, marked: Visit) -> None:
    other = Visit()
    events = LightEvents(workshop)
    last(events.show(other, EMBEDDED, "0-7", 1.0, None, None))
    last(events.choose_room(other, light.light_of(marked).at, None))
    desk.put_on_desk(workshop, marked, [UNIT])
    done: dict[str, Any] = {}

    def turn(name: str, visit: Visit, value: float) -> None:
        done[name] = [last(events.turn(visit, False, value))[2]["value"][1].tobytes() for _ in range(3)]

    last(events.lay(other, [UNIT], False))
    jobs = [threading.Thread(target=turn, args=args) for args in (("mine", marked, -12.0), ("theirs", other, 12.0))]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert len(set(done["mine"])) == len(set(done["theirs"])) == 1
    assert done["mine"] != done["theirs"]
    assert not light.light_of(other).masks
    assert light.light_of(other).desk.values != light.light_of(marked).desk.values
    other.close()


# The desk


def test_units_are_laid_moved_and_put_back(workshop: Workshop, marked: Visit) -> None:
    names = [UNIT, "b32.conv1:5"]
    made = desk.put_on_desk(workshop, marked, names)
    assert [slider.unit for slider in made] == names
    assert all((slider.low, slider.value, slider.high) == (-12, 0, 12) for slider in made)
    desk.set_values(marked, [3.0, -4.0, 7.0])
    again = desk.put_on_desk(workshop, marked, [names[1], "b8.torgb:0"])
    assert [(slider.unit, slider.value) for slider in again] == [(names[1], -4.0), ("b8.torgb:0", 0.0)]
    assert light.light_of(marked).desk.edit().units == (("b32.conv1", 5, -4.0),)
    assert all(slider.value == 0 for slider in desk.reset(workshop, marked))
    before, after = desk.turned(workshop, marked)
    assert after.tobytes() == before.tobytes()
    assert desk.put_on_desk(workshop, marked, []) == []


def test_other_rooms_are_turned_by_the_same_units(workshop: Workshop, marked: Visit) -> None:
    with pytest.raises(ValueError, match="nothing is turned yet"):
        desk.others(workshop, marked, "8-9")
    desk.put_on_desk(workshop, marked, [UNIT])
    desk.set_values(marked, [-9.0])
    pairs = desk.others(workshop, marked, "8, 9")
    assert [caption for _, caption in pairs] == ["room 8: before, after", "room 9: before, after"]
    for picture, _ in pairs:
        left, right = (picture.crop((x, 0, x + 192, 192)) for x in (0, 196))
        assert left.tobytes() != right.tobytes()


def test_a_gif_goes_along_a_slider_and_to_the_desk(workshop: Workshop, marked: Visit, monkeypatch: Any) -> None:
    monkeypatch.setattr(desk, "FRAMES", 4)
    desk.put_on_desk(workshop, marked, [UNIT, "b32.conv1:5"])
    desk.set_values(marked, [-9.0, 2.0])
    for unit in (None, UNIT):
        with Image.open(desk.sweep(workshop, marked, unit, inside=False, tell=quiet)) as film:
            assert (film.n_frames, film.size) == (2 * desk.FRAMES - 2, (SIDE // 2, SIDE // 2))  # type: ignore[attr-defined]
            first = film.convert("RGB").copy()
            film.seek(desk.FRAMES - 1)
            assert film.convert("RGB").tobytes() != first.tobytes()
    with pytest.raises(ValueError, match="no layer 'b99'"):
        desk.sweep(workshop, marked, "b99:1", inside=False, tell=quiet)


def test_unit_edits_are_saved_and_loaded(workshop: Workshop, marked: Visit) -> None:
    with pytest.raises(ValueError, match="nothing is turned yet"):
        desk.save(marked)
    desk.put_on_desk(workshop, marked, [UNIT, "b32.conv1:5"])
    desk.set_values(marked, [-9.0, 2.5])
    after = desk.turned(workshop, marked)[1]
    path = desk.save(marked, "a dark lamp")
    edit = styles.UnitEdit.load(path)
    assert (edit.how, edit.note, len(edit.units)) == ("sigma", "a dark lamp", 2)
    desk.put_on_desk(workshop, marked, [])
    made = desk.load(workshop, marked, path)
    assert [slider.value for slider in made] == [-9.0, 2.5]
    assert desk.turned(workshop, marked)[1].tobytes() == after.tobytes()


@pytest.mark.parametrize("how", ["set", "shift", "scale"])
def test_edits_turned_in_another_way_keep_it(workshop: Workshop, marked: Visit, tmp_path: Path, how: Any) -> None:
    edit = styles.UnitEdit((("b16.torgb", 3, 1.75),), how)
    edit.save(tmp_path / "edit.json")
    made = desk.load(workshop, marked, tmp_path / "edit.json")
    assert made[0].value == 1.75
    assert made[0].low < 1.75 < made[0].high
    model = workshop.generator(EMBEDDED)
    w = model.map(model.sample_z([light.light_of(marked).at]))  # type: ignore[list-item]
    with edit.applied(model):
        wanted = styles.to_pil(model.synthesize(w))[0].resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert desk.turned(workshop, marked)[1].tobytes() == wanted.tobytes()
    desk.reset(workshop, marked)
    before, after = desk.turned(workshop, marked)
    assert after.tobytes() == before.tobytes()


def test_units_beyond_the_sliders_stay_as_the_file_has_them(workshop: Workshop, marked: Visit, tmp_path: Path) -> None:
    units = tuple(("b32.conv1", channel, 0.5) for channel in range(12))
    styles.UnitEdit(units, "sigma").save(tmp_path / "many.json")
    told, *_ = last(LightEvents(workshop).load(marked, str(tmp_path / "many.json"), False))
    assert "12 units are on the desk; the first 8 have sliders" in told
    desk.set_values(marked, [0.0] * 8)
    assert len(light.light_of(marked).desk.edit().units) == 4


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("not json", "is no unit edit"),
        ('{"format": "other"}', "expected a file of format"),
        (json.dumps({"format": "styles.unit-edit/1", "how": "set", "mode": "style", "units": []}), "no units"),
        (
            json.dumps(
                {"format": "styles.unit-edit/1", "how": "set", "mode": "style",
                 "units": [{"layer": "b512.conv1", "channel": 1, "value": 1}]}
            ), "layer 'b512.conv1' in this generator",
        ),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(
    workshop: Workshop, marked: Visit, tmp_path: Path, content: str, what: str
) -> None:
    desk.put_on_desk(workshop, marked, [UNIT])
    (tmp_path / "edit.json").write_text(content)
    told, *values = last(LightEvents(workshop).load(marked, str(tmp_path / "edit.json"), False))
    assert what.replace("'", "&#x27;") in told or what in told
    assert str(tmp_path) not in told
    assert all(value == gr.skip() for value in values)
    assert list(light.light_of(marked).desk.values) == [("b16.torgb", 3)]


def test_large_files_are_not_read(workshop: Workshop, marked: Visit, tmp_path: Path) -> None:
    (tmp_path / "edit.json").write_text(" " * (switch.FILE_LIMIT + 1))
    with pytest.raises(ValueError, match="larger than any unit edit"):
        desk.load(workshop, marked, tmp_path / "edit.json")
    with pytest.raises(ValueError, match="larger than any unit edit"):
        switch.load(workshop, marked, tmp_path / "edit.json")


@pytest.mark.parametrize(
    ("name", "said"),
    [("b16.torgb:x", "is no unit"), ("<script>alert(1)</script>", "is no unit"), ("b4.conv1:9999", "has channels 0")],
)
def test_units_that_are_none_are_refused(workshop: Workshop, marked: Visit, name: str, said: str) -> None:
    told, *_ = last(LightEvents(workshop).lay(marked, [name], False))
    assert said in told
    assert "<script>" not in told


@pytest.mark.parametrize(
    ("seeds", "said"), [("", "at least one seed"), ("0-999", "more than 24 rooms"), ("cat", "is no seed")]
)
def test_seeds_that_are_none_are_refused(workshop: Workshop, visit: Visit, seeds: str, said: str) -> None:
    told, *_ = last(LightEvents(workshop).show(visit, EMBEDDED, seeds, 1.0, None, None))
    assert said in told.lower()


def test_no_room_is_a_sentence(workshop: Workshop, visit: Visit) -> None:
    events = LightEvents(workshop)
    for page in (events.mark_lamp(visit), events.wipe(visit), events.gif(visit, "", False)):
        assert "No room is on the canvas yet" in last(page)[0]
    last(events.show(visit, EMBEDDED, "0-1", 1.0, None, None))
    assert "not among those shown" in last(events.choose_room(visit, 7, None))[0]
    last(events.choose_room(visit, 1, None))
    last(events.lay(visit, [UNIT], False))
    assert "Nothing is marked in this room" in last(events.turn(visit, True, 3.0))[0]
    assert "neither a model of this server" in last(events.show(visit, "/etc/passwd", "0", 1.0, None, None))[0]


# The page


@pytest.fixture(scope="module")
def page(workshop: Workshop) -> gr.Blocks:
    with gr.Blocks() as blocks:
        light_tab.build(Shared(workshop, gr.State(Visit()), gr.Dropdown()))
    return blocks


def test_every_event_has_a_name_a_text_and_the_lane(page: gr.Blocks) -> None:
    named = {fn.api_name: fn for fn in page.fns.values() if fn.api_visibility == "public"}
    assert {"light_show_rooms", "light_find_units", "light_turn", "light_gif", "light_load_edit"} <= set(named)
    for name, fn in named.items():
        assert str(name).startswith("light_")
        assert (fn.fn.__doc__ or "").strip()
        assert fn.concurrency_id == "lane" or not fn.queue


def test_events_yield_a_value_for_each_output(
    page: gr.Blocks, workshop: Workshop, visit: Visit, tmp_path: Path
) -> None:
    outputs = {str(fn.api_name): len(fn.outputs) for fn in page.fns.values()}
    events = LightEvents(workshop)
    Image.new("L", (64, 64), 255).save(tmp_path / "mask.png")
    done = {
        "light_show_rooms": events.show(visit, EMBEDDED, "0-7", 1.0, None, None),
        "light_example": events.example(visit, None),
        "light_choose_room": events.choose_room(visit, 3, None),
        "light_mark_lamp": events.mark_lamp(visit),
        "light_find_units": events.find(visit, None, 20, "style"),
        "light_show_kind": events.kind(visit, "light"),
        "light_choose_units": events.lay(visit, [UNIT], False),
        "light_turn": events.turn(visit, False, -6.0),
        "light_reset": events.reset(visit, False),
        "light_mark_picture": events.mark_file(visit, str(tmp_path / "mask.png")),
        "light_wipe_mark": events.wipe(visit),
    }
    for name, page_values in done.items():
        for values in page_values:
            assert len(values) == outputs[name], name
            assert "alert" not in values[0], (name, values[0])


def test_a_program_can_do_all_of_it(server: str) -> None:
    from gradio_client import Client

    client = Client(server, verbose=False)
    told, rooms, *_ = client.predict("demo", "0-3", 1.0, None, "", api_name="/light_show_rooms")
    assert "Click the room" in told
    assert len(rooms["value"]) == 4
    client.predict(2, "", api_name="/light_choose_room")
    client.predict(api_name="/light_mark_lamp")
    found = client.predict("", 20, "style", api_name="/light_find_units")
    assert "units ranked on room 2" in found[0]
    assert len(found[1]["value"]) == light.UNITS_SHOWN
    turned = client.predict(False, -12.0, *[0.0] * (desk.SLIDERS - 1), api_name="/light_turn")
    edit = styles.UnitEdit.load(turned[-1]["value"])
    assert [value for _, _, value in edit.units] == [-12.0]
    before, after = (Image.open(path) for path in turned[2]["value"])
    assert before.tobytes() != after.tobytes()
    stranger = Client(server, verbose=False)
    assert "No room is on the canvas yet" in stranger.predict(api_name="/light_mark_lamp")[0]
    for caller in (client, stranger):
        caller.close()
