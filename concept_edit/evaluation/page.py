"""One HTML file: style inside, pictures inside, no script, no outside request. Everything from outside is escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concept_edit.evaluation.pairs import Pair

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;font-size:.85rem}
th,td{border-bottom:1px solid #8886;padding:.3rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
pre{overflow:auto;padding:.7rem;background:#8882}
.grid{display:flex;flex-wrap:wrap;gap:.8rem}
figure{margin:0;width:15rem}figcaption{font-size:.8rem}
.pair{display:flex;gap:.2rem}.pair img{width:50%;image-rendering:auto}
.veil{display:block;cursor:pointer}.veil input{position:absolute;opacity:0}
.veil .pair{filter:blur(14px)}.veil input:checked~.pair{filter:none}
.veil input:focus-visible~.pair{outline:2px solid}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, sections: Iterable[str]) -> str:
    """A whole page. The policy in its head forbids the browser any request."""
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
    )
    body = "\n".join(sections)
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n'


def section(title: str, *parts: str) -> str:
    """A heading with what belongs under it; nothing where there is nothing."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>" if any(parts) else ""


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def listing(items: Sequence[str]) -> str:
    """A bulleted list of plain texts."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


def verbatim(text: str) -> str:
    """Text as it is, in a box."""
    return f"<pre>{escape(text)}</pre>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts."""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    top = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>" if body else ""


def grid(pairs: Sequence[Pair], notes: dict[int, str] | None = None) -> str:
    """Before and after side by side; what is blurred shows when clicked, or with the space key."""
    return f"<div class=grid>{''.join(_figure(pair, (notes or {}).get(i, '')) for i, pair in enumerate(pairs))}</div>"


def _figure(pair: Pair, note: str) -> str:
    text = f"{pair.row.prompt} (seed {pair.row.seed})" + (f": {note}" if note else "")
    images = f"<span class=pair>{_image(pair.before, 'before: ' + text)}{_image(pair.after, 'after: ' + text)}</span>"
    if pair.blurred:
        images = f'<label class=veil><input type=checkbox aria-label="show">{images}</label>'
    return f"<figure>{images}<figcaption>{escape(text)}</figcaption></figure>"


def _image(png: bytes, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{b64encode(png).decode()}">'
