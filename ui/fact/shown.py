"""The card's HTML: the sentence with its marks, the answers side by side, the verdict. All text is escaped."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from ui.bench.verdict import Verdict

if TYPE_CHECKING:
    from ui.fact.answers import Answer
    from ui.fact.board import Board, Row

STYLE = """
.fact-sentence {font-size: 1.15rem; line-height: 1.9; margin: .2rem 0; color: var(--body-text-color);}
.fact-sentence mark {padding: .12rem .45rem; border-radius: 6px; color: inherit; background: none;
  border: 1.5px solid var(--border-color-primary);}
.fact-sentence mark.subject {border: 2px solid #6366f1; font-weight: 600;}
.fact-sentence mark.old {text-decoration: line-through; text-decoration-thickness: 1.5px;}
.fact-sentence mark.new {border: 2px solid #15803d; font-weight: 600;}
.fact-answers {width: 100%; border-collapse: collapse; margin: 0; font-size: .95rem; border: 0;}
.fact-answers caption {text-align: left; font-weight: 600; padding: 0 0 .3rem; color: var(--body-text-color);}
.fact-answers th, .fact-answers td {text-align: left; padding: .42rem .5rem; border: 0; vertical-align: middle;
  border-bottom: 1px solid var(--border-color-primary); color: var(--body-text-color); line-height: 1.35;}
.fact-answers thead th {font-size: .82rem; font-weight: 600;}
.fact-answers th.group, .fact-answers th.asked, .fact-answers caption {white-space: normal !important;}
.fact-answers th.group {background: var(--background-fill-secondary); font-weight: 600; font-size: .85rem;}
.fact-answers th.asked {font-weight: 400;}
.fact-answers .bar {display: block; height: 5px; border-radius: 3px; margin-top: 3px; background: #4f46e5;
  min-width: 2px;}
.fact-answers .after .bar {background: #15803d;} .fact-answers .wrong .after .bar {background: #b45309;}
.fact-answers td.how {white-space: nowrap; font-weight: 600;}
.fact-answers small {opacity: 1; font-size: .82rem;}
.fact-answers.stale {opacity: .75;}
.fact-why {margin: .3rem 0; line-height: 1.45; color: var(--body-text-color);}
#fact-examples .wrap {gap: .4rem;} #fact-examples label {min-height: 44px;}
#fact-card button {min-height: 44px;}
.fact-squares {border-collapse: separate; border-spacing: 2px; width: auto; margin: 0;}
.fact-squares th, .fact-squares td {min-width: 44px; height: 34px; padding: 0 .3rem; text-align: center; border: 0;
  border-radius: 4px; font-size: .82rem; color: var(--body-text-color);}
.fact-squares td {background: color-mix(in srgb, #4f46e5 var(--v), var(--background-fill-primary));}
.fact-squares td.high {color: #fff;} .fact-squares td.top {outline: 2px solid var(--body-text-color);}
@media (max-width: 640px) {
  .fact-answers thead {display: none;} .fact-answers tr {display: grid; grid-template-columns: 1fr 1fr auto;
    border-bottom: 1px solid var(--border-color-primary); padding: .3rem 0;}
  .fact-answers th.asked, .fact-answers th.group {grid-column: 1 / -1;}
  .fact-answers th, .fact-answers td {border: 0 !important; padding: .1rem .3rem;
    white-space: nowrap; font-size: .88rem;}
}
"""
_ADVICE = " Try another layer (its number on the map), a higher strength, or another way of writing under Expert."
_KEEP = " A lower strength keeps more of the neighbours."
_GROUPS = {
    "asked": "The fact, and the same asked in other words: it should say the new answer",
    "neighbour": "Neighbours: it should say what it said before",
}


def sentence(model: str, prompt: str, subject: str, old: str, new: str) -> str:
    """The errand as one sentence, subject and answers marked."""
    prompt, subject = (" ".join(str(text or "").split()) for text in (prompt, subject))
    whole = prompt if "{}" in prompt or not subject else prompt.replace(subject, "{}", 1)
    before, found, after = (html.escape(part) for part in whole.partition("{}"))
    who = f'<mark class="subject">{html.escape(subject or "…")}</mark>' if found else ""
    was = html.escape(str(old or "").strip() or "what it says now")
    should = html.escape(str(new or "").strip() or "…")
    return (
        f'<p class="fact-sentence">In <b>{html.escape(str(model))}</b>, “{before}{who}{after}” '
        f'<mark class="old">{was}</mark> should be <mark class="new">{should}</mark>.</p>'
    )


def verdict(board: Board | None, *, original: bool = False, stale: bool = False) -> str:
    """The coloured line, with a mark and a word, so that the colour says nothing alone."""
    if board is None or not board.done:
        return ""
    state, told = board.verdict()
    by = board.by()
    if original:
        state, told, by = "calm", f"The original {board.model}: nothing is changed.", ""
    elif state == "bad":
        by += _ADVICE
    elif state == "look" and board.counts()[2] < board.counts()[3]:
        by += _KEEP
    line = Verdict(state, told, by)
    return (line.stale("The fields say something else now; press “Change it”.") if stale else line).html()


def answers(board: Board | None, *, original: bool = False, stale: bool = False) -> str:
    """A table of all that was asked, before and after."""
    if board is None:
        return ""
    parts, group = [], ""
    for row in board.rows:
        role = "neighbour" if row.role == "neighbour" else "asked"
        if role != group:
            group = role
            parts.append(f'<tr><th class="group" colspan="4" scope="colgroup">{_GROUPS[role]}</th></tr>')
        parts.append(_row(row, original))
    faded = " stale" if stale else ""
    return (
        f'<table class="fact-answers{faded}"><caption>What {html.escape(board.model)} says first</caption>'
        '<thead><tr><th scope="col">Asked</th><th scope="col">Before</th><th scope="col">After</th>'
        f'<th scope="col">So</th></tr></thead><tbody>{"".join(parts)}</tbody></table>'
    )


def _row(row: Row, original: bool) -> str:
    after = "…" if row.after is None else _answer(row.after)
    sign = ("✓ " if row.fine else "✗ ") + row.said if row.after is not None and not original else ""
    wrong = "" if row.fine or row.after is None or original else ' class="wrong"'
    return (
        f'<tr{wrong}><th class="asked" scope="row">{html.escape(row.prompt)}</th>'
        f'<td class="before">{_answer(row.before)}</td><td class="after">{after}</td><td class="how">{sign}</td></tr>'
    )


def _answer(answer: Answer) -> str:
    share = "100 %" if answer.chance >= 0.995 else "< 1 %" if answer.chance < 0.01 else f"{answer.chance:.0%}"
    share = share.replace("%", " %").replace("  ", " ")
    return (
        f"{html.escape(answer.word)} <small>{share}</small>"
        f'<span class="bar" style="width:{max(2, round(100 * answer.chance))}%"></span>'
    )


def why(board: Board | None) -> str:
    """Which layer the trace chose and by what."""
    if board is None or board.map is None:
        return ""
    told, chosen = board.map.why, board.layers
    if chosen and chosen[0] != board.map.layer:
        told += f" Written in layer {chosen[0]}, as you chose."
    return f'<p class="fact-why">{html.escape(told)}</p>'


def figures(board: Board | None) -> str:
    """CounterFact's measures as one line."""
    if board is None or not board.measures:
        return ""
    named = {"ES": "new beats old (ES)", "PS": "also when reworded (PS)", "NS": "neighbours (NS)", "S": "together (S)"}
    held = ", ".join(f"{named[name]} {value:g} %" for name, value in board.measures.items() if name in named)
    notes = "".join(f"<br>{html.escape(note)}" for note in board.notes)
    return f'<p class="fact-why">CounterFact’s measures of this one fact: {held}.{notes}</p>'


def past(at: int, made: int, board: Board | None) -> str:
    """Where in the history it stands."""
    if not made:
        return ""
    title = "the original model" if at == 0 or board is None else board.title
    return f'<p class="fact-why">Step {at} of {made}: {html.escape(title)}</p>'
