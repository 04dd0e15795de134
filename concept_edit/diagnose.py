"""What an edit does to the text side, without painting an image: is the concept gone, is everything else where it was.

    print(diagnose(model, edit, held_out=["Rembrandt"]).table())

It catches the edit that paints noise before a single image is sampled. Lengths are measured as the matrices see them:
‖x‖² stands for Σ ‖W x‖² over every matrix W that reads the stream, one d_text x d_text product G = Σ WᵀW.
Where verdicts change was read off judged pictures (benchmarks/diagnosis.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from concept_edit.asked.items import AnyEdit
from concept_edit.asked.wordings import UNTOLD
from concept_edit.edit import Edit
from concept_edit.memory.solve import moment_matrix
from concept_edit.models.contract import Model
from concept_edit.prompts.collect import collect
from concept_edit.prompts.corpus import WIDE, default_corpus
from concept_edit.prompts.lens import lens_of
from concept_edit.prompts.memo import remembering
from concept_edit.prompts.stats import Rows, Statistics, Stream
from concept_edit.recipe import AUTO, Erase, Moderate, Recipe, normal

_LEFT, _DRIFT, _NULL = (0.3, 0.42), (0.3, 0.42), (0.1, 0.5)
"""From where on to look, and from where on bad. Drift of captions that name what the model draws sorts all but two of
62 judged edits at 0.42 into those that kept 95 % of their pictures and those that did not; of plain captions, which
name none of it, 62 of 80 at 0.3 and 56 at 0.42. Concepts under 0.3 were named in a fifth of theirs at most."""
_LEFT_OF_STYLES = (0.45, 0.6)
"""The same of what is left of a style, in the wordings of its kind: of 36 judged edits of styles the nine under 0.45
left it in 14 % of its pictures at most, the three from 0.6 on in a third or more (benchmarks/erased_styles.md)."""
_NAME_ALONE = ((), ("{}",))
"""Wordings that say of a concept no more than its name."""
_MOST = 100
"""Concepts looked at one by one; of longer recipes the first so many."""
_SITES = 32
"""Matrices per stream that make up G, evenly spaced; lengths are ratios, and more change them little."""
_EVERY_ROW: Any = {"method": "uce", "tokens": "subject", "keep_null": False}
"""Settings of a recipe that is only collected: all rows that speak for its prompts, and no corpus."""
_REVIVAL_RIDGE = 1e-3
"""r of RECE's regularised inverse, relative to the mean eigenvalue of JᵀGJ."""


@dataclass(frozen=True)
class Check:
    """One measured figure and what it says."""

    name: str
    """What was measured."""
    stream: str
    """The text stream it was measured in."""
    subject: str
    """The prompt it is about; the worst one where several were measured."""
    value: float
    """The figure; lengths are relative (0.1 is 10 %)."""
    warn: float | None
    """From here on worth a look."""
    bad: float | None
    """From here on the edit should not be used as it is."""

    @property
    def verdict(self) -> str:
        """`good`, `look` or `bad`; `-` where the figure alone says neither."""
        if self.warn is None or self.bad is None:
            return "-"
        return "bad" if not self.value < self.bad else "look" if self.value >= self.warn else "good"


