"""One sentence on what an edit did: from pictures where a judge is there, else from the text side; it says which."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ui.bench.cells import Cell

if TYPE_CHECKING:
    from concept_edit.diagnose import Diagnosis
    from concept_edit.familiar import Familiar
    from ui.bench.seeing import Eye

State = Literal["good", "look", "bad", "calm", "stale"]
_MARKS = {"good": "✓", "look": "!", "bad": "✗", "calm": "·", "stale": "↻"}
_WORDS = {"good": "Good", "look": "Worth a look", "bad": "Careful", "calm": "", "stale": "Changed since"}


@dataclass(frozen=True)
class Verdict:
    """What is shown in colour under the pictures."""

    state: State
    sentence: str
    by: str = ""
    """Where the sentence comes from."""

    def stale(self, why: str) -> Verdict:
        """The same, greyed: something changed after it was found."""
        return replace(self, state="stale", sentence=f"{why} What stood here: {self.sentence}")

    def html(self) -> str:
        """A line with a mark and a word, so that the colour says nothing alone."""
        word = f"<b>{_WORDS[self.state]}.</b> " if _WORDS[self.state] else ""
        by = f"<small>{html.escape(self.by)}</small>" if self.by else ""
        return (
            f'<div class="verdict {self.state}" role="status" aria-live="polite"><span aria-hidden="true">'
            f"{_MARKS[self.state]}</span><p>{word}{html.escape(self.sentence)} {by}</p></div>"
        )


def from_pictures(cells: Sequence[Cell], names: Sequence[str], eye: Eye, unknown: Sequence[Familiar]) -> Verdict | None:
    """How many of the asked pictures no longer show what was taken out, and how many of the others show what they did.
    None where the judge knows none of the names."""
    known = [name for name in names if eye.knows(name)]
    if not known:
        return None
    before = eye([cell.before for cell in cells if cell.before is not None])
    after = eye([cell.after for cell in cells if cell.after is not None])
    seen = list(zip(cells, before, after, strict=True))
    asked = [(b, a) for cell, b, a in seen if cell.role == "word" and any(b.shows(name) for name in known)]
    gone = sum(not any(a.shows(name) for name in known) for _, a in asked)
    rest = [(b, a) for cell, b, a in seen if cell.role != "word"]
    same = sum((b.concept, b.style) == (a.concept, a.style) for b, a in rest)
    by = f"Seen by {eye.name} in {len(cells)} pairs of pictures; a few pictures show a tendency, Check counts more."
    what = _listed(known)
    if unknown:
        return Verdict("bad", unknown[0].sentence, by)
    if not asked:
        return Verdict("bad", f"The pictures before do not show {what} either, so nothing can be seen to go.", by)
    sentence = f"{what}: gone in {gone} of {len(asked)} pictures; others unchanged in {same} of {len(rest)}."
    good = gone == len(asked) and same == len(rest)
    return Verdict("good" if good else "look" if gone * 2 >= len(asked) else "bad", sentence, by)


def from_text(diagnosis: Diagnosis, unknown: Sequence[Familiar]) -> Verdict:
    """What the text side foretells."""
    by = "Foretold from the text side; this model has no judge here, so look at the pictures."
    if unknown:
        return Verdict("bad", unknown[0].sentence, by)
    worst = {check.name: check for check in sorted(diagnosis.checks, key=lambda check: check.value)}
    told = []
    if "erased concept left" in worst:
        told.append(f"{worst['erased concept left'].value:.0%} of {worst['erased concept left'].subject} is left")
    if "drift of kept prompts" in worst:
        told.append(f"kept prompts move by {worst['drift of kept prompts'].value:.0%} at most")
    if "drift of plain captions" in worst:
        told.append(f"everyday captions by {worst['drift of plain captions'].value:.0%}")
    state: State = "good" if diagnosis.verdict == "good" else "look" if diagnosis.verdict == "look" else "bad"
    return Verdict(state, f"{', '.join(told)}." if told else "Solved.", by)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
