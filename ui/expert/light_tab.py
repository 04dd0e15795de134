"""The Light tab: mark a lamp in a generated room, find the units behind it, and turn them."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import gradio as gr

from ui.expert.light_events import ALL_SLIDERS, LightEvents
from ui.lamp.desk import SLIDERS
from ui.lamp.marks import SIDE
from ui.lamp.painter import painter
from ui.workshop.card import Shared
from ui.workshop.look import empty
from ui.workshop.parts import LANE, note
from ui.workshop.running import stops
from ui.workshop.session import EMBEDDED, Workshop

KINDS = [("all", "all"), ("light", "light"), ("colour of the light", "warmth"), ("shape", "shape")]
MODES = [("switched off (the lecture's)", "style"), ("contribution removed", "feature"), ("set to its mean", "mean")]
_HELLO = """## Find what switches a lamp on
A generator paints rooms with about a thousand *units*. Mark a lamp: the page switches units off one by one, shows those
whose effect falls on your mark, and gives each a slider."""
_STYLE = "#light-units .thumbnail-lg {aspect-ratio: 2 / 1} #light-others .thumbnail-lg {aspect-ratio: 2 / 1}"
_LEGEND = "Left: the unit switched off. Right: what that changes; grey is nothing. **Click one to give it a slider.**"


@dataclass(frozen=True)
class Row:
    """A unit's place on the desk."""

    box: gr.Group
    strip: gr.HTML
    slider: gr.Slider


def build(shared: Shared) -> None:
    """Lay the tab out and wire its events."""
    workshop, visit = shared.workshop, shared.visit
    gr.HTML(f"<style>{_STYLE}</style>", visible="hidden")
    gr.Markdown(_HELLO)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=420):
            rooms = _rooms(workshop)
            mark = _mark()
        with gr.Column(scale=6, min_width=460):
            find = _find()
    desk = _desk()
    keep = _keep()
    events = LightEvents(workshop)
    _wire_rooms(events, visit, rooms, mark, find)
    _wire_find(events, visit, mark, find, desk, keep)
    _wire_desk(events, visit, desk, keep)


def _rooms(workshop: Workshop) -> SimpleNamespace:
    gr.Markdown("### 1 · Choose a room")
    with gr.Row(elem_classes=["bottom"]):
        seeds = gr.Textbox("0-7", label="Rooms by number", placeholder="0-7, or 3, 5, 11", scale=2, min_width=120)
        show = gr.Button("Show rooms", variant="primary", scale=1, min_width=120)
        example = gr.Button("Example: a lit lamp", elem_classes=["calm"], scale=2, min_width=190)
    told = note("Show the rooms and click the one whose lamp you want, or start with the example.")
    gallery = gr.Gallery(
        label="Rooms", columns=4, object_fit="contain", height="max-content", show_label=False, allow_preview=False,
        interactive=False, format="png", buttons=[], elem_id="light-rooms", visible=False,
    )  # fmt: skip
    with gr.Accordion("Another generator, more variety", open=False):
        generator = gr.Dropdown(
            workshop.generator_names(), value=EMBEDDED, label="Generator",
            info="demo is the embedded one; others lie in the server's checkpoint folder.",
        )  # fmt: skip
        variety = gr.Slider(
            0, 1.5, 1.0, step=0.05, label="Variety", info="Truncation: 0 is the mean room, 1 all of it."
        )
        label = gr.Number(None, label="Class", info="Only for generators that were trained with classes.", precision=0)
    return SimpleNamespace(
        seeds=seeds, show=show, example=example, gallery=gallery, told=told, generator=generator, variety=variety,
        label=label,
    )  # fmt: skip


def _mark() -> SimpleNamespace:
    gr.Markdown("### 2 · Mark the lamp")
    blank = gr.HTML(empty("No room on the canvas yet", "Click one of the rooms above."), elem_id="light-blank")
    with gr.Column(visible=False) as box:
        room = gr.Dropdown([], label="Room on the canvas", interactive=True, elem_id="light-room")
        canvas = painter("Canvas: paint over the lamp", elem_id="light-canvas")
        with gr.Row():
            lamp = gr.Button("Mark the lamp for me", elem_classes=["calm"], min_width=150)
            wipe = gr.Button("Wipe the mark", elem_classes=["calm"], min_width=120)
            file = gr.UploadButton(
                "Use a picture as the mark", file_types=[".png", ".jpg", ".jpeg", ".webp"], elem_classes=["calm"],
                min_width=170,
            )  # fmt: skip
    told = note(elem_id="light-mark-note")
    return SimpleNamespace(
        blank=blank, box=box, room=room, canvas=canvas, lamp=lamp, wipe=wipe, file=file, told=told
    )  # fmt: skip


