"""The trace as a map: tokens by layers, under pointer, finger or arrow keys. What it holds is JSON.

Enter (or a click) on a cell opens what the model would say there; on a layer's number, it chooses where to write, and
the component's value then has that layer as `picked` (event `submit`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

if TYPE_CHECKING:
    from ui.fact.board import Board

_KINDS = (
    ("hidden", "All of it", "the whole state after a layer"),
    ("mlp", "Memories", "what a layer's memory (MLP) adds"),
    ("attention", "Lookups", "what a layer's attention carries over"),
)
_TEMPLATE = """
<div class="top"><div class="kinds" role="group" aria-label="What is put back"></div></div>
<p class="lead"></p>
<div class="scroll" tabindex="-1"><table class="map" role="grid"></table></div>
<div class="opened" role="status" aria-live="polite"></div>
"""
_CSS = """
.kinds {display: flex; flex-wrap: wrap; gap: .35rem; align-items: center;}
.kinds button {border: 1px solid var(--border-color-primary); border-radius: 999px; padding: .2rem .9rem;
  height: 44px; margin: 0; color: var(--body-text-color); background: var(--background-fill-primary); cursor: pointer;}
.kinds button[aria-pressed="true"] {border: 2px solid var(--color-accent); font-weight: 600;}
.lead {margin: .4rem 0; font-size: .88rem; color: var(--body-text-color); line-height: 1.4;}
.scroll {overflow-x: auto; max-width: 100%;}
.map {border-collapse: separate; border-spacing: 2px; margin: 0; width: auto; border: 0;}
.map th, .map td {border: 0; padding: 0; height: 44px; min-width: 44px; text-align: center; font-size: .82rem;
  border-radius: 4px; color: var(--body-text-color); font-weight: 400; background: none;}
.map th.token {text-align: right; padding: 0 .5rem; white-space: pre; font-size: .92rem; position: sticky; left: 0;
  background: var(--background-fill-primary); z-index: 1;}
.map th.token.subject {font-weight: 700; text-decoration: underline dotted; text-underline-offset: 4px;}
.map th.layer {cursor: pointer; border: 1px solid var(--border-color-primary); font-variant-numeric: tabular-nums;}
.map th.layer.chosen {border: 2px solid var(--color-accent); font-weight: 700;}
.map td {cursor: pointer; background: color-mix(in srgb, #4f46e5 var(--v), var(--background-fill-primary));
  font-variant-numeric: tabular-nums;}
.map td.high {color: #fff;}
.map td.open {box-shadow: 0 0 0 3px var(--body-text-color);}
.map [tabindex]:focus-visible {outline: 3px solid var(--color-accent); outline-offset: 1px;}
.opened {min-height: 1.4rem; margin-top: .5rem; font-size: .92rem; line-height: 1.45; color: var(--body-text-color);}
.opened ol {margin: .3rem 0 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: .3rem;}
.opened li {border: 1px solid var(--border-color-primary); border-radius: 999px; padding: .1rem .7rem; margin: 0;}
@media (min-width: 900px) {.map.many th, .map.many td {min-width: 24px; height: 28px;}}
"""
_SCRIPT = Path(__file__).with_name("heat.js").read_text(encoding="utf-8")


def heat(value: str = "", *, elem_id: str) -> gr.HTML:
    """The component. Its value is what `held` makes and `picked` reads; '' shows nothing."""
    return gr.HTML(
        value, label="trace", html_template=_TEMPLATE, css_template=_CSS, js_on_load=_SCRIPT, elem_id=elem_id,
        padding=False, elem_classes=["bare"],
    )  # fmt: skip


def held(board: Board | None) -> str:
    """A board's map as the component's value."""
    if board is None or board.map is None:
        return ""
    found = board.map
    most = max(abs(v) for table in found.effects.values() for row in table for v in row)
    return json.dumps(
        {
            "prompt": board.fact.asked,
            "answer": board.rows[0].before.word,
            "tokens": found.tokens,
            "subject": found.subject,
            "effects": found.effects,
            "kinds": [each for each in _KINDS if each[0] in found.effects],
            "lens": found.lens,
            "layer": board.layers[0] if board.layers else found.layer,
            "most": most,
        },
        ensure_ascii=False,
    )


def picked(value: str | None) -> int:
    """The layer that was chosen on the map.

    Raises:
        ValueError: a value that no map made.
    """
    try:
        layer = json.loads(str(value or ""))["picked"]
        if not isinstance(layer, int) or layer < 0:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("choose a layer by its number on the map") from error
    return layer
