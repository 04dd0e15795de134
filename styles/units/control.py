"""A switch solved from a mask: the change of all units, or of a few, that does what is asked of the marked region."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from styles.generator import Generator
from styles.layers import Noise
from styles.units.few import refit
from styles.units.goals import Goal, coloured, darker, resized
from styles.units.modulate import Unit, UnitEdit
from styles.units.natural import Natural
from styles.units.rank import full_precision
from styles.units.solving import ENOUGH, Kept, Solve, Weights

NOTHING = 0.05
"""Up to this share of what was asked nothing came of it."""
COMPANIONS = 3
"""Own pictures of the generator that are solved beside the marked ones."""
OTHERS = 10
"""Own pictures of the generator on which few units are fitted besides the marked ones, so that they transfer."""
MARKED = 0.3
"""What all marked pixels of a picture count together when few units are fitted, against 1 for the whole picture."""


def solve_control(
    model: Generator,
    w: Float[Tensor, "images layers d_w"] | Float[Tensor, "images d_w"],
    mask: Tensor,
    *,
    darken: float | None = None,
    colour: Sequence[float] | None = None,
    size: float | None = None,
    protect: Tensor | None = None,
    keep_named: Mapping[str, Kept] | None = None,
    units: int | Sequence[Unit] | None = None,
    weights: Weights | None = None,
    steps: int = 3,
    noise: Noise = "const",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> UnitEdit:
    """Solve the change of units that does what is asked of a marked region, on one or several pictures.

    Asked is one of: `darken` (1, also when nothing is asked: the region's light is gone; -1: doubled), `colour` (the
    region's mean becomes it, three numbers from 0 to 1), `size` (a factor). `mask` and `protect` are h x w or images x
    h x w; `protect` marks pixels that should stay. `keep_named` names what must not move: a mask (its mean colour
    there), a unit edit (another control), or a function from pictures to numbers (batch, or batch x numbers).

    `units` None gives the switch of all units; a number at most so many units, refitted to do what the switch does; a
    list just these units. The edit shifts units: `edit.applied(model, strength=0)` leaves every picture bit for bit,
    -1 does the opposite. Its `measured` tells, on the given pictures, `reached` (1: all that was asked), `outside`
    (mean change outside the mask), `distance` (in natural standard deviations), `place` (for `even_strengths`) and, for
    few units, `kept`.

    A warning tells how far a control came that cannot be reached. ValueError: a mask that is empty, covers everything
    or is dark, a change that the generator cannot make at all, or settings that contradict each other.
    """
    make = asked(darken, colour, size)
    if model.edited:
        raise ValueError("the generator has edits of turned() on it; solve outside the with block.")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    with full_precision(model), torch.no_grad():
        job = Solve(model, w, mask, protect=protect, keep=keep_named, noise=noise, seed=seed)
        if colour is None and size is None:
            job.accompany(COMPANIONS)
        job.report(progress, steps)
        goal = make(job)
        y, reached, place = job.solve(goal, weights or Weights(), steps)
        if reached <= NOTHING:
            raise ValueError(
                f"this generator cannot make the region {goal.what}: at the end of the way it had come "
                f"{max(reached, 0.0):.0%} of what was asked, {float(y.norm()):.1f} natural standard deviations away."
            )
        note = f"a switch: the region {goal.what}"
        edit = measured(job, goal, job.natural.shift(model, y), note, distance=float(y.norm()), place=place)
        if units is not None:
            edit = few_units(job, goal, edit, units)
    told = dict(edit.measured)["reached"]
    if told < ENOUGH:
        warnings.warn(f"the region came {told:.0%} of the way to being {goal.what}, no farther.", stacklevel=2)
    return edit


def asked(darken: float | None, colour: Sequence[float] | None, size: float | None) -> Callable[[Solve], Goal]:
    """The one goal that was asked for, to be made once the pictures are there."""
    given = [name for name, value in (("darken", darken), ("colour", colour), ("size", size)) if value is not None]
    if len(given) > 1:
        raise ValueError(f"ask for one thing at a time, got {' and '.join(given)}.")
    if colour is not None:
        return lambda job: coloured(job.before, job.masks, tuple(colour))
    if size is not None:
        return lambda job: resized(job.before, job.masks, size)
    amount = 1.0 if darken is None else float(darken)
    if not math.isfinite(amount) or not 0.05 <= abs(amount) <= 2:
        raise ValueError(
            f"darken is a number from -2 to 2 and not 0 (1: the light is gone, -1: doubled), got {darken}."
        )
    return lambda job: darker(job.before, job.masks, amount, job.own)


def measured(job: Solve, goal: Goal, shift: Mapping[str, Tensor], note: str, **more: float) -> UnitEdit:
    """The edit of a change of units, and what it does to the marked pictures, measured on them."""
    rows = [
        (name, channel, value)
        for name, values in shift.items()
        for channel, value in enumerate(values.tolist())
        if value != 0
    ]
    edit = UnitEdit(tuple(rows), "shift", "style", note)
    marked = slice(job.marked)
    with edit.applied(job.model):
        after = job.pictures({name: value[marked] for name, value in job.styles.items()})
    rest = 1 - goal.region[marked]
    change = ((after - job.before[marked]).abs().mean(1) / 2 * rest).sum() / rest.sum()
    told = {"reached": float(goal.share(after, marked).mean()), "outside": float(change), **more}
    return UnitEdit(edit.units, "shift", "style", note, tuple((name, round(x, 4)) for name, x in told.items()))


def few_units(job: Solve, goal: Goal, switch: UnitEdit, units: int | Sequence[Unit]) -> UnitEdit:
    """The switch refitted on few units, with the share of it that they keep."""
    w = torch.cat([job.w[: job.marked], job.own_w[:OTHERS]])
    weight = torch.ones(len(w), job.side, job.side, device=w.device)
    region = goal.region[: job.marked]
    weight[: job.marked] += MARKED * job.side**2 * region / region.sum((1, 2), keepdim=True)
    shift = refit(job.model, job.model.styles(w), switch.shifts(job.model), units, weight, job.pictures)
    count = sum(int((values != 0).sum()) for values in shift.values())
    edit = measured(job, goal, shift, f"{count} units that stand for {switch.note}")
    kept = dict(edit.measured)["reached"] / max(dict(switch.measured)["reached"], 1e-6)
    return UnitEdit(edit.units, "shift", "style", edit.note, (*edit.measured, ("kept", round(kept, 4))))


@torch.no_grad()
def even_strengths(
    model: Generator, w: Float[Tensor, "images layers d_w"] | Float[Tensor, "images d_w"], switch: UnitEdit
) -> Float[Tensor, " images"]:
    """How strongly each picture is switched to end where the marked pictures did; 0 for one that is there already.

    A shift that darkens a bright lamp overturns a weak one. Along the switch's direction pictures stand at different
    places; the marked ones ended at `place`. `switch` is one of all units that `solve_control` made.
    """
    place, natural = dict(switch.measured).get("place"), Natural.of(model)
    if place is None:
        raise ValueError("this edit does not tell where it ends; give a switch of all units made by solve_control.")
    y = natural.move(model, switch.shifts(model))
    now = natural.place(model.full_w(w)) @ y / y.norm()
    return ((place - now) / y.norm()).clamp_min(0)
