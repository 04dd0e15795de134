"""A slider's curve as one HTML file: the shares counted with their intervals, the monotone curve, the marks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Protocol

from concept_edit.evaluation.page import page, paragraph, section, table

_WIDE, _HIGH, _EDGE = 640, 320, 44
"""The drawing and its margin, in units of the drawing."""
_LINE = 'stroke="currentColor"'


class Point(Protocol):
    """Pictures counted at one strength."""

    @property
    def strength(self) -> float: ...

    @property
    def n(self) -> int: ...

    @property
    def share(self) -> float: ...

    @property
    def interval(self) -> tuple[float, float]: ...


class Curve(Protocol):
    """What is told of a curve: `marks.Curve`."""

    @property
    def shown(self) -> str: ...

    @property
    def labeller(self) -> str: ...

    @property
    def points(self) -> Sequence[Point]: ...

    @property
    def fitted(self) -> tuple[float, ...]: ...

    def marks(self, count: int = 9) -> tuple[float, ...]: ...


def curve_page(curve: Curve) -> str:
    """The whole page. It asks for nothing from outside."""
    try:
        marks, told = curve.marks(), "Marks at equal steps of the monotone curve: "
        told += ", ".join(f"{mark:+.3g}" for mark in marks)
    except ValueError as error:
        marks, told = (), f"No marks: {error}"
    head = ("strength", f"share of {curve.shown}", "95 % interval", "pictures", "monotone")
    rows = [
        (f"{p.strength:+.4g}", f"{p.share:.2f}", f"{p.interval[0]:.2f} to {p.interval[1]:.2f}", str(p.n), f"{fit:.2f}")
        for p, fit in zip(curve.points, curve.fitted, strict=True)
    ]
    shown = section("What is seen at each strength", _drawing(curve, marks), paragraph(told))
    counted = section("Counted", table(head, rows), paragraph(f"Named by {curve.labeller}."))
    return page(f"Slider: {curve.shown}", [shown, counted])


def _drawing(curve: Curve, marks: Sequence[float]) -> str:
    first, last = curve.points[0].strength, curve.points[-1].strength

    def x(strength: float) -> str:
        return f"{_EDGE + (strength - first) / (last - first) * (_WIDE - 2 * _EDGE):.1f}"

    def y(share: float) -> str:
        return f"{_HIGH - _EDGE - share * (_HIGH - 2 * _EDGE):.1f}"

    def bar(point: Point) -> str:
        low, high = point.interval
        at = x(point.strength)
        text = f"strength {point.strength:+.4g}: {point.share:.2f} ({low:.2f} to {high:.2f})"
        return (
            f'<g><title>{text}</title><line x1="{at}" x2="{at}" y1="{y(low)}" y2="{y(high)}" {_LINE}/>'
            f'<circle cx="{at}" cy="{y(point.share)}" r="4" fill="currentColor"/></g>'
        )

    path = " ".join(f"{x(p.strength)},{y(fit)}" for p, fit in zip(curve.points, curve.fitted, strict=True))
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
        f'<text x="{x(p.strength)}" y="{_HIGH - 14}" text-anchor="middle">{p.strength:+.3g}</text>'
        for p in curve.points
    )
    label = escape(f"Share of pictures that show {curve.shown}, by strength; thick ticks are the marks", quote=True)
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {_WIDE} {_HIGH}" width="100%" font-size="12" '
        f'fill="currentColor">{lines}<polyline points="{path}" fill="none" {_LINE} stroke-width="2" opacity=".6"/>'
        f"{''.join(map(bar, curve.points))}{ticks}{ends}</svg>"
    )
