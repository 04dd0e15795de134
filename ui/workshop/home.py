"""The first thing a person sees: every errand as a card with a real pair of pictures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

import gradio as gr

from ui.workshop.card import Card

_CSS = """
.cards {display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1rem; padding: .3rem;}
.cards a {display: block; text-decoration: none; color: var(--body-text-color); border-radius: var(--radius-lg);
  border: 1px solid var(--border-color-primary); background: var(--background-fill-primary); overflow: hidden;}
.cards a:hover, .cards a:focus-visible {border-color: var(--color-accent); box-shadow: 0 2px 14px #0002;}
.cards .pair {display: grid; grid-template-columns: 1fr 1fr; gap: 2px; background: var(--border-color-primary);}
.cards .pair img {width: 100%; aspect-ratio: 1; object-fit: cover; display: block; margin: 0; border-radius: 0;}
.cards .text {padding: .8rem 1rem 1rem;}
.cards h3 {margin: 0 0 .2rem; font-size: 1.1rem; color: var(--body-text-color);}
.cards p {margin: 0; color: var(--body-text-color); line-height: 1.4;}
"""
_SCRIPT = """
element.addEventListener('click', event => {
  const link = event.target.closest('a[data-do]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  props.value = link.dataset.do;
  trigger('submit');
});
"""


def home(cards: Sequence[Card]) -> gr.HTML:
    """The cards as links; a click also tells the name of the errand as the component's value (event `submit`)."""
    return gr.HTML(
        "", html_template=f'<nav class="cards" aria-label="Errands">{"".join(map(_tile, cards))}</nav>',
        css_template=_CSS, js_on_load=_SCRIPT, elem_id="home", padding=False, container=False,
    )  # fmt: skip


def _tile(card: Card) -> str:
    said = ("before", "after")
    shown = "".join(
        f'<img alt="{escape(card.title)}: {side}" src="data:image/png;base64,{b64encode(path.read_bytes()).decode()}">'
        for side, path in zip(said, card.pictures, strict=False)
    )
    pair = f'<div class="pair">{shown}</div>' if shown else ""
    text = f'<div class="text"><h3>{escape(card.title)}</h3><p>{escape(card.line)}</p></div>'
    return f'<a href="?do={card.name}" data-do="{card.name}">{pair}{text}</a>'