def _find() -> SimpleNamespace:
    gr.Markdown("### 3 · Find the units behind it")
    with gr.Row():
        start = gr.Button("Find the units behind the mark", variant="primary", elem_id="light-find", scale=3)
        stop = gr.Button("Stop", elem_id="light-stop", elem_classes=["calm"], scale=1, min_width=80)
    told = note("The units show up here, best first.", elem_id="light-find-note")
    kinds = gr.Radio(KINDS, value="all", label="Kind of unit", visible=False)
    gallery = gr.Gallery(
        label="Units", columns=3, object_fit="contain", height="max-content", show_label=False, allow_preview=False,
        interactive=False, format="png", buttons=[], elem_id="light-units", visible=False,
    )  # fmt: skip
    legend = gr.Markdown(_LEGEND, elem_classes=["hint"], visible=False)
    with gr.Accordion("How it looks for them", open=False):
        confirm = gr.Slider(
            20, 1000, 100, step=20, label="Units really switched off",
            info="All are estimated first; so many of the best are then tried one by one.",
        )  # fmt: skip
        mode = gr.Radio(MODES, value="style", label="A unit that is off is")
    return SimpleNamespace(
        start=start, stop=stop, told=told, kinds=kinds, gallery=gallery, legend=legend, confirm=confirm, mode=mode
    )  # fmt: skip


def _desk() -> SimpleNamespace:
    gr.Markdown("### 4 · Turn them")
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=420):
            told = note("Find units first, then move their sliders: the room follows.", elem_id="light-turn-note")
            units = gr.Dropdown(
                [], multiselect=True, max_choices=SLIDERS, allow_custom_value=True, interactive=True,
                elem_id="light-desk", label="Units under a slider",
                info="Choose from those found, or write one such as b16.conv1:12.",
            )  # fmt: skip
            rows = [_desk_row(i) for i in range(SLIDERS)]
            with gr.Row(visible=False) as tools:
                inside = gr.Checkbox(False, label="Inside the mark only", container=False, min_width=160)
                reset = gr.Button("Everything back", elem_classes=["calm"], min_width=120)
        with gr.Column(scale=5, min_width=420):
            blank = gr.HTML(empty("Nothing turned yet", "The room shows up here, before and after."))
            result = gr.ImageSlider(
                label="Before (left), after (right)", type="pil", format="png", interactive=False, height=SIDE,
                elem_id="light-result", visible=False, buttons=["download", "fullscreen"],
            )  # fmt: skip
    return SimpleNamespace(
        units=units, rows=rows, tools=tools, inside=inside, reset=reset, told=told, blank=blank, result=result
    )


def _desk_row(i: int) -> Row:
    with gr.Group(visible=False) as box:
        strip = gr.HTML(padding=False)
        slider = gr.Slider(-12, 12, 0, step=0.1, label=f"Unit {i + 1}", elem_id=f"light-slider-{i}")
    return Row(box, strip, slider)


def _keep() -> SimpleNamespace:
    gr.Markdown("### 5 · Keep and use it")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            save = gr.DownloadButton("Save the unit edit", interactive=False, elem_id="light-save")
            load = gr.UploadButton(
                "Load a unit edit", file_types=[".json"], elem_classes=["calm"], elem_id="light-load"
            )
            told = note("A small file: which units, turned how far. It fits every room.", elem_id="light-keep-note")
        with gr.Column(min_width=300):
            with gr.Row(elem_classes=["bottom"]):
                seeds = gr.Textbox("8-13", label="Other rooms", scale=2, min_width=120)
                apply = gr.Button("Turn these too", elem_classes=["calm"], scale=1, min_width=140)
            others_told = note(elem_id="light-others-note")
            gallery = gr.Gallery(
                label="Other rooms", columns=2, object_fit="contain", height="max-content", show_label=False,
                interactive=False, format="png", buttons=["download"], elem_id="light-others", visible=False,
            )  # fmt: skip
        with gr.Column(min_width=340):
            with gr.Row(elem_classes=["bottom"]):
                along = gr.Dropdown([ALL_SLIDERS], value="", label="Moving picture", scale=2, min_width=180)
                make = gr.Button("Make the GIF", elem_classes=["calm"], scale=1, min_width=120, elem_id="light-gif")
            gif_told = note(elem_id="light-gif-note")
            gif = gr.Image(
                label="GIF", type="filepath", format="gif", interactive=False, visible=False, height=SIDE // 2 + 40,
                buttons=["download"], elem_id="light-gif-picture",
            )  # fmt: skip
    return SimpleNamespace(
        save=save, load=load, told=told, seeds=seeds, apply=apply, others_told=others_told, gallery=gallery,
        along=along, make=make, gif_told=gif_told, gif=gif,
    )  # fmt: skip


