"""The card that relights photographs: opened, marked, relit, downloaded, in words where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import styles
from styles.demo.measure import HELD_OUT, draw
from styles.demo.renderer import factors_of, render
from styles.relighting.rooms import with_powers
from ui.lamp.painter import held, mark_of
from ui.relight import example, work
from ui.relight.events import RelightEvents
from ui.relight.work import ALL, ONE, desk_of
from ui.workshop.session import Stopped, Visit, Workshop

WIDE = (900, 600)


def quiet(news: object) -> None:
    """Nobody listens."""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The lower two thirds of a lit room, as a JPEG of 3 : 2."""
    room = work.example_room().resize((900, 900), Image.Resampling.BICUBIC)
    room.crop((0, 300, 900, 900)).save(tmp_path / "my room.JPG", quality=95)
    return tmp_path / "my room.JPG"


def marked(canvas: str, box: tuple[float, float, float, float] | None) -> str:
    """The canvas with a box painted, in shares of its sides; None: paint that was erased again."""
    told = json.loads(canvas)
    mark = Image.new("RGBA", tuple(told["shape"]), (0, 0, 0, 0))
    if box is not None:
        wide, high = mark.size
        corners = [box[0] * wide, box[1] * high, box[2] * wide, box[3] * high]
        ImageDraw.Draw(mark).rectangle(corners, fill=(255, 45, 149, 255))
    return json.dumps({**told, "mark": json.loads(held(mark.convert("RGB"), mark))["mark"]})


SHADE = (0.27, 0.4, 0.53, 0.62)
"""About the table lamp's shade in the example, in shares of the sides."""


def test_a_photograph_keeps_its_shape_on_the_canvas(visit: Visit, photo: Path) -> None:
    canvas = json.loads(work.opened(visit, str(photo)))
    assert canvas["shape"] == [512, 341]
    assert canvas["mark"] == ""
    assert (desk_of(visit).size, desk_of(visit).name) == (WIDE, "my room.JPG")
    photo.unlink()  # the visit has a copy of its own
    assert desk_of(visit).file is not None
    assert desk_of(visit).file.is_relative_to(visit.folder)


def test_the_lamps_of_the_example_go_dark(workshop: Workshop, visit: Visit) -> None:
    found = work.relit(workshop, visit, work.wish_of(0.0, ALL, ""))
    before, after = found.figures["brightness"]
    assert after < before - 0.08
    assert found.verdict.state == "calm"
    assert f"from {before:.2f} to {after:.2f} in brightness" in found.verdict.sentence
    less = work.relit(workshop, visit, work.wish_of(0.5, ALL, ""))
    assert after < less.figures["brightness"][1] < before


def test_a_mark_means_one_lamp(workshop: Workshop, visit: Visit) -> None:
    canvas = marked(work.canvas_of(visit), SHADE)
    found = work.relit(workshop, visit, work.wish_of(0.0, ONE, canvas))
    alone, both = (np.asarray(p.convert("L"), float) for p in (found.after, found.before))
    change = (both - alone) / 255
    shade, pendant = change[230:300, 160:250].mean(), change[60:95, 300:325].mean()
    assert shade > 0.2
    assert pendant < shade / 3
    assert "The painted place went from" in found.verdict.sentence
    assert "The rest moved by" in found.verdict.sentence


def test_what_is_seen_is_what_is_downloaded(workshop: Workshop, visit: Visit, photo: Path) -> None:
    room = work.example_room().resize((2400, 2400), Image.Resampling.BICUBIC)
    room.crop((0, 800, 2400, 2400)).save(photo, quality=95)
    canvas = marked(work.opened(visit, str(photo)), (0.2, 0.1, 0.6, 0.5))
    found = work.relit(workshop, visit, work.wish_of(0.2, ONE, canvas))
    told: list[Any] = []
    path = work.written(workshop, visit, told.append)
    assert path.name == "relit-0.2.jpg"
    assert "Relighting 3.8 megapixels" in {news.text for news in told}
    with Image.open(path) as whole:
        assert (whole.size, whole.format) == ((2400, 1600), "JPEG")
        small = np.asarray(whole.convert("RGB").resize(found.after.size, Image.Resampling.BOX), float)
    assert np.abs(small - np.asarray(found.after, float)).mean() < 3


