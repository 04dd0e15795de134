"""The pictures as a person sees them: a BEFORE row above an AFTER row, columns side by side, wiped and enlarged by
pointer or keys. The component's value is what `shown` makes."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import gradio as gr

from ui.bench.cells import ROLES, Cell

if TYPE_CHECKING:
    from PIL.Image import Image

_LARGEST = 512
"""Pictures are shown at this side at most; the files in the downloads are whole."""
_CSS = """
.bench {display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: .6rem;}
.bench figure {margin: 0; min-width: 0; cursor: zoom-in; border-radius: var(--radius-lg); outline-offset: 3px;}
.bench figure:focus-visible {outline: 3px solid var(--color-accent);}
.bench .shot {position: relative; aspect-ratio: 1; margin-bottom: .35rem; border-radius: var(--radius-md);
  overflow: hidden; background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary);}
.bench .shot img {position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; object-fit: contain;}
.bench .shot b {position: absolute; left: .4rem; top: .4rem; padding: .05rem .4rem; border-radius: 99px;
  font-size: .7rem; background: #000b; color: #fff; letter-spacing: .04em; z-index: 2;}
.bench .over {clip-path: inset(0 calc(100% - var(--wipe, 0%)) 0 0);}
.bench .wait {position: absolute; inset: 0; display: grid; place-items: center; color: var(--body-text-color);
  font-size: .8rem; text-align: center; padding: .4rem;}
.bench figcaption {font-size: .82rem; line-height: 1.35; color: var(--body-text-color); overflow-wrap: anywhere;}
.bench figcaption i {display: block; font-style: normal; opacity: .85;}
.bench .stale .after img {filter: grayscale(1) opacity(.45);}
.bench .veil img {filter: blur(14px);} .bench .veil.open img {filter: none;}
.bench-large {position: fixed; inset: 0; z-index: 1000; background: #000d; display: grid; place-items: center;
  padding: 1rem;}
.bench-large > div {display: grid; grid-template-columns: repeat(auto-fit, minmax(min(280px, 90vw), 1fr)); gap: 1rem;
  width: min(1100px, 96vw); max-height: 96vh; overflow: auto;}
.bench-large img {width: 100%; margin: 0; border-radius: var(--radius-md);}
.bench-large p {color: #fff; margin: .3rem 0 0; text-align: center;}
.bench-large button {position: absolute; right: 1rem; top: 1rem; min-width: 44px; min-height: 44px; color: #fff;
  background: #333; border-radius: 99px; border: 1px solid #fff8;}
@media (max-width: 640px) {.bench {grid-template-columns: repeat(2, minmax(0, 1fr));}}
"""
_SCRIPT = """
const figures = () => [...element.querySelectorAll('figure')];
const wipe = (figure, share) => figure.style.setProperty('--wipe', Math.min(100, Math.max(0, share)) + '%');
element.addEventListener('pointermove', event => {
  const shot = event.target.closest('.after');
  if (!shot) return;
  const box = shot.getBoundingClientRect();
  wipe(shot.closest('figure'), (event.clientX - box.left) / box.width * 100);
});
element.addEventListener('pointerout', event => {
  const figure = event.target.closest('figure');
  if (figure && !figure.contains(event.relatedTarget)) wipe(figure, 0);
});
function enlarge(figure) {
  if (figure.classList.contains('veil') && !figure.classList.contains('open')) return figure.classList.add('open');
  const pictures = [...figure.querySelectorAll('img:not(.over)')];
  if (!pictures.length) return;
  const large = document.createElement('div');
  large.className = 'bench-large'; large.setAttribute('role', 'dialog'); large.setAttribute('aria-modal', 'true');
  large.setAttribute('aria-label', figure.getAttribute('aria-label'));
  const inner = document.createElement('div'), close = document.createElement('button');
  close.textContent = '✕'; close.setAttribute('aria-label', 'Close');
  for (const picture of pictures) {
    const part = document.createElement('div'), copy = picture.cloneNode(), line = document.createElement('p');
    line.textContent = picture.alt; part.append(copy, line); inner.append(part);
  }
  large.append(inner, close); element.append(large); close.focus();
  const leave = () => { large.remove(); figure.focus(); };
  large.addEventListener('click', event => { event.stopPropagation(); leave(); });
  large.addEventListener('keydown', event => {
    event.stopPropagation();
    if (['Escape', 'Enter', ' '].includes(event.key)) { event.preventDefault(); leave(); }
    if (event.key === 'Tab') event.preventDefault();
  });
}
element.addEventListener('click', event => {
  const figure = event.target.closest('figure');
  if (figure) enlarge(figure);
});
element.addEventListener('keydown', event => {
  const figure = event.target.closest('figure');
  if (!figure) return;
  const all = figures(), at = all.indexOf(figure);
  const now = parseFloat(figure.style.getPropertyValue('--wipe')) || 0;
  if (event.key === 'ArrowRight') all[Math.min(all.length - 1, at + 1)].focus();
  else if (event.key === 'ArrowLeft') all[Math.max(0, at - 1)].focus();
  else if (event.key === 'ArrowDown') wipe(figure, now + 25);
  else if (event.key === 'ArrowUp') wipe(figure, now - 25);
  else if (event.key === 'Enter' || event.key === ' ') enlarge(figure);
  else return;
  event.preventDefault();
});
"""


def pairs(elem_id: str, value: str = "") -> gr.HTML:
    """The component."""
    return gr.HTML(value, css_template=_CSS, js_on_load=_SCRIPT, elem_id=elem_id, padding=False, label="pictures")


def shown(cells: Sequence[Cell], *, stale: bool = False) -> str:
    """The cells as the component's value; `stale` greys the AFTER row."""
    if not cells:
        return ""
    body = "".join(map(_column, cells))
    style = f"--columns: {min(4, len(cells))}"
    return (
        f'<div class="bench"><div class="bench{" stale" if stale else ""}" style="{style}; grid-column: 1 / -1" '
        f'role="group" aria-label="Pictures before and after. Arrow keys move and wipe, Enter enlarges.">'
        f"{body}</div></div>"
    )


def _column(cell: Cell) -> str:
    prompt, role = html.escape(cell.shot.prompt), ROLES[cell.role]
    before = shot("before", cell.before, _alt("before", cell.shot.prompt, cell.saw_before), "painting…")
    over = "" if cell.before is None else f'<img class="over" alt="" src="{url_of(cell.before)}">'
    after = shot("after", cell.after, _alt("after", cell.shot.prompt, cell.saw_after), "waits", over)
    saw = f"<i>seen: {html.escape(cell.saw_before)} → {html.escape(cell.saw_after)}</i>" if cell.saw_after else ""
    veil = " veil" if cell.veiled else ""
    hint = ". Blurred; Enter shows it" if cell.veiled else ""
    return (
        f'<figure class="{cell.role}{veil}" tabindex="0" role="button" aria-label="{prompt}: {role}{hint}">'
        f"{before}{after}<figcaption>{prompt}<i>{role}</i>{saw}</figcaption></figure>"
    )


def shot(side: str, picture: Image | None, alt: str, waiting: str, over: str = "", *, most: int = _LARGEST) -> str:
    """One picture of a figure, `before` or `after`; `over` is what wiping shows instead."""
    inside = (
        f'<span class="wait">{waiting}</span>'
        if picture is None
        else (f'<img alt="{html.escape(alt)}" src="{url_of(picture, most)}">{over}')
    )
    return f'<div class="shot {side}"><b>{side.upper()}</b>{inside}</div>'


def _alt(side: str, prompt: str, saw: str) -> str:
    return f"{side}: {prompt}" + (f"; the judge sees {saw}" if saw else "")


def url_of(picture: Image, most: int = _LARGEST) -> str:
    """A picture inside a page, at a side of `most` pixels at most; the browser enlarges small ones."""
    small = picture.convert("RGB")
    small.thumbnail((most, most))
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=90)
    return "data:image/webp;base64," + b64encode(buffer.getvalue()).decode()
