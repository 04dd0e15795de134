"""A picture to paint a mark on, with pointer, finger or keys. What it holds is JSON: the room and the mark as PNG."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import gradio as gr
from PIL import Image
from PIL.Image import DecompressionBombError as Bomb

Picture = Image.Image
_HEAD = "data:image/png;base64,"
LONGEST = 4_000_000
"""Letters of the longest value read from a page."""
_TEMPLATE = """
<div class="tools">
  <label>Brush <input class="size" type="range" min="8" max="120" value="44" aria-label="Size of the brush"></label>
  <button class="brush" type="button" aria-pressed="true">Paint</button>
  <button class="eraser" type="button" aria-pressed="false">Erase</button>
  <button class="undo" type="button">Undo</button>
</div>
<div class="stage">
  <img class="room" alt="The room on the canvas">
  <canvas class="paint" width="512" height="512" tabindex="0" role="img"
    aria-label="Your mark. Paint with the pointer; or move with the arrow keys and paint with the space bar."></canvas>
  <!-- stage -->
  <div class="ring" aria-hidden="true"></div>
</div>
<!-- below -->
"""
_CSS = """
.tools {display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin-bottom: .5rem; font-size: .9rem;}
.tools label {display: flex; gap: .5rem; align-items: center; flex: 1;}
.tools input {flex: 1; accent-color: var(--color-accent);}
.tools button {min-height: 36px; border: 1px solid var(--border-color-primary); border-radius: var(--radius-md);
  padding: .25rem .7rem; color: var(--body-text-color); background: none; cursor: pointer;}