def _wire_rooms(
    events: LightEvents, visit: gr.State, rooms: SimpleNamespace, mark: SimpleNamespace, find: SimpleNamespace
) -> None:
    asked = [visit, rooms.generator, rooms.seeds, rooms.variety, rooms.label, mark.canvas]
    shown = [rooms.told, rooms.gallery, mark.room, mark.canvas, mark.blank, mark.box]
    gr.on(
        [rooms.show.click, rooms.seeds.submit, rooms.generator.input], events.show, asked, shown,
        api_name="light_show_rooms", **LANE,
    )  # fmt: skip
    rooms.example.click(
        events.example, [visit, mark.canvas], [*shown, rooms.seeds, rooms.generator], api_name="light_example", **LANE
    )
    canvas = [mark.told, mark.canvas]
    mark.room.input(events.choose_room, [visit, mark.room, mark.canvas], canvas, api_name="light_choose_room", **LANE)
    rooms.gallery.select(
        events.click_room, [visit, mark.canvas], [mark.told, mark.canvas, mark.room, mark.blank, mark.box],
        api_visibility="private", **LANE,
    )  # fmt: skip
    mark.lamp.click(events.mark_lamp, visit, canvas, api_name="light_mark_lamp", **LANE)
    mark.wipe.click(events.wipe, visit, canvas, api_name="light_wipe_mark", **LANE)
    mark.file.upload(events.mark_file, [visit, mark.file], canvas, api_name="light_mark_picture", **LANE)
    stops(find.stop, visit, find.told, api_name="light_stop")


def _wire_find(
    events: LightEvents,
    visit: gr.State,
    mark: SimpleNamespace,
    find: SimpleNamespace,
    desk: SimpleNamespace,
    keep: SimpleNamespace,
) -> None:
    found = [find.told, find.gallery, find.kinds, find.legend, desk.units]
    laid = _laid(desk, keep)
    find.start.click(
        events.find, [visit, mark.canvas, find.confirm, find.mode], [*found, *laid], api_name="light_find_units", **LANE
    )
    find.kinds.input(events.kind, [visit, find.kinds], [find.told, find.gallery], api_name="light_show_kind", **LANE)
    desk.units.input(
        events.lay, [visit, desk.units, desk.inside], [desk.told, *laid], api_name="light_choose_units", **LANE
    )
    find.gallery.select(
        events.click_unit, [visit, find.kinds, desk.units, desk.inside], [desk.told, desk.units, *laid],
        api_visibility="private", **LANE,
    )  # fmt: skip


def _wire_desk(events: LightEvents, visit: gr.State, desk: SimpleNamespace, keep: SimpleNamespace) -> None:
    sliders = [row.slider for row in desk.rows]
    gr.on(
        [*(slider.input for slider in sliders), desk.inside.input], events.turn, [visit, desk.inside, *sliders],
        [desk.told, desk.blank, desk.result, keep.save], api_name="light_turn", trigger_mode="always_last", **LANE,
    )  # fmt: skip
    laid = _laid(desk, keep)
    desk.reset.click(events.reset, [visit, desk.inside], [desk.told, *laid], api_name="light_reset", **LANE)
    keep.load.upload(
        events.load, [visit, keep.load, desk.inside], [keep.told, desk.units, *laid], api_name="light_load_edit", **LANE
    )
    keep.apply.click(
        events.others, [visit, keep.seeds], [keep.others_told, keep.gallery], api_name="light_other_rooms", **LANE
    )
    keep.make.click(
        events.gif, [visit, keep.along, desk.inside], [keep.gif_told, keep.gif], api_name="light_gif", **LANE
    )


def _laid(desk: SimpleNamespace, keep: SimpleNamespace) -> list[gr.components.Component]:
    """Everything that changes when units are laid on the desk."""
    rows = [part for row in desk.rows for part in (row.box, row.strip, row.slider)]
    return [*rows, desk.tools, desk.blank, desk.result, keep.save, keep.along]