def test_a_png_is_downloaded_as_a_png(workshop: Workshop, visit: Visit) -> None:
    work.relit(workshop, visit, work.wish_of(0.3, ALL, ""))
    path = work.written(workshop, visit, quiet)
    assert path.suffix == ".png"
    net = styles.load_relighter("demo", device="cpu")
    with Image.open(path) as made:
        assert made.tobytes() == styles.relight(net, work.example_room(), 0.3).tobytes()


def test_it_is_said_how_large_the_network_saw_the_photograph(visit: Visit, workshop: Workshop, tmp_path: Path) -> None:
    net = work.network(workshop.settings.place)
    assert work.seen_said(net, (8660, 5773)) == (
        f"The network sees it shrunk to {net.side} × {net.side * 2 // 3} pixels; the change of light is laid over all "
        "50.0 megapixels strip by strip, so the detail is the photograph's."
    )
    assert work.seen_said(net, (48, 32)) == "The network paints all 48 × 32 pixels itself."
    work.example_room().resize((8660, 5773)).save(tmp_path / "large.jpg", quality=60)
    canvas = work.opened(visit, str(tmp_path / "large.jpg"))
    found = work.relit(workshop, visit, work.wish_of(0.4, ALL, canvas))
    assert "all 50.0 megapixels strip by strip" in found.verdict.by
    assert max(found.after.size) == work.SHOWN


def test_a_picture_without_a_lamp_is_said_to_hardly_change(workshop: Workshop, visit: Visit, tmp_path: Path) -> None:
    factors = with_powers(factors_of(draw(HELD_OUT + 52, 1)), torch.zeros(1, 2))
    styles.to_pil(render(factors, size=256).images)[0].save(tmp_path / "dark.png")
    work.opened(visit, str(tmp_path / "dark.png"))
    found = work.relit(workshop, visit, work.wish_of(0.0, ALL, ""))
    assert found.verdict.state == "look"
    assert "the network sees no lamp there that it knows" in found.verdict.sentence
    work.example(visit)
    found = work.relit(workshop, visit, work.wish_of(1.0, ALL, ""))
    assert found.verdict.sentence == "The photograph hardly changed: at 1 a lit lamp stays as it is."


def test_a_stop_ends_the_download(workshop: Workshop, visit: Visit) -> None:
    work.relit(workshop, visit, work.wish_of(0.3, ALL, ""))
    visit.cancel()
    with pytest.raises(Stopped):
        work.written(workshop, visit, quiet)


