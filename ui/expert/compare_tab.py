"""The Compare tab: grids of pairs that appear as they are painted, and one of them under a slider."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from styles.seeds import seeds_of
from ui.workshop import compare as handlers
from ui.workshop.card import Shared
from ui.workshop.compare import GROUPS, MOST, Pair, Wanted, joined, save_sheet
from ui.workshop.look import empty
from ui.workshop.painting import shot_of
from ui.workshop.parts import LANE, LIGHT, enlarged, note, says, trouble
from ui.workshop.running import stops
from ui.workshop.session import Visit

HINTS = {
    "edited": "What was asked to change: the right picture of each pair should differ.",
    "near": "The nearest things that were not asked to change: both pictures should be alike.",
    "unrelated": "Far from anything asked: both pictures should be alike.",
}


def build(shared: Shared) -> None:
    """Lay the tab out and wire it."""
    workshop, visit = shared.workshop, shared.visit
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            inputs, buttons, told, sheet = _asking()
            slider = gr.ImageSlider(
                label="The chosen pair", format="png", type="pil", interactive=False, height=430, visible=False,
                elem_id="pair", elem_classes=["square"], buttons=["download", "fullscreen"],
            )  # fmt: skip
            caption = gr.Textbox(label="Prompt and seed", interactive=False, visible=False, elem_id="pair-caption")
        with gr.Column(scale=7, min_width=420):
            blank = gr.HTML(
                empty(
                    "No pairs yet",
                    "Solve an edit on the Edit tab, then press Paint the pairs.<br>Each picture is painted at the same "
                    "seed before and after, so that what differs is the edit.",
                ),
                container=False, elem_classes=["bare"],
            )  # fmt: skip
            galleries = {name: _gallery(name) for name in GROUPS}
    shown = [visit, told, blank, *galleries.values(), sheet]
    paint, cancel = buttons

    def on_compare(visit: Visit, *values: Any) -> Iterator[dict[Any, Any]]:
        """Paint prompts before and after at the same seeds; pictures appear as they are made."""
        visit.compared = ()
        yield {told: says("Choosing prompts"), sheet: gr.update(value=None, visible=False)}
        try:
            for news in handlers.compare(workshop, visit, wanted_of(*values)):
                found: dict[Any, Any] = {told: says("Click a pair to see it under a slider." if news.done else news)}
                if news.value is not None:
                    visit.compared = news.value
                    found |= _filled(galleries, visit.compared) | {blank: gr.update(visible=False)}
                yield found
            yield {visit_state: visit, sheet: gr.update(value=str(_sheet(visit)), visible=True)}
        except Exception as error:
            yield {visit_state: visit, told: trouble(error)}

    visit_state = visit
    paint.click(on_compare, [visit, *inputs], shown, api_name="compare", **LANE)

    stops(cancel, visit, told, api_name="compare_cancel")
    for name, gallery in galleries.items():
        gallery.select(_chooser(name), visit, [slider, caption], api_visibility="private", **LIGHT)


def _asking() -> tuple[list[Any], tuple[gr.Button, gr.Button], gr.HTML, gr.DownloadButton]:
    gr.Markdown("### Same seeds, before and after")
    choices = [(title, name) for name, title in GROUPS.items()]
    groups = gr.CheckboxGroup(choices, value=list(GROUPS), label="Prompts chosen from the recipe")
    count = gr.Slider(1, 12, value=4, step=1, label="Prompts of each group")
    with gr.Row():
        seeds = gr.Textbox("1", label="Seeds", placeholder="1, 2, 5-7", min_width=120, elem_id="compare-seeds")
        steps = gr.Number(0, label="Steps (0: own)", precision=0, min_width=80, elem_id="compare-steps")
    own = gr.Textbox("", label="Your own prompts, one a line", lines=2, placeholder="a castle in the style of Twemoji")
    with gr.Row():
        paint = gr.Button("Paint the pairs", variant="primary", scale=2, elem_id="compare")
        cancel = gr.Button("Cancel", scale=1, elem_classes=["calm"], elem_id="compare-cancel")
    told = note(elem_id="compare-note")
    sheet = gr.DownloadButton("Download all as one PNG", visible=False, elem_id="sheet")
    return [groups, count, seeds, own, steps], (paint, cancel), told, sheet


def _gallery(name: str) -> gr.Gallery:
    return gr.Gallery(
        label=f"{GROUPS[name]} — {HINTS[name]}", format="png", type="pil", columns=4, visible=False,
        height="max-content", object_fit="contain", allow_preview=False, interactive=False,
        elem_id=f"pairs-{name}", buttons=[], elem_classes=["pairs"],
    )  # fmt: skip


def wanted_of(groups: Sequence[str] | None, count: float, seeds: str, own: str, steps: float) -> Wanted:
    """What the fields ask for.

    Raises:
        ValueError: a group that is none, or as `seeds_of`, `shot_of` and `Wanted`.
    """
    unknown = [name for name in groups or () if name not in GROUPS]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no group of prompts; choose from {', '.join(GROUPS)}")
    prompts = tuple(dict.fromkeys(line.strip() for line in (own or "").splitlines() if line.strip()))
    return Wanted(
        tuple(groups or ()), int(count), seeds_of(seeds or "", most=MOST), prompts, shot_of("x", 0, steps).steps
    )


def _filled(galleries: dict[str, gr.Gallery], pairs: Sequence[Pair]) -> dict[Any, Any]:
    """Every gallery with its pairs; those with moderated concepts are blurred until clicked."""
    found: dict[Any, Any] = {}
    for name, gallery in galleries.items():
        mine = [pair for pair in pairs if pair.group == name]
        veil = ["pairs", "veiled"] if any(pair.veiled for pair in mine) else ["pairs"]
        value = [(joined(pair), pair.caption) for pair in mine]
        found[gallery] = gr.update(value=value, visible=bool(mine), elem_classes=veil)
    return found


def _chooser(group: str) -> Any:
    def choose(visit: Visit, event: gr.SelectData) -> tuple[Any, Any]:
        """Show one pair under the slider."""
        mine = [pair for pair in visit.compared if pair.group == group]
        if not 0 <= int(event.index) < len(mine):
            return gr.skip(), gr.skip()
        pair = mine[int(event.index)]
        pictures = (enlarged(pair.before), enlarged(pair.after))
        return gr.update(value=pictures, visible=True), gr.update(value=pair.caption, visible=True)

    return choose


def _sheet(visit: Visit) -> Any:
    assert visit.edits.current is not None
    return save_sheet(visit.compared, visit.edits.current, visit.folder / "pairs.png")
