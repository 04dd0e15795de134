"""The history of a card as small pictures: the original and every version; a click goes to one. The component's value
is what `held` makes and `picked` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import gradio as gr

from ui.bench.pairs import url_of
from ui.workshop.versions import Versions

if TYPE_CHECKING:
    from PIL.Image import Image

    from ui.bench.work import Board

_SIDE = 96
_TEMPLATE = """
<p class="past"></p>
<div class="steps" role="group" aria-label="History"></div>
"""
_CSS = """
.steps {display: flex; flex-wrap: wrap; gap: .4rem; margin-top: .3rem;}
.steps:empty {display: none;}
.steps button {width: 72px; padding: 2px; margin: 0; border-radius: var(--radius-md); cursor: pointer; line-height: 1.2;
  border: 2px solid var(--border-color-primary); background: var(--background-fill-primary); font-size: .72rem;
  color: var(--body-text-color);}
.steps button[aria-current] {border-color: var(--color-accent); font-weight: 600;}
.steps img {width: 64px; height: 64px; object-fit: cover; display: block; margin: 0 auto 2px; border-radius: 4px;}
.steps span {display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;}
"""
_SCRIPT = """
function show() {
  let now = {};
  try { now = JSON.parse(props.value || '{}'); } catch { return; }
  if ('picked' in now) return;
  element.querySelector('.past').textContent = now.text || '';
  const steps = element.querySelector('.steps');
  steps.replaceChildren(...(now.steps || []).map((step, at) => {
    const button = document.createElement('button'), name = document.createElement('span');
    button.title = step.title; button.setAttribute('aria-label', 'Go to step ' + at + ': ' + step.title);
    if (at === now.at) button.setAttribute('aria-current', 'step');
    if (step.picture) {
      const picture = document.createElement('img');
      picture.src = step.picture; picture.alt = ''; button.append(picture);
    }
    name.textContent = step.title; button.append(name);
    button.addEventListener('click', () => { props.value = JSON.stringify({picked: at}); trigger('submit'); });
    return button;
  }));
}
watch('value', show);
show();
"""


def past(elem_id: str, text: str = "") -> gr.HTML:
    """The component, with a sentence and no steps."""
    return gr.HTML(
        json.dumps({"text": text}), html_template=_TEMPLATE, css_template=_CSS, js_on_load=_SCRIPT, elem_id=elem_id,
        padding=False, container=False, label="history",
    )  # fmt: skip


def held(versions: Versions, boards: Mapping[int, Board]) -> str:
    """The history as the component's value: each version's first picture, and the original's."""
    if not versions.made:
        return json.dumps({"text": ""})
    title = versions.current.title if versions.current else "the original model"
    first = boards.get(1)
    original = first.cells[0].before if first is not None and first.cells else None
    steps = [{"title": "original", "picture": _small(original)}]
    for at, version in enumerate(versions.made, 1):
        board = boards.get(at)
        steps.append({"title": version.title, "picture": _small(board.cells[0].after if board else None)})
    text = f"Step {versions.at} of {len(versions.made)}: {title}"
    return json.dumps({"text": text, "at": versions.at, "steps": steps}, ensure_ascii=False)


def picked(value: str | None) -> int:
    """The step that was chosen.

    Raises:
        ValueError: a value that no history made.
    """
    try:
        at = json.loads(str(value or ""))["picked"]
        if not isinstance(at, int):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("choose a step of the history by its number") from error
    return at


def _small(picture: Image | None) -> str:
    return "" if picture is None else url_of(picture, _SIDE)
