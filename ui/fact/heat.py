"""The trace as a map: tokens by layers, under pointer, finger or arrow keys. What it holds is JSON.

Enter (or a click) on a cell opens what the model would say there; on a layer's number, it chooses where to write, and
the component's value then has that layer as `picked` (event `submit`).
"""

from __future__ import annotations

import json
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
.kinds {display: flex; flex-wrap: wrap; gap: .35rem;}
.kinds button {border: 1px solid var(--border-color-primary); border-radius: 999px; padding: .2rem .9rem;
  min-height: 44px; color: var(--body-text-color); background: var(--background-fill-primary); cursor: pointer;}
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
_SCRIPT = """
const find = name => element.querySelector('.' + name);
const make = (tag, text, about = {}) => Object.assign(document.createElement(tag), {textContent: text}, about);
let kind = 'mlp', at = [0, 0], shown = null, opened = null, data = null;
const word = text => text === '\\n' ? '⏎' : text;
const percent = p => p >= .995 ? '100 %' : p < .01 ? '< 1 %' : Math.round(p * 100) + ' %';
const digits = v => (v < 0 ? '−' : '') + (Math.abs(v) >= .995 ? '1' : '.' + String(Math.round(Math.abs(v) * 100)).padStart(2, '0'));
const share = v => { const part = Math.min(1, Math.max(0, v / (data.most || 1)));
  return part <= .6 ? part * 100 : 85 + (part - .6) / .4 * 15; };
function draw() {
  if (!find('map')) return;
  if (props.value === shown) return;
  shown = props.value;
  try { data = JSON.parse(props.value || 'null') } catch { data = null }
  element.style.display = data ? '' : 'none';
  opened = null; find('opened').textContent = '';
  if (data) { kind = data.kind || kind; lay(); }
}
function lay() {
  const kinds = find('kinds'), map = find('map'), values = data.effects[kind], layers = values[0].length;
  kinds.replaceChildren(...data.kinds.map(([name, label, about]) => {
    const b = make('button', label, {type: 'button', title: about});
    b.dataset.kind = name; b.setAttribute('aria-pressed', String(name === kind));
    return b;
  }));
  const about = data.kinds.find(each => each[0] === kind)[2];
  find('lead').textContent = `How much of “${data.answer}” comes back when ${about} is put back at one word of a sentence `
    + 'whose subject was made noise. Open a cell to read what the model would say there; choose a layer by its number.';
  map.setAttribute('aria-label', `Trace of ${data.prompt}: words by layers. Arrow keys move, Enter opens.`);
  map.classList.toggle('many', layers > 12);
  const head = document.createElement('tr'); head.setAttribute('role', 'row');
  const corner = make('th', 'layer'); corner.className = 'token'; corner.setAttribute('role', 'columnheader'); head.append(corner);
  for (let c = 0; c < layers; c++) {
    const th = make('th', c, {className: 'layer' + (c === data.layer ? ' chosen' : ''), tabIndex: -1});
    th.setAttribute('role', 'columnheader');
    th.setAttribute('aria-label', `Layer ${c}` + (c === data.layer ? ', chosen: it is written here' : ': press Enter to write here'));
    th.dataset.r = -1; th.dataset.c = c; head.append(th);
  }
  const rows = data.tokens.map((token, r) => {
    const tr = document.createElement('tr'); tr.setAttribute('role', 'row');
    const mine = data.subject.includes(r);
    const th = make('th', word(token).trim() || '␣', {className: 'token' + (mine ? ' subject' : '')});
    th.setAttribute('role', 'rowheader'); tr.append(th);
    for (let c = 0; c < layers; c++) {
      const v = values[r][c], size = share(v);
      const td = make('td', layers > 12 ? '' : digits(v), {className: size >= 85 ? 'high' : '', tabIndex: -1});
      td.style.setProperty('--v', size + '%'); td.setAttribute('role', 'gridcell');
      td.setAttribute('aria-label', `${word(token).trim()}, layer ${c}: ${digits(v)} comes back; would say ${word(data.lens[r][c][0][0]).trim()}`);
      td.dataset.r = r; td.dataset.c = c; tr.append(td);
    }
    return tr;
  });
  map.replaceChildren(head, ...rows);
  at = [Math.min(at[0], data.tokens.length - 1), Math.min(at[1], layers - 1)];
  const now = cell(...at); if (now) now.tabIndex = 0;
  mark();
}
const cell = (r, c) => element.querySelector(`.map [data-r="${r}"][data-c="${c}"]`);
function mark() {
  element.querySelectorAll('td.open').forEach(each => each.classList.remove('open'));
  if (opened) cell(...opened)?.classList.add('open');
}
function go(r, c, focus = true) {
  const next = cell(r, c);
  if (!next) return;
  const old = cell(...at); if (old) old.tabIndex = -1;
  at = [r, c]; next.tabIndex = 0;
  if (focus) next.focus();
}
function use(r, c) {
  if (r < 0) {
    data.layer = c;
    shown = JSON.stringify({...data, kind, picked: c});
    props.value = shown;
    lay(); cell(-1, c)?.focus();
    trigger('submit');
    return;
  }
  opened = [r, c]; mark();
  const place = find('opened'), list = document.createElement('ol');
  place.replaceChildren(make('span', `After layer ${c}, at “${word(data.tokens[r]).trim()}”, the model would say:`), list);
  for (const [token, p] of data.lens[r][c]) list.append(make('li', `${word(token).trim() || '␣'} ${percent(p)}`));
}
element.addEventListener('click', event => {
  const b = event.target.closest('button[data-kind]');
  if (b && data) { kind = b.dataset.kind; lay(); element.querySelector(`button[data-kind="${kind}"]`).focus(); return; }
  const place = event.target.closest('[data-r]');
  if (place && data) { go(Number(place.dataset.r), Number(place.dataset.c)); use(...at); }
});
element.addEventListener('keydown', event => {
  if (!data || !event.target.closest('[data-r]')) return;
  const [r, c] = at, last = data.effects[kind][0].length - 1;
  const to = {ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], Home: [r, 0], End: [r, last]}[event.key];
  if (to) go(...to);
  else if (event.key === 'Enter' || event.key === ' ') use(r, c);
  else if (event.key === 'Escape') { opened = null; mark(); find('opened').textContent = ''; }
  else return;
  event.preventDefault();
});
watch('value', draw);
draw();
"""


def heat(value: str = "", *, elem_id: str) -> gr.HTML:
    """The component. Its value is what `held` makes and `picked` reads; '' shows nothing."""
    return gr.HTML(
        value, label="trace", html_template=_TEMPLATE, css_template=_CSS, js_on_load=_SCRIPT, elem_id=elem_id,
        padding=False,
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
