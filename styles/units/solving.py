"""The closed form behind a control, solved in the natural directions of w.

    mean_M ‖J y - t‖² + o · mean_outside ‖J y‖² + λ ‖y‖²,      δ = A L y,      Σ = A L Lᵀ Aᵀ

J is how pictures change along the natural directions (`natural.Natural`), t the wanted change inside the mask M. The
natural covariance Σ of all units is what is held, as the key covariance is in an associative memory: it keeps the
change among those that the generator makes by itself, so that a lamp's glow and mirror image go with the lamp although
nobody marked them. J is taken half way between the picture and the change found so far, and again; how long the move
must be is measured on real pictures, not extrapolated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.generator import Generator
from styles.layers import NOISES, Noise
from styles.units.goals import Goal, Pictures, colours, excess, region_mean, surroundings
from styles.units.modulate import UnitEdit
from styles.units.natural import Natural, latents
from styles.units.rank import weights_of

Kept = Tensor | UnitEdit | Callable[[Pictures], Tensor]
SIDE = 64
"""Pictures are compared at this side at most, so that penalties mean the same for every generator."""
STEP, PULL = 1.2, 0.5
"""Half width of the central differences in natural standard deviations, and how far their centre is drawn to the mean.

Wide differences about tamer pictures tell what a direction does in general: a lamp at full power is saturated, and its
own picture hardly tells what dims it.
"""
ASKED = 0.8
"""Root mean square to which a wanted change is brought, so that small changes are solved as well as large ones."""
FARTHEST = 8.0
"""Longest move in natural standard deviations; farther out pictures fall apart."""
ENOUGH = 0.7
"""Share of what was asked from which on it is there."""
NEARLY = 0.05
"""Of the solutions that come so near to the best one's share, the shortest is taken: it is the most natural."""
OWN = 256
"""Own pictures of the generator that are looked at: for the dark state, companions, and what goes with what."""


@dataclass(frozen=True)
class Weights:
    """What counts how much, against a mean square of 1 inside the mask (colours on the scale 0 to 1)."""

    outside: float = 0.04
    """o: mean square of the change outside the mask."""
    prior: float = 1e-3
    """λ: square of the distance in natural standard deviations."""
    protect: float = 1.0
    """Mean square of the change of protected pixels."""


class Found(NamedTuple):
    """A solution."""

    y: Float[Tensor, " k"]
    reached: float
    """Mean share of what was asked on the marked pictures."""
    place: float
    """Where, along the direction of the move, these pictures stand when each has gone its own way to the end."""


