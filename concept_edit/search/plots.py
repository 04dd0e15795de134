"""Pictures of searches: heat maps and lines of traces, squares of heads, one head's attention over a prompt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from concept_edit.files import check_writable, replace_file

_COLOURS = {"hidden": "Purples", "mlp": "Greens", "attention": "Reds"}
_NAMES = {"hidden": "hidden state", "mlp": "MLP", "attention": "attention"}


Drawn = Any
"""A `Trace`; its room imports this one, so it is not named here."""


def figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """A figure that needs no display, and its axes.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("plots need matplotlib: pip install 'concept-edit[plots]'") from None
    made = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(made)
    return made, list(np.ravel(made.subplots(rows, columns, squeeze=False)))


def write_figure(made: Any, path: str | os.PathLike[str]) -> None:
    """Write it whole, as the file's ending says.

    Raises:
        ValueError: an ending that is no picture's.
    """
    ending = Path(path).suffix.lower().lstrip(".")
    if ending not in ("png", "svg", "pdf"):
        raise ValueError(f"{path}: a plot is written as .png, .svg or .pdf")
    check_writable(path)
    buffer = BytesIO()
    made.savefig(buffer, format=ending, dpi=140)
    replace_file(path, buffer.getvalue())


def plot_trace(trace: Drawn, path: str | os.PathLike[str]) -> None:
    """Heat maps of one prompt (its subject starred), lines with bands of an average."""
    made = _heat(trace) if trace.facts == 1 and not trace.low else _lines(trace)
    write_figure(made, path)


def _heat(trace: Drawn) -> Any:
    kinds = list(trace.effects)
    width = 2.2 + 3.4 * len(kinds)
    made, axes = figure(1, len(kinds), (width, 1.6 + 0.26 * len(trace.rows)))
    labels = [_label(row, role) for row, role in zip(trace.rows, trace.roles, strict=True)]
    for number, (axis, kind) in enumerate(zip(axes, kinds, strict=True)):
        effects = trace.effects[kind].numpy()
        image = axis.imshow(
            effects, aspect="auto", cmap=_COLOURS[kind], vmin=0, vmax=max(float(np.nanmax(effects)), 1e-9),
            interpolation="nearest",
        )  # fmt: skip
        _mark(axis, trace, kind)
        axis.set_yticks(range(len(labels)), labels if number == 0 else [""] * len(labels), fontsize=9)
        axis.set_xlabel("layer")
        axis.set_title(_title(trace, kind), fontsize=10)
        made.colorbar(image, ax=axis, fraction=0.06, pad=0.02)
    told = trace.measure if trace.clean == 1 else f"p {trace.clean:.3f}, with noise {trace.corrupted:.3f}"
    made.suptitle(f"{trace.title}    {told}", fontsize=11)
    return made


def _mark(axis: Any, trace: Drawn, kind: str) -> None:
    """Frame the computed cells where others are estimates; cells without effect are left bare."""
    known = trace.exact.get(kind)
    if known is None or bool(known.all()):
        return
    for token, layer in (known & (trace.effects[kind] != 0)).nonzero().tolist():
        axis.add_patch(_frame(layer, token, colour="0.55", width=0.6))


def _lines(trace: Drawn) -> Any:
    kinds = list(trace.effects)
    made, axes = figure(1, len(kinds), (1.0 + 4.2 * len(kinds), 4.0))
    for axis, kind in zip(axes, kinds, strict=True):
        for number, role in enumerate(trace.rows):
            values = trace.effects[kind][number].numpy()
            bold = role in ("last subject", "last")
            (line,) = axis.plot(values, label=role, linewidth=2.2 if bold else 1.0)
            if trace.low:
                low, high = (side[kind][number].numpy() for side in (trace.low, trace.high))
                if np.isfinite(low).all():
                    axis.fill_between(range(len(values)), low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.axhline(0, color="0.6", linewidth=0.6)
        axis.set_xlabel("layer")
        axis.set_title(_title(trace, kind), fontsize=10)
    axes[0].set_ylabel(f"{trace.measure} gained")
    handles, labels = axes[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    made.suptitle(
        f"{trace.model}, {trace.title}: p {trace.clean:.3f}, with noise {trace.corrupted:.3f}; bands: 95 % over facts",
        fontsize=11,
    )
    return made


def _title(trace: Drawn, kind: str) -> str:
    window = trace.windows[kind]
    cut = f", later {_NAMES[trace.severed]}s severed" if trace.severed else ""
    known = trace.exact[kind].numpy() if kind in trace.exact else np.ones(1, dtype=bool)
    guessed = "" if known.all() else "\n(framed: computed; the rest: the gradient's estimate)"
    return f"{_NAMES[kind]} restored" + (f", {window} layers" if window > 1 else "") + cut + guessed


def _label(token: str, role: str) -> str:
    shown = token.replace("\n", "⏎").replace("$", r"\$").strip() or "·"
    return shown + "*" * ("subject" in role)


def plot_squares(
    effects: np.ndarray, path: str | os.PathLike[str], *, title: str, marked: Sequence[tuple[int, int]] = ()
) -> None:
    """The map of heads: layers x heads, the bluer the more the head does; `marked` heads are framed."""
    width = max(4.0, 1.8 + 0.23 * effects.shape[0])
    made, (axis,) = figure(1, 1, (width, 1.7 + 0.23 * effects.shape[1]))
    top = max(float(np.nanmax(np.abs(effects))), 1e-9)
    image = axis.imshow(effects.T, cmap="RdBu", vmin=-top, vmax=top, aspect="equal", interpolation="nearest")
    for layer, head in marked:
        axis.add_patch(_frame(layer, head))
    axis.set_xlabel("layer")
    axis.set_ylabel("head")
    axis.set_title(fill(title, round(8 * width)), fontsize=10)
    made.colorbar(image, ax=axis, shrink=0.75, pad=0.02, label="probability of the answer gained")
    write_figure(made, path)


def _frame(column: int, row: int, *, colour: str = "black", width: float = 1.0) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=width)


def plot_attention(weights: np.ndarray, tokens: Sequence[str], path: str | os.PathLike[str], *, title: str) -> None:
    """One head's attention: from each token (row) to the tokens before it (columns)."""
    labels = [_label(token, "") for token in tokens]
    side = 1.6 + 0.2 * len(labels)
    made, (axis,) = figure(1, 1, (side + 0.8, side))
    image = axis.imshow(weights, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axis.set_yticks(range(len(labels)), labels, fontsize=7)
    axis.set_title(title, fontsize=10)
    made.colorbar(image, ax=axis, fraction=0.04, pad=0.02)
    write_figure(made, path)
