"""One canvas for the room, the mark and the result: the painter, and over it the room going off and on again."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from ui.bench.pairs import url_of
from ui.lamp.painter import Extra, Picture, held, painter

_STAGE = '<img class="result" alt="" hidden>'
_BELOW = """
<div class="play" hidden>
  <button class="go" type="button">▶ Play</button>
  <label>on <input class="fade" type="range" min="0" max="8" step="1" value="8"
    aria-label="From on (left) to off (right)"> off</label>
  <span class="says" role="status"></span>
</div>
"""
_CSS = """
.stage .result {z-index: 3;} .stage .result[hidden] {display: none;}
.play {display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; max-width: 560px; margin: .5rem auto 0;
  color: var(--body-text-color); font-size: .95rem;}
.play[hidden] {display: none;}
.play label {display: flex; gap: .5rem; align-items: center; flex: 1; min-width: 200px;}
.play input {flex: 1; min-height: 44px; accent-color: var(--color-accent);}
.play button {min-height: 44px; min-width: 88px; border: 1px solid var(--border-color-primary); cursor: pointer;
  border-radius: var(--radius-md); background: none; color: var(--body-text-color);}
.play .says {flex-basis: 100%;}
"""
_SCRIPT = """
let playing = null, told = null;
function frame(at) {
  const value = held(), all = value.frames || [], result = find('result');
  if (!result || !all.length) return;
  result.hidden = false; result.src = all[at]; result.alt = 'The room, ' + value.says[at];
  find('says').textContent = value.says[at];
  find('fade').value = at;
}
function room() { const result = find('result'); if (result) result.hidden = true; }
function frames() {
  const value = held(), all = value.frames || [];
  if (!find('play')) return;
  find('play').hidden = !all.length;
  const now = all.length ? all[all.length - 1] : '';
  if (now === told) return;
  told = now;
  if (!all.length) return room();
  find('fade').max = all.length - 1;
  play();
}
function stop() { clearInterval(playing); playing = null; if (find('go')) find('go').textContent = '▶ Play'; }
function play() {
  stop();
  const last = (held().frames || []).length - 1;
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return frame(last);
  let at = 0;
  find('go').textContent = '❚❚ Stop';
  playing = setInterval(() => { frame(at); if (at >= last) stop(); else at += 1; }, 110);
}
element.addEventListener('input', event => {
  if (event.target.classList.contains('fade')) { stop(); frame(Number(event.target.value)); }
});
element.addEventListener('click', event => {
  if (event.target.closest('.go')) { playing ? stop() : play(); }
  if (event.target.closest('.brush, .eraser, .undo')) room();
});
watch('value', frames);
frames();
"""


def canvas(label: str, *, elem_id: str) -> gr.HTML:
    """The component."""
    return painter(label, elem_id=elem_id, extra=Extra(_STAGE, _BELOW, _CSS, _SCRIPT))


def with_result(room: Picture, mark: Picture | None, frames: Sequence[Picture], says: Sequence[str]) -> str:
    """The component's value with a result: frames from on to off, each in words."""
    return held(room, mark, frames=[url_of(frame) for frame in frames], says=list(says))