class Solve:
    """One control under way: the marked pictures, their masks, what is kept, and the natural directions."""

    def __init__(
        self,
        model: Generator,
        w: Tensor,
        mask: Tensor,
        *,
        protect: Tensor | None = None,
        keep: Mapping[str, Kept] | None = None,
        noise: Noise = "const",
        seed: int = 0,
    ) -> None:
        if noise not in NOISES[:2]:
            raise ValueError(f"a control is solved with noise {' or '.join(NOISES[:2])}, got {noise!r}.")
        self.model, self.noise, self.w = model, noise, model.full_w(w)
        self.side = min(SIDE, model.config.resolution)
        stack, _ = weights_of(mask, len(self.w), self.side, model, protect=protect, ignore=None)
        self.masks, self.protect = stack[:, 0], stack[:, 2]
        self.marked = len(self.w)
        self._look()
        self.natural = Natural.of(model)
        units = torch.eye(len(self.natural))
        self.columns = self.natural.shift(model, units)
        self.keep = dict(keep or {})
        for name, kept in self.keep.items():
            if not (isinstance(kept, Tensor | UnitEdit) or callable(kept)):
                raise ValueError(f"keep_named holds masks, unit edits or functions, got {kept!r} for {name!r}.")
        self.own_w = model.full_w(next(latents(model, OWN, truncation=1.0, seed=seed, batch=OWN)))
        readers = {name: kept for name, kept in self.keep.items() if not isinstance(kept, Tensor | UnitEdit)}
        self.own = self.pictures(model.styles(self.own_w), readers)
        """Some of the generator's own pictures."""
        self.everywhere = self._everywhere()
        self.report(None, 1)

    def _look(self) -> None:
        """The unit values and pictures of all w vectors."""
        self.styles = self.model.styles(self.w)
        self.before = self.pictures(self.styles)

    def accompany(self, count: int) -> None:
        """Add own pictures in which the marked region is lit as well: one picture alone tells a direction badly.

        They are those in which a mask stands out against its surroundings more than in nine of ten others, past the
        very brightest, which are saturated; `marked` still counts the pictures that were given.
        """
        rows: list[int] = []
        masks = [at % self.marked for at in range(count)]
        for at in masks:
            mask = self.masks[at, None]
            order = excess(self.own, mask, surroundings(mask)).argsort(descending=True)[OWN // 10 :].tolist()
            rows.append(next(row for row in order if row not in rows))
        self.w = torch.cat([self.w, self.own_w[rows]])
        self.masks, self.protect = (torch.cat([area, area[masks]]) for area in (self.masks, self.protect))
        self._look()

    def _everywhere(self) -> Float[Tensor, "rows k"]:
        """What must not move anywhere: other controls, and numbers that a function reads off pictures.

        How a number goes with the natural directions is a regression over the generator's own pictures.
        """
        k = len(self.natural)
        rows = [torch.zeros(0, k, device=self.w.device)]
        y = self.natural.place(self.own_w)
        y = y - y.mean(0)
        for numbers in self.numbers.values():
            normal = y.T @ y + 0.05 * len(y) * torch.eye(k, device=y.device)
            rows.append(torch.linalg.solve(normal, y.T @ (numbers - numbers.mean(0))).T)
        for kept in self.keep.values():
            if isinstance(kept, UnitEdit):
                rows.append(self.natural.move(self.model, kept.shifts(self.model))[None])
        return torch.cat(rows)

    def report(self, progress: Callable[[int, int], None] | None, steps: int) -> None:
        """Whom to tell of the pictures painted."""
        self.progress, self.done, self.total = progress, 0, steps * len(self.w)

    def pictures(
        self, styles: Mapping[str, Tensor], readers: Mapping[str, Callable[[Pictures], Tensor]] | None = None
    ) -> Pictures:
        """Pictures of unit values at the side where they are compared, painted in pieces.

        `readers` see every piece in full resolution first; what they give is kept in `self.numbers`.
        """
        room = max(1, 32 * SIDE**2 // self.model.config.resolution**2)
        count = len(next(iter(styles.values())))
        made, numbers = [], {name: [] for name in readers or {}}  # type: ignore[var-annotated]
        for start in range(0, count, room):
            part = {name: value[start : start + room] for name, value in styles.items()}
            image = self.model.synthesize_styles(part, noise=self.noise)
            for name, read in (readers or {}).items():
                numbers[name].append(_numbers(read(image), name, len(image)))
            made.append(nnf.adaptive_avg_pool2d(image, self.side))
        self.numbers = {name: torch.cat(values).to(self.w) for name, values in numbers.items()}
        return torch.cat(made)

    def moved(self, image: int, ys: Float[Tensor, "moves k"], *, pull: float = 0.0) -> dict[str, Tensor]:
        """Unit values of one marked picture after some moves; `pull` draws the picture towards the mean first."""
        w = self.w[image : image + 1]
        styles = self.model.styles(torch.lerp(w, self.natural.mean.expand_as(w), pull))
        return {name: value + ys @ self.columns[name] for name, value in styles.items()}

    def solve(self, goal: Goal, weights: Weights, steps: int) -> Found:
        """Solved, measured, and solved again on the way until what was asked is there; else the best one.

        Each picture is solved on its own, since lamps are not equally bright and some are saturated; what their
        directions have in common is kept, and the mean of the lengths that they need.
        """
        y, found = torch.zeros(len(self.natural), device=self.w.device), []
        for _ in range(steps):
            systems = [self.normal(goal, weights, image, y) for image in range(len(self.w))]
            kept = torch.stack([rows for _, _, rows in systems]).mean(0)
            free = _free(torch.cat([kept, self.everywhere]))
            own = [free @ torch.linalg.solve(free.T @ n @ free, free.T @ right) for n, right, _ in systems]
            direction = nnf.normalize(nnf.normalize(torch.stack(own), dim=1).mean(0), dim=0)
            lengths = self.far_enough(goal, direction)
            y = lengths[: self.marked].mean() * direction
            place = float((self.natural.place(self.w) @ direction + lengths).median())
            found.append(Found(y, self.reached(goal, y), place))
            if found[-1].reached >= ENOUGH:
                break
        most = max(row.reached for row in found)
        return min((row for row in found if row.reached >= most - NEARLY), key=lambda row: float(row.y.norm()))

    def normal(
        self, goal: Goal, weights: Weights, image: int, y: Float[Tensor, " k"]
    ) -> tuple[Float[Tensor, "k k"], Float[Tensor, " k"], Float[Tensor, "rows k"]]:
        """The normal equations of one picture, and the rows of what must not move."""
        change, kept = self.differences(image, y)
        inside, guard = goal.region[image], self.protect[image]
        rest = 1 - inside
        held = weights.outside * rest / rest.sum() + weights.protect * guard / guard.sum().clamp_min(1.0)
        seen, flat, wanted = goal.view(change).flatten(1), colours(change).flatten(1), goal.wanted[image]
        marked = _spread(inside / inside.sum(), wanted)
        wanted = wanted * ASKED / (marked @ wanted.flatten().square()).sqrt()
        normal = (seen * marked) @ seen.T + (flat * _spread(held, change[0])) @ flat.T
        return normal + weights.prior * torch.eye(len(y), device=y.device), (seen * marked) @ wanted.flatten(), kept

    def differences(
        self, image: int, y: Float[Tensor, " k"]
    ) -> tuple[Float[Tensor, "k rgb h w"], Float[Tensor, "rows k"]]:
        """J of one picture on the way to a move, by central differences; and what each direction does to kept masks."""
        steps = STEP * torch.eye(len(y), device=y.device)
        middle = (1 - PULL) * y / 2
        around = self.moved(image, torch.cat([middle + steps, middle - steps]), pull=PULL)
        up, down = self.pictures(around, self._readers()).chunk(2)
        rows = [(a - b).T / (2 * STEP) for a, b in (value.chunk(2) for value in self.numbers.values())]
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
        return (up - down) / (2 * STEP), torch.cat([torch.zeros(0, len(y), device=y.device), *rows])

    def _readers(self) -> dict[str, Callable[[Pictures], Tensor]]:
        """What reads the mean colours of kept masks off pictures."""
        found: dict[str, Callable[[Pictures], Tensor]] = {}
        for name, kept in self.keep.items():
            if isinstance(kept, Tensor):
                full = self.model.config.resolution
                area = weights_of({name: kept}, 1, full, self.model, protect=None, ignore=None)[0][:, 0]
                found[name] = lambda pictures, area=area: region_mean(pictures, area)  # type: ignore[misc]
        return found

    def far_enough(self, goal: Goal, direction: Float[Tensor, " k"]) -> Float[Tensor, " images"]:
        """How far each picture must go along a direction: until all that was asked shows, or its way turns back."""
        ends = []
        for image in range(len(self.w)):
            low, high = 0.0, FARTHEST
            for parts in (16, 8, 8):
                lengths = torch.linspace(low, high, parts + 1, device=direction.device)
                after = self.pictures(self.moved(image, lengths[:, None] * direction))
                shares, levels = goal.share(after, image), goal.level(after, image)
                turns = torch.cat([levels[1:] < levels[:-1], torch.ones(1, dtype=torch.bool, device=levels.device)])
                at = int(((shares >= 1) | turns).float().argmax())
                beyond = 0.0 if bool(shares[at] >= 1) else 1.0
                part = (high - low) / parts
                low, high = max(0.0, float(lengths[at]) - part), min(FARTHEST, float(lengths[at]) + beyond * part)
            ends.append(lengths[at])
        return torch.stack(ends)

    def reached(self, goal: Goal, y: Float[Tensor, " k"]) -> float:
        """The mean share of what was asked after a move, over the marked pictures."""
        shares = [goal.share(self.pictures(self.moved(image, y[None])), image) for image in range(self.marked)]
        return float(torch.cat(shares).mean())


def _numbers(read: Tensor, name: str, count: int) -> Float[Tensor, "count numbers"]:
    """What a reader gave, as rows."""
    values = torch.as_tensor(read).float()
    if not values.ndim or len(values) != count or not bool(torch.isfinite(values).all()):
        raise ValueError(f"what keep_named has as {name!r} must give one or more finite numbers for each picture.")
    return values.reshape(count, -1)


def _spread(weights: Float[Tensor, "h w"], like: Float[Tensor, "channels h w"]) -> Float[Tensor, " numbers"]:
    """Weights of pixels as weights of all numbers of a picture, the channels sharing them."""
    return weights.expand_as(like).flatten() / len(like)


def _free(rows: Float[Tensor, "rows k"]) -> Float[Tensor, "k free"]:
    """An orthonormal basis of the moves that leave the kept numbers alone."""
    k = rows.shape[1]
    if not len(rows):
        return torch.eye(k, device=rows.device)
    scaled = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-9)
    _, sizes, axes = torch.linalg.svd(scaled, full_matrices=True)
    free = axes[int((sizes > 1e-4).sum()) :].T
    if not free.shape[1]:
        raise ValueError(f"keep_named holds {len(rows)} numbers, which leaves nothing to turn; name less.")
    return free