@dataclass(frozen=True)
class Diagnosis:
    """All checks of an edit."""

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """The worst verdict of all."""
        found = {check.verdict for check in self.checks}
        return next((verdict for verdict in ("bad", "look") if verdict in found), "good")

    def table(self) -> str:
        """Every check as a line of text."""
        head = ("check", "stream", "worst at", "value", "look from", "bad from", "verdict")
        body = [(c.name, c.stream, c.subject, _n(c.value), _n(c.warn), _n(c.bad), c.verdict) for c in self.checks]
        widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
        return "\n".join(
            "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in (head, *body)
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        return {"verdict": self.verdict, "checks": [asdict(c) | {"verdict": c.verdict} for c in self.checks]}


def diagnose(model: Model, edit: Edit, *, held_out: Sequence[str] = (), progress: bool = False) -> Diagnosis:
    """Measure an edit on the text side of `model`: seconds, no image.

    Per text stream: how much of the worst erased concept is left, ‖J c − t‖ / ‖c − t‖ over all rows that speak for it,
    whichever the recipe changes; the root mean square drift ‖A k‖ / ‖k − μ‖ of kept prompts, of `held_out` prompts and
    of caption tokens, μ the mean caption token; drift ‖A k‖ / ‖k‖ of the empty prompt's first row (BOS in CLIP) and of
    the rows after it; how far an attacker must move an embedding to revive a concept (RECE, Gong et al., ECCV 2024);
    the condition number of M, rank, and ‖ΔW‖ / ‖W‖. Caption tokens are those the edit was solved with, else those
    of plain captions.

    Raises:
        ValueError: a model with another text encoder.
    """
    edit.check(model)
    model = remembering(model)
    statistics = edit.statistics or collect(model, edit.recipe, progress=progress)
    erased = collect(model, _first(edit.recipe))
    styles = {each.concept for each in edit.recipe.edits if _is_style(edit.recipe, each)}
    drifts, captions = _drift_rows(model, edit.recipe, held_out), _ordinary(model, statistics)
    checks: list[Check] = []
    for name, stream in statistics.streams.items():
        lens = _Lens(edit, model, name)
        tokens, mean = captions[name]
        checks += lens.erasure(erased.streams[name].pairs, erased.recipe.concepts, styles)
        checks += [lens.drift(kind, rows[name], prompts, mean) for kind, prompts, rows in drifts]
        checks += [lens.captions(tokens, mean), *lens.null_drift(model)]
        checks += lens.numbers(stream, edit.recipe)
    return Diagnosis(tuple(checks))


class _Lens:
    """Sees rows of one stream as its matrices see them, before and after the edit."""

    def __init__(self, edit: Edit, model: Model, name: str) -> None:
        self.name, self.rank = name, edit.rank(name)
        self.gate, self.factors = edit.gates.get(name), edit.factors[name]
        self.wide = lens_of(model, name).double() if model.streams[name] > WIDE else None
        if self.wide is not None:
            return
        self.change = self.factors.dense()
        sites = [site for site in edit.sites(model) if site.stream == name]
        self.gram = torch.zeros_like(self.change)
        for site in sites[:: math.ceil(len(sites) / _SITES)]:
            weight = model.matrix(site.name)[:, : site.columns].float()
            self.gram += (weight.T @ weight).cpu()

    def squares(self, rows: Float[Tensor, "rows d_text"]) -> Float[Tensor, " rows"]:
        """Σ ‖W r‖² of each row; in a stream too wide for G as a lens sees it, within some per cent."""
        if self.wide is not None:
            return (rows @ self.wide.T).square().sum(dim=1)
        return ((rows @ self.gram) * rows).sum(dim=1).clamp(min=0)

    def worst(self, top: Tensor, bottom: Tensor, owner: Tensor, names: Sequence[str]) -> tuple[float, str]:
        """The largest length of `top` over that of `bottom`, row by row of an owner together, and whose it is."""
        ratios = self._ratios(top, bottom, owner, len(names))
        return float(ratios.max()), names[int(ratios.argmax())]

    def _ratios(self, top: Tensor, bottom: Tensor, owner: Tensor, owners: int) -> Float[Tensor, " owners"]:
        sums = [torch.zeros(owners, dtype=torch.float64).index_add(0, owner, self.squares(x)) for x in (top, bottom)]
        return (sums[0] / sums[1].clamp(min=1e-30)).sqrt()

    def erasure(self, pairs: Rows, concepts: Sequence[str], styles: Set[str]) -> list[Check]:
        """What is left of each concept, of things and of `styles`, and how near an embedding lies that brings one
        back."""
        if not len(pairs.sources) or pairs.goals is None:
            return []
        c, t = pairs.sources.double(), pairs.goals.double()
        left = self._ratios(c + self.moved(c) - t, c - t, pairs.owner, len(concepts))
        found = []
        for limits, style in ((_LEFT, False), (_LEFT_OF_STYLES, True)):
            own = [number for number, concept in enumerate(concepts) if (concept in styles) == style]
            if own:
                worst = own[int(left[own].argmax())]
                found.append(Check("erased concept left", self.name, concepts[worst], float(left[worst]), *limits))
        if self.gate is None and self.wide is None:
            near, nearest = self._revival(c, pairs.owner, concepts)
            found.append(Check("revival distance", self.name, nearest, near, None, None))
        return found

    def moved(
        self, rows: Float[Tensor, "rows d_text"], prompt: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows d_text"]:
        """How far the edit moves each row: A r, or what its gate adds, which moves the rows of a `prompt` together."""
        if self.gate is not None and prompt is not None:
            found = torch.zeros_like(rows)
            for own in [prompt == number for number in prompt.unique()]:
                found[own] = self.gate(rows[own].float()[None])[0].double() - rows[own]
            return found
        if self.gate is not None:
            return self.gate(rows.float()).double() - rows
        return (rows @ self.factors.right.double().T) @ self.factors.left.double().T

    def _revival(self, c: Tensor, owner: Tensor, concepts: Sequence[str]) -> tuple[float, str]:
        """‖c' − c‖ / ‖c‖ of RECE's c' = (JᵀGJ + rI)⁻¹ JᵀG c with J = I + A, at its smallest."""
        jacobian = torch.eye(len(self.change), dtype=torch.float64) + self.change
        normal = jacobian.T @ self.gram @ jacobian
        normal.diagonal().add_(_REVIVAL_RIDGE * normal.diagonal().mean())
        revived = torch.linalg.solve(normal, jacobian.T @ self.gram @ c.T).T
        ratios = (revived - c).norm(dim=1) / c.norm(dim=1).clamp(min=1e-30)
        return float(ratios.min()), concepts[int(owner[ratios.argmin()])]

    def drift(self, kind: str, rows: Rows, prompts: Sequence[str], mean: Float[Tensor, " d_text"]) -> Check:
        """How far the prompts move, and which moves most."""
        k = rows.sources.double()
        moved = self.moved(k, rows.owner)
        _, worst = self.worst(moved, k - mean, rows.owner, prompts)
        return Check(f"drift of {kind}", self.name, worst, self._ratio(moved, k - mean), *_DRIFT)

    def captions(self, tokens: Float[Tensor, "tokens d_text"], mean: Float[Tensor, " d_text"]) -> Check:
        """How far ordinary caption tokens move."""
        k = tokens.double()
        drift = self._ratio(self.moved(k), k - mean)
        return Check("drift of plain captions", self.name, f"{len(tokens)} tokens", drift, *_DRIFT)

    def null_drift(self, model: Model) -> list[Check]:
        """How far the unconditional branch moves: the empty prompt's first row, and the rows after it."""
        rows = model.encode([""])[self.name].rows[0].double()
        parts = [("first row", rows[:1]), ("other rows", rows[1:])]
        return [
            Check("drift of the empty prompt", self.name, part, self._ratio(self.moved(k), k), *_NULL)
            for part, k in parts
            if len(k)
        ]

    def numbers(self, stream: Stream, recipe: Recipe) -> list[Check]:
        """Condition number of M, rank, and the size of the change; of M's numbers none where it would be too large."""
        if self.wide is not None:
            seen, right = self.wide @ self.factors.left.double(), self.factors.right.double()
            size = float(((seen.T @ seen) * (right @ right.T)).sum().clamp(min=0).sqrt() / self.wide.norm())
            whole, rank = f"of {stream.width}", float(self.rank)
            changed = Check("size of the change", self.name, "all matrices", size, None, None)
            return [changed, Check("rank", self.name, whole, rank, None, None)]
        size = float((torch.trace(self.change.T @ self.gram @ self.change) / torch.trace(self.gram)).sqrt())
        spectrum = torch.linalg.eigvalsh(moment_matrix(stream.problem(recipe)))
        condition = float(spectrum[-1] / spectrum[0].clamp(min=1e-300))
        return [
            Check("size of the change", self.name, "all matrices", size, None, None),
            Check("condition number", self.name, "M", condition, 1e9, 1e12),
            Check("rank", self.name, f"of {stream.width}", float(self.rank), None, None),
        ]

    def _ratio(self, top: Tensor, bottom: Tensor) -> float:
        """The length of all of `top` over that of `bottom`."""
        return float((self.squares(top).sum() / self.squares(bottom).sum().clamp(min=1e-30)).sqrt())


def _first(recipe: Recipe) -> Recipe:
    """The first concepts of the recipe alone, in all rows that speak for them."""
    edits = [edit for edit in recipe.edits[:_MOST] if isinstance(edit, Erase | Moderate)]
    guided = [_guided(recipe, edit) if isinstance(edit, Erase) else edit for edit in edits]
    kept = recipe.preserve if any(recipe.guide_of(edit) == AUTO for edit in edits) else ()
    return Recipe(edits=tuple(guided), preserve=kept, layers=recipe.layers, **_EVERY_ROW)


def _guided(recipe: Recipe, edit: Erase) -> Erase:
    """With the guide it is solved with, and a style in the wordings of its kind: its name alone tells little of what
    prompts that ask for things in it show."""
    named_alone = edit.wordings in _NAME_ALONE and _is_style(recipe, edit)
    return replace(edit, guide=recipe.guide_of(edit), wordings=UNTOLD if named_alone else edit.wordings)


def _is_style(recipe: Recipe, edit: AnyEdit) -> bool:
    """Whether a style is erased, be it told in its name alone."""
    if not isinstance(edit, Erase):
        return False
    return recipe.in_manner(replace(edit, wordings=()) if edit.wordings in _NAME_ALONE else edit)


def _ordinary(model: Model, statistics: Statistics) -> dict[str, tuple[Tensor, Tensor]]:
    """Per stream tokens of captions that ask for nothing the edit changes, and the mean of all caption tokens."""
    streams = statistics.streams
    around = {name: stream.around for name, stream in streams.items() if stream.around is not None}
    if len(around) < len(streams):
        corpus, recipe = default_corpus(model), statistics.recipe
        around = {name: corpus.around(name, recipe, torch.zeros(0, s.width)) for name, s in streams.items()}
    return {name: (held.ordinary, held.mean) for name, held in around.items()}


def _drift_rows(
    model: Model, recipe: Recipe, held_out: Sequence[str]
) -> list[tuple[str, tuple[str, ...], dict[str, Rows]]]:
    """Kind, prompts and rows per stream of everything that should stay where it is."""
    kinds = (("kept prompts", recipe.preserve), ("held-out prompts", held_out))
    found = []
    for kind, prompts in kinds:
        different = tuple({normal(prompt): prompt for prompt in prompts if prompt.strip()}.values())[:_MOST]
        if different:
            kept = Recipe(preserve=different, layers=recipe.layers, **_EVERY_ROW)
            streams = collect(model, kept).streams
            found.append((kind, different, {name: stream.kept for name, stream in streams.items()}))
    return found


def _n(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