.tools button[aria-pressed="true"] {background: #4f46e5; border-color: #4f46e5; color: #fff;}
.stage {position: relative; width: 100%; max-width: 560px; aspect-ratio: 1; margin: 0 auto; overflow: hidden;
  border-radius: var(--radius-lg);}
.stage img, .stage canvas {position: absolute; inset: 0; width: 100%; height: 100%; margin: 0;}
.paint {opacity: .62; touch-action: none; cursor: crosshair;}
.ring {position: absolute; border: 2px solid #fff; outline: 1px solid #000; border-radius: 50%; pointer-events: none;
  transform: translate(-50%, -50%); display: none;}
"""
_SCRIPT = """
const find = name => element.querySelector('.' + name);
let from = null, erasing = false, at = [256, 256], past = [], shown = null;
const size = () => [find('paint').width, find('paint').height];
const pen = () => find('paint').getContext('2d', {willReadFrequently: true});
const held = () => { try { return JSON.parse(props.value || '{}') } catch { return {} } };
function line(a, b) {
  const c = pen();
  c.globalCompositeOperation = erasing ? 'destination-out' : 'source-over';
  c.strokeStyle = c.fillStyle = '#ff2d95';
  c.lineWidth = Number(find('size').value);
  c.lineCap = 'round';
  c.beginPath(); c.moveTo(a[0], a[1]); c.lineTo(b[0], b[1]); c.stroke();
  c.beginPath(); c.arc(b[0], b[1], c.lineWidth / 2, 0, 7); c.fill();
}
function remember() { past.push(pen().getImageData(0, 0, ...size())); past = past.slice(-20); }
function keep() { shown = JSON.stringify({...held(), mark: find('paint').toDataURL()}); props.value = shown; show(); }
function ring(visible) {
  const r = find('ring'), share = (length, i) => length / size()[i] * 100 + '%', s = find('size').value;
  Object.assign(r.style, {display: visible ? 'block' : 'none', width: share(s, 0), height: share(s, 1),
    left: share(at[0], 0), top: share(at[1], 1)});
}
function fit(shape) {
  const canvas = find('paint'), [wide, high] = shape || [512, 512], style = find('stage').style;
  if (shape) Object.assign(style, {aspectRatio: wide / high, maxWidth: 'min(560px, ' + 50 * wide / high + 'vh)'});
  if (canvas.width === wide && canvas.height === high) return;
  canvas.width = wide; canvas.height = high; at = [wide / 2, high / 2];
}
function show() {
  const value = held();
  if (!find('room')) return;
  if (value.room && find('room').getAttribute('src') !== value.room) find('room').src = value.room;
  find('brush').setAttribute('aria-pressed', String(!erasing));
  find('eraser').setAttribute('aria-pressed', String(erasing));
  if (props.value === shown) return;
  shown = props.value; past = [];
  fit(value.shape);
  pen().clearRect(0, 0, ...size());
  if (!value.mark) return;
  const mark = new Image();
  mark.onload = () => { pen().globalCompositeOperation = 'source-over'; pen().drawImage(mark, 0, 0, ...size()); };
  mark.src = value.mark;
}
function place(event) {
  const box = find('paint').getBoundingClientRect(), [wide, high] = size();
  return [(event.clientX - box.left) * wide / box.width, (event.clientY - box.top) * high / box.height];
}
element.addEventListener('pointerdown', event => {
  if (!event.target.closest('.paint') || event.button) return;
  event.target.setPointerCapture(event.pointerId);
  remember(); from = at = place(event); line(from, from);
});
element.addEventListener('pointermove', event => {
  if (!event.target.closest('.paint')) return ring(false);
  at = place(event); ring(true);
  if (from) { line(from, at); from = at; }
});
function lift() { if (from) { from = null; keep(); } }
element.addEventListener('pointerup', lift);
element.addEventListener('pointercancel', lift);
element.addEventListener('pointerleave', () => ring(false));
element.addEventListener('click', event => {
  if (event.target.closest('.undo')) undo();
  if (event.target.closest('.brush')) { erasing = false; show(); }
  if (event.target.closest('.eraser')) { erasing = true; show(); }
});
function undo() { if (past.length) { pen().putImageData(past.pop(), 0, 0); keep(); } }
element.addEventListener('keydown', event => {
  if (!event.target.closest('.paint')) return;
  const steps = {ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12]}[event.key];
  if (steps) at = at.map((x, i) => Math.min(size()[i], Math.max(0, x + steps[i])));
  else if (event.key === ' ') { remember(); line(at, at); keep(); }
  else if (event.key === 'z' && (event.ctrlKey || event.metaKey)) undo();
  else return;
  event.preventDefault(); ring(true);
});
watch('value', show);
show();
"""


@dataclass(frozen=True)
class Extra:
    """What a card adds to the painter: markup inside the stage and below it, styles, script."""

    stage: str = ""
    below: str = ""
    css: str = ""
    script: str = ""


def painter(label: str, *, elem_id: str, extra: Extra = Extra()) -> gr.HTML:  # noqa: B008
    """The component. Its value is what `held` makes and `mark_of` reads; '' shows nothing."""
    template = _TEMPLATE.replace("<!-- stage -->", extra.stage).replace("<!-- below -->", extra.below)
    return gr.HTML(
        "",
        label=label,
        html_template=template,
        css_template=_CSS + extra.css,
        js_on_load=_SCRIPT + extra.script,
        elem_id=elem_id,
        padding=False,
    )


def held(room: Picture, mark: Picture | None, **more: Any) -> str:
    """A room and a mark (RGBA, opaque where it is marked) as the component's value; `more` is for a card's script.
    `shape`, if it is there, is the canvas's width and height in pixels; without it the picture is a square of 512."""
    return json.dumps({"room": _url(room, "WEBP"), "mark": "" if mark is None else _url(mark), **more})


def mark_of(value: str | None, *, largest: int) -> Picture | None:
    """The mark that the component holds, decoded only when it has at most `largest` pixels; None when there is none.

    Raises:
        ValueError: a value that no painter made.
    """
    if not value:
        return None
    wrong = "the mark is not one that was painted here; wipe it and paint again"
    if not isinstance(value, str) or len(value) > LONGEST:
        raise ValueError(wrong)
    try:
        url: Any = json.loads(value)["mark"]
        if not url:
            return None
        if not str(url).startswith(_HEAD):
            raise ValueError(wrong)
        return _decoded(b64decode(str(url)[len(_HEAD) :], validate=True), largest)
    except (KeyError, TypeError, json.JSONDecodeError, NoBase64, RecursionError, OSError, SyntaxError, Bomb) as error:
        raise ValueError(wrong) from error


def _decoded(data: bytes, largest: int) -> Picture:
    with Image.open(BytesIO(data), formats=("PNG",)) as picture:
        if picture.width * picture.height > largest:
            pixels = picture.width * picture.height // 1_000_000
            raise ValueError(f"the mark has {pixels} megapixels; paint on the picture shown here")
        return picture.convert("RGBA")


def _url(picture: Picture, form: str = "PNG") -> str:
    """A data URL; a mark must be exact, a room may be packed."""
    buffer = BytesIO()
    picture.save(buffer, form, quality=90)
    return f"data:image/{form.lower()};base64,{b64encode(buffer.getvalue()).decode()}"
