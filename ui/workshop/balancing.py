"""Balancing for the page: pictures are counted, goals moved, solved anew, until the shares are as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from concept_edit.recipe import Debias, Recipe
from ui.workshop.parts import table
from ui.workshop.session import News, Tell, Visit, stoppable

if TYPE_CHECKING:
    from concept_edit.balance.debias import Balance, Counted
    from concept_edit.models.opened import OpenedModel

MOST_PICTURES, MOST_ROUNDS, MOST_CHECKED = 160, 12, 96
_BATCH = 16


@dataclass(frozen=True)
class Drawn:
    """How many pictures a search for balance may paint."""

    pictures: int = 48
    """Of a concept in one round."""
    rounds: int = 12
    checked: int = 0
    """Of each concept before and after, at seeds the search never saw, for training and held-out prompts each."""
    steps: int | None = None
    """Denoising steps; None is the model's own."""

    def __post_init__(self) -> None:
        limits = (("pictures a round", self.pictures, 1, MOST_PICTURES), ("rounds", self.rounds, 1, MOST_ROUNDS),
                  ("pictures of the check", self.checked, 0, MOST_CHECKED))  # fmt: skip
        for what, given, least, most in limits:
            if not least <= given <= most:
                raise ValueError(f"{given} {what} were asked for; give {least} to {most}")


def drawn_of(pictures: Any, rounds: Any, checked: Any, steps: int | None) -> Drawn:
    """From the page's fields.

    Raises:
        ValueError: no whole numbers, or too many.
    """
    try:
        return Drawn(int(pictures), int(rounds), int(checked), steps)
    except TypeError as error:
        raise ValueError("how many pictures and rounds? Give whole numbers") from error


def unmeasured(recipe: Recipe) -> list[Debias]:
    """The entries whose balance still has to be measured."""
    return [edit for edit in recipe.edits if isinstance(edit, Debias) and edit.aims is None]


def forgotten(recipe: Recipe) -> Recipe:
    """The recipe with every balance to be measured anew.

    Raises:
        ValueError: it balances nothing.
    """
    edits = tuple(replace(edit, aims=None) if isinstance(edit, Debias) else edit for edit in recipe.edits)
    if not any(isinstance(edit, Debias) for edit in edits):
        raise ValueError("the table balances nothing; add a row such as: balance, farmer, man 50 %, woman 50 %")
    return recipe.model_copy(update={"edits": edits})


def balanced(visit: Visit, model: OpenedModel, recipe: Recipe, drawn: Drawn, tell: Tell) -> Balance:
    """Measure, re-aim, re-solve, with the rounds told. Pictures stay in the visit's folder: a cancelled search goes on
    from them."""
    from concept_edit.balance.debias import Plan, debias
    from concept_edit.evaluation import Settings
    from concept_edit.identity import digest

    told, share = "Balancing: painting and counting pictures. Cancelled, it goes on where it was", 0.0
    batch = min(_BATCH, drawn.pictures)
    plan = Plan(
        most=drawn.pictures, batch=batch, rounds=drawn.rounds, check=drawn.checked, confusion=min(16, drawn.checked)
    )

    def progress(number: int, counted: Sequence[Counted]) -> None:
        nonlocal told, share
        told, share = f"Round {number} of at most {drawn.rounds}: {_counts(counted[-1])}", number / (drawn.rounds + 1)
        tell(News(told, share))

    def step(done: int) -> None:
        tell(News(f"{told} · {done} denoising steps", share))

    tell(News(told))
    settings = Settings(steps=drawn.steps, batch_size=batch)
    folder = visit.folder / f"balance-{digest([model.name, model.fingerprint, asdict(settings)])[:16]}"
    with stoppable(visit, model, step):
        return debias(model, recipe, plan=plan, settings=settings, out=folder, progress=progress)


def outcome(balance: Balance) -> str:
    """What was counted, as Markdown: the last round of each concept, and the check on unseen seeds if there was one."""
    wanted = {edit.concept: edit.across for edit in balance.edit.recipe.edits if isinstance(edit, Debias)}
    last = {counted.concept: counted for part in balance.rounds for counted in part}
    rows = [
        [name, _shares(wanted[name]), _shares(_parts(seen)), _VERDICTS[seen.verdict]] for name, seen in last.items()
    ]
    text = [f"**Measured balance.** {balance.images} pictures were counted in {len(balance.rounds)} rounds."]
    text += [table(["concept", "wanted", "last round", ""], rows)]
    checked = [f for f in balance.figures if f.name.startswith("share of ") and f.name.endswith(" templates")]
    if checked:
        cells = [[f.name, f.group, f.side, f"{f.value:.0%}", f"{f.low:.0%} to {f.high:.0%}"] for f in checked]
        text += ["At seeds the search never saw:", table(["share", "concept", "edit", "value", "95 % interval"], cells)]
    return "\n\n".join(text)


_VERDICTS = {
    "in": "in range", "near": "near: as far as the rounds went", "open": "open: more pictures would tell",
    "out": "not reached: allow more rounds or pictures",
}  # fmt: skip


def _counts(seen: Counted) -> str:
    shares = ", ".join(f"{name} {count}" for name, count in seen.counts.items())
    return f"{seen.concept} was counted as {shares} ({_shares(_parts(seen))})"


def _parts(seen: Counted) -> dict[str, float]:
    total = max(1, sum(seen.counts.values()))
    return {name: count / total for name, count in seen.counts.items()}


def _shares(across: Any) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in across.items())