@pytest.mark.parametrize(
    ("fraction", "which", "box", "said"),
    [
        (0.0, ONE, None, "nothing is painted: paint over the lamp in the photograph, or choose All lamps"),
        (0.0, "the moon", None, "choose All lamps or Only what I paint"),
        (1.5, ALL, None, "the fraction goes from 0"),
        (float("nan"), ALL, None, "the fraction goes from 0"),
    ],
)
def test_wishes_that_are_none(visit: Visit, fraction: float, which: str, box: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        work.wish_of(fraction, which, marked(work.canvas_of(visit), box))


def parts() -> Any:
    names = ("note", "canvas", "which", "after", "verdict", "make", "file", "result")
    return SimpleNamespace(**{name: name for name in names})


@pytest.fixture
def events(workshop: Workshop) -> RelightEvents:
    return RelightEvents(SimpleNamespace(workshop=workshop, visit=None), parts())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("words.txt", b"a lamp", "Cannot identify words.txt as a picture; give a PNG or JPEG."),
        ("cut.png", b"\x89PNG\r\n\x1a\n", "cut.png"),
        ("", b"", "No photograph came with it; open a PNG or JPEG of a room with a lamp."),
    ],
)
def test_what_is_no_photograph_is_a_sentence_and_nothing_is_lost(
    events: RelightEvents, visit: Visit, photo: Path, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    work.opened(visit, str(photo))
    if name:
        (tmp_path / name).write_bytes(content)
    last = list(events.open(visit, str(tmp_path / name) if name else ""))[-1]
    assert said in last["note"]
    assert "trouble" in last["note"]
    assert set(last) == {"note"}
    assert desk_of(visit).name == "my room.JPG"


def test_a_photograph_of_too_many_pixels_is_a_sentence(events: RelightEvents, visit: Visit, tmp_path: Path) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    last = list(events.open(visit, str(tmp_path / "huge.png")))[-1]
    assert "uge.png has more than 64 megapixels" in last["note"]


def test_the_button_relights_and_an_empty_mark_is_said(events: RelightEvents, visit: Visit) -> None:
    relight = events.working()
    canvas = marked(work.canvas_of(visit), None)
    last = list(relight(visit, 0.0, ONE, canvas))[-1]
    assert "Nothing is painted: paint over the lamp" in last["note"]
    last = list(relight(visit, 0.0, ALL, canvas))[-1]
    side = work.network(events.workshop.settings.place).side
    assert last["result"]["seen_at"] == [side, side]
    assert last["after"].count("<img") == 3
    assert "verdict calm" in last["verdict"]
    assert last["make"]["interactive"] is True
    *_, (told, path) = ((page["note"], page["file"]) for page in events.write(visit))
    assert "relit-0.png is ready" in told
    assert "512 × 512 pixels" in told
    assert path is not None


def test_nothing_relit_yet_is_said(events: RelightEvents, visit: Visit) -> None:
    last = list(events.write(visit))[-1]
    assert "Nothing is relit yet: press Relight it first." in last["note"]


def test_who_paints_means_what_is_painted(events: RelightEvents, visit: Visit) -> None:
    canvas = work.canvas_of(visit)
    painted = marked(canvas, SHADE)
    assert events.touched(visit, 0.0, ALL, painted)[0] == ONE
    assert events.touched(visit, 0.0, ALL, painted)[0] != ONE  # chosen against it afterwards
    list(events.working()(visit, 0.0, ALL, painted))
    assert "Changed since" not in events.touched(visit, 0.0, ALL, painted)[1]
    assert "Changed since" in events.touched(visit, 0.5, ALL, painted)[1]
    assert "Changed since" in events.touched(visit, 0.0, ONE, painted)[1]
    assert events.touched(visit, 0.0, ALL, marked(canvas, None))[0] != ONE


def test_wiping_the_mark_keeps_the_picture_that_is_shown(events: RelightEvents, visit: Visit) -> None:
    list(events.working()(visit, 0.0, ONE, marked(work.canvas_of(visit), SHADE)))
    wiped = events.wipe(visit)
    assert (json.loads(wiped["canvas"])["mark"], wiped["which"]) == ("", ALL)
    assert "Changed since" in events.touched(visit, 0.0, ALL, wiped["canvas"])[1]
    assert list(events.write(visit))[-1]["file"] is not None


def test_another_photograph_or_the_example_begins_anew(events: RelightEvents, visit: Visit, photo: Path) -> None:
    list(events.working()(visit, 0.0, ALL, ""))
    last = list(events.open(visit, str(photo)))[-1]
    assert (last["after"], last["verdict"], last["which"]) == ("", "", ALL)
    assert last["make"]["interactive"] is False
    assert desk_of(visit).wish is None
    last = list(events.example(visit))[-1]
    assert json.loads(last["canvas"])["shape"] == [512, 512]
    assert desk_of(visit).name == "example room"


def test_the_example_that_ships_is_what_the_code_makes(workshop: Workshop, visit: Visit) -> None:
    shown = example.load()
    canvas = json.loads(shown.canvas)
    assert canvas["shape"] == [512, 512]
    found = work.relit(workshop, visit, work.wish_of(0.0, ALL, shown.canvas))
    assert found.verdict.html() == shown.verdict
    assert shown.after.count("data:image/webp;base64,") == 3


def test_the_mark_of_a_hostile_canvas_is_a_sentence(events: RelightEvents, visit: Visit) -> None:
    for canvas in ('{"mark": "javascript:1"}', "[", '{"mark": 5}', '{"mark": "data:image/png;base64,AAAA"}'):
        last = list(events.working()(visit, 0.0, ONE, canvas))[-1]
        assert "trouble" in last["note"]
        events.touched(visit, 0.0, ONE, canvas)
    assert mark_of(work.canvas_of(visit), largest=10) is None
