"""The card: what stands where."""

from __future__ import annotations

import gradio as gr

from ui.bench.pairs import pairs
from ui.lamp.painter import painter
from ui.relight import example
from ui.relight.events import RelightEvents
from ui.relight.parts import Parts
from ui.relight.work import ALL, ONE
from ui.workshop.card import Shared
from ui.workshop.parts import note
from ui.workshop.running import Running

_STYLE = """<style>
.bench.relit {width: 100%; max-width: min(560px, calc(50vh * var(--wide))); justify-self: center;
  grid-template-columns: minmax(0, 1fr) !important;}
.bench.relit .shot {aspect-ratio: var(--wide) !important;} .bench.relit .before {display: none;}
@media (max-width: 640px) {.bench:has(> .relit) {grid-template-columns: minmax(0, 1fr) !important;}}
</style>"""


def build(shared: Shared) -> None:
    """Lay the card out and wire it."""
    parts = _lay_out()
    RelightEvents(shared, parts).wire()


def _lay_out() -> Parts:
    gr.Markdown("## Relight a photograph", elem_classes=["errand"])
    gr.HTML(_STYLE, visible="hidden")
    shown = example.load()
    with gr.Row(equal_height=True, elem_classes=["sentence", "bottom", "wrapping"]):
        which = gr.Radio([ALL, ONE], value=ALL, label="Bring", min_width=260, scale=2, elem_id="relight-which")
        fraction = gr.Slider(
            0, 1, 0, step=0.05, label="to this fraction of their light: 0 off, 1 lit", min_width=260, scale=3,
            elem_id="relight-fraction",
        )  # fmt: skip
        with gr.Column(scale=1, min_width=160, elem_classes=["main-row"]):
            run = Running("Relight it", elem_id="relight-run")
    told = note(elem_id="relight-note")
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=320):
            board = painter("Photograph and mark", elem_id="relight-canvas")
            board.value = shown.canvas
            with gr.Row():
                photo = gr.UploadButton("Open a photograph", min_width=150, elem_id="relight-photo")
                back = gr.Button("Example", min_width=90, elem_id="relight-example")
                wipe = gr.Button("Wipe the mark", min_width=120, elem_id="relight-wipe")
            gr.Markdown(
                "PNG, JPEG or WebP up to 20 MB and 64 megapixels; it stays on this server, for this visit. Paint over "
                "a lamp to mean it alone.",
                elem_classes=["hint"],
            )
        with gr.Column(scale=1, min_width=320):
            after = pairs("relight-after", shown.after)
            verdict = gr.HTML(shown.verdict, label="verdict", elem_id="relight-verdict", padding=False, container=False)
            make = gr.Button("Download the picture", interactive=False, elem_id="relight-make")
            file = gr.DownloadButton("relit picture", visible="hidden", elem_id="relight-file")
    return Parts(
        run, photo, back, wipe, board, which, fraction, told, verdict, after, make, file,
        gr.JSON(visible=False, label="result"),
    )  # fmt: skip
