"""The page of `rivals_quality.py`: tables of what was measured, and who wins where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy
from rivals_quality import ASKED, CHOICE_STYLE, SCENES, UNSEEN, UNSEEN_STYLED, Figures

Measured = Sequence[tuple[str, str, Figures | str]]
"""Method, its setting in words, and its figures or why it refused; the original first."""
BAKED = "weights"
SERVED = "gate"


OURS = (
    *("guarded", "guarded, as it comes", "guarded, as it comes, the model's own captions"),
    *("gated", "gated, as it comes", "gated, as it comes, the model's own captions"),
)
"""Methods that the table of differences has columns for."""


def page(found: Mapping[str, Measured]) -> str:
    parts = [PREFACE]
    for kind, title in (("concept", "12 of 48 concepts erased"), ("style", "One style erased")):
        if kind in found:
            parts += [f"## {title}", ABOUT[kind], table(kind, found[kind]), gaps(kind, found[kind])]
            parts += [settings(found[kind])]
    return "\n\n".join(parts) + "\n"


def _interval(draws: numpy.ndarray) -> str:
    low, high = numpy.quantile(draws, (0.025, 0.975))
    return f"{low:.2f} to {high:.2f}"


def _cells(kind: str, seen: Figures) -> list[str]:
    shares = [seen.share("gone exact"), seen.share("gone unseen"), seen.share("named")]
    if kind == "concept":
        parts = (f"{here} of {there}" for here, there in (seen.unnamed(True), seen.unnamed(False)))
        return [*(f"{s:.2f}" for s in (*shares, seen.share("unnamed"))), ", ".join(parts)]
    each = (one(seen, name).left() for name in ASKED["style"])
    return [*(f"{s:.2f}" for s in (*shares, seen.share("gone", what="concept"))), " / ".join(f"{s:.2f}" for s in each)]


def one(seen: Figures, style: str) -> Figures:
    """The figures of one erased style alone; a style's pictures are counted as gone in its own run only."""
    rows = [row for row in seen.rows if not row["group"].startswith("gone") or row["style"] == style]
    return Figures(seen.kind, rows, seen.before)


HEADS = {
    "concept": ("left, exact ↓", "left, unseen ↓", "named kept ↑", "unnamed kept ↑", "listed, unlisted"),
    "style": (
        *("left, exact ↓", "left, unseen ↓", "other styles ↑", "thing still named ↑"),
        f"left: {' / '.join(ASKED['style'])}",
    ),
}


def table(kind: str, measured: Measured) -> str:
    head = ("method", "what it is", *HEADS[kind], "H ↑ (95 %)")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    shown = [(m, seen) for m, _, seen in measured if not isinstance(seen, str) and m != "original"]
    for method, seen in sorted(shown, key=lambda each: -each[1].harmonic()):
        what = SERVED if method.startswith("gated") else BAKED
        h = f"{seen.harmonic():.3f} ({_interval(seen.draws())})"
        lines.append(f"| {' | '.join((method, what, *_cells(kind, seen), h))} |")
    original = measured[0][2]
    assert not isinstance(original, str)
    lines.append(f"| the original model | | {' | '.join(_cells(kind, original))} | |")
    return "\n".join([*lines, *(f"\nRefused: {m}: {seen}" for m, _, seen in measured if isinstance(seen, str))])


def gaps(kind: str, measured: Measured) -> str:
    """Ours minus each rival, over the same draws."""
    seen = {m: s for m, _, s in measured if not isinstance(s, str)}
    ours = [m for m in OURS if m in seen]
    rivals = [m for m in seen if m != "original" and not m.startswith(("guarded", "gated"))]
    head = ("H minus that of", *ours)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    drawn = {m: seen[m].draws() for m in (*ours, *rivals)}
    for rival in rivals:
        cells = []
        for own in ours:
            gap = drawn[own] - drawn[rival]
            cells.append(f"{seen[own].harmonic() - seen[rival].harmonic():+.3f} ({_interval(gap)})")
        lines.append(f"| {' | '.join((rival, *cells))} |")
    return "\n".join(lines)


def settings(measured: Measured) -> str:
    lines = [f"- {method}: {setting}" for method, setting, _ in measured if setting]
    return "Settings, chosen on the other prompts:\n\n" + "\n".join(lines)


PREFACE = """# Our methods beside other closed forms, on pictures

`python benchmarks/rivals_quality.py choose`, `measure`, `table` write this page ([script](rivals_quality.py)); the
rivals' solvers are [our own](rivals.py), written from their papers and tested against plain least squares. The
embedded model, 10 steps; its judge, which no edit saw, names what pictures show. Every method gets the same list of
kept prompts and the same wordings of what goes, and the best of its settings (guide, rows, weights, thresholds,
further wordings) by H on prompts of their own. `guarded` holds some nine hundred [common
names](../concept_edit/prompts/names.py) by itself, from lists that others published: *common names too* are rivals
that are given those as kept prompts, *no common names* is `guarded` without. The list happens to hold 40 of the 48
concepts; *listed, unlisted*: pictures of unnamed concepts that are on it and that are not, still named. *As it comes*:
our defaults, with nothing but the words that go, to which they take wordings by themselves; *our wordings too*: rivals
that are told a style in the same ones. Their corpus is everyday captions that name no concept and no style of the
model; *the model's own captions* name them all. H: harmonic mean of 1 - left (exact and unseen wordings alike) and
kept (each group alike). Kept shares are relative to the original model's. Intervals: 95 %, bootstrap. A *gate* acts
while the model is served and cannot be exported; *weights* can be baked, or be a LoRA."""
ABOUT = {
    "concept": f"""Of the other 36, 18 are in the kept list and 18 are in nobody's. Settings were chosen on another draw
of 12, 18 and 18. Unseen wordings: {"; ".join(w.format(thing="X") for w in UNSEEN)}.""",
    "style": f"""{", ".join(ASKED["style"])}, one at a time; settings were chosen on {CHOICE_STYLE} with other scenes.
Many settings do all that is asked there, and of equal ones the first was taken. The kept list holds the other styles,
and pictures in them. {len(SCENES)} scenes. Half of the original's pictures in the unseen wordings show the style:
{"; ".join(w.format(thing="Y", style="X") for w in UNSEEN_STYLED)}.
All pictures have one seed; with seeds of their own, and in more wordings, ours leave 6 and 7 %:
[styles](erased_styles.md).""",
}
