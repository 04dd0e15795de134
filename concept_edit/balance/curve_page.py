"""A slider's curve as one HTML file: the shares counted with their intervals, the monotone curve, the marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from concept_edit.evaluation.page import page, paragraph, section, table

_WIDE, _HIGH, _EDGE = 640, 320, 44
"""The drawing and its margin, in units of the drawing."""
_LINE = 'stroke="currentColor"'


Told = Mapping[str, Any]


def curve_page(curve: Told, marks: Sequence[float], told: str) -> str:
    """The whole page of `Curve.as_dict()`, with its marks and what to say of them. It asks for nothing from outside."""
    head = ("strength", f"share of {curve['shown']}", "95 % interval", "pictures", "monotone")
    rows = [
        (f"{p['strength']:+.4g}", f"{p['share']:.2f}", f"{p['low']:.2f} to {p['high']:.2f}", str(p["n"]),
         f"{p['monotone']:.2f}")
        for p in curve["points"]
    ]  # fmt: skip
    shown = section("What is seen at each strength", _drawing(curve, marks), paragraph(told))
    counted = section("Counted", table(head, rows), paragraph(f"Named by {curve['labeller']}."))
    return page(f"Slider: {curve['shown']}", [shown, counted])


def _drawing(curve: Told, marks: Sequence[float]) -> str:
    points = curve["points"]
    first, last = points[0]["strength"], points[-1]["strength"]

    def x(strength: float) -> str:
        return f"{_EDGE + (strength - first) / (last - first) * (_WIDE - 2 * _EDGE):.1f}"

    def y(share: float) -> str:
        return f"{_HIGH - _EDGE - share * (_HIGH - 2 * _EDGE):.1f}"

    def bar(point: Told) -> str:
        low, high, share, at = point["low"], point["high"], point["share"], x(point["strength"])
        text = f"strength {point['strength']:+.4g}: {share:.2f} ({low:.2f} to {high:.2f})"
        return (
            f'<g><title>{text}</title><line x1="{at}" x2="{at}" y1="{y(low)}" y2="{y(high)}" {_LINE}/>'
            f'<circle cx="{at}" cy="{y(share)}" r="4" fill="currentColor"/></g>'
        )

    path = " ".join(f"{x(p['strength'])},{y(p['monotone'])}" for p in points)
    lines = "".join(
        f'<line x1="{_EDGE}" x2="{_WIDE - _EDGE}" y1="{y(share)}" y2="{y(share)}" {_LINE} opacity=".2"/>'
        f'<text x="{_EDGE - 8}" y="{y(share)}" text-anchor="end" dominant-baseline="middle">{share:g}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    ticks = "".join(
        f'<line x1="{x(mark)}" x2="{x(mark)}" y1="{y(0)}" y2="{_HIGH - _EDGE + 8}" {_LINE} stroke-width="3"/>'
        for mark in marks
    )
    ends = "".join(
        f'<text x="{x(p["strength"])}" y="{_HIGH - 14}" text-anchor="middle">{p["strength"]:+.3g}</text>'
        for p in points
    )
    label = escape(f"Share of pictures that show {curve['shown']}, by strength; thick ticks are the marks", quote=True)
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDE} {_HIGH}" width="100%" font-size="12" '
        f'fill="currentColor">{lines}<polyline points="{path}" fill="none" {_LINE} stroke-width="2" opacity=".6"/>'
        f"{''.join(map(bar, points))}{ticks}{ends}</svg>"
    )
