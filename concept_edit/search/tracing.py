"""One fact traced: noise on its subject, states put back one by one, and what that brings the answer.

Meng et al. 2022 (2202.05262), section 2. `concept_edit.search.traces` holds the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from concept_edit.language.runs import embed
from concept_edit.language.tokens import joined, place_of
from concept_edit.search.restore import KINDS, How, Kind, Pair, foretell, pair_up, reach, restore, windowed
from concept_edit.search.roles import Role, roles_of

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel


@dataclass(frozen=True)
class Asked:
    """A prompt with its subject, and the answer that counts."""

    prompt: str
    subject: str
    answer: str = ""
    """Empty: whatever the model says."""
    instead: str = ""
    """Another subject; the states of the prompt are put into the prompt about that one."""


@dataclass(frozen=True)
class Settings:
    """How to trace."""

    kinds: tuple[Kind, ...] = KINDS
    window: int | None = None
    """Layers restored together, for MLPs and attentions; None: ten, on models of fewer than 30 layers a third."""
    samples: int = 10
    """Noises on the subject."""
    noise: float = 3.0
    """Standard deviation of the noise, in those of the subjects' token embeddings."""
    severed: Kind | None = None
    """Later MLPs (or attentions) stay at the restored token as the noise had them."""
    exact: int | None = None
    """Cells of each kind computed exactly, chosen by the gradient; None: all."""
    seed: int = 0
    deviation: float | None = None
    """Standard deviation of subjects' embeddings, over many facts; None: of this one's."""

    def __post_init__(self) -> None:
        unknown = [kind for kind in (*self.kinds, self.severed) if kind is not None and kind not in KINDS]
        if unknown or not self.kinds:
            raise ValueError(f"kinds of states are {', '.join(KINDS)}; got {unknown or 'none'}")
        for name, least in (("samples", 1), ("window", 1), ("exact", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be {least} or more")
        if self.noise <= 0:
            raise ValueError(f"noise is {self.noise}; without noise nothing is lost and nothing can be restored")

    def how(self, kind: Kind, layers: int) -> How:
        """Of one kind, for a model of so many layers."""
        wide = self.window or (10 if layers >= 30 else max(1, round(layers / 3)))
        return How(kind, 1 if kind == "hidden" else min(wide, layers), self.severed)


@dataclass(frozen=True)
class Traced:
    """What one trace found."""

    tokens: tuple[str, ...]
    roles: tuple[Role, ...]
    answer: str
    said: bool
    """Whether the model itself says this answer first."""
    clean: float
    corrupted: float
    effects: Mapping[Kind, Float[Tensor, "tokens layers"]]
    exact: Mapping[Kind, Bool[Tensor, "tokens layers"]]
    """Cells that were computed; others hold the gradient's estimate, on the scale of the computed ones."""
    screened: Mapping[Kind, float]
    """Spearman's correlation of the gradient's estimate with the computed effects."""


def trace_one(lm: LanguageModel, asked: Asked, settings: Settings) -> Traced:
    """Trace one prompt.

    Raises:
        ValueError: the subject does not stand in the prompt or ends it, two sentences that do not match, or noise that
            changes nothing.
    """
    tokens = lm.encode([asked.prompt])
    subject = tokens.rows(0, *place_of(asked.prompt, asked.subject))
    roles = roles_of(tokens.lengths[0], subject)
    donor = embed(lm, tokens.ids)
    base = _other(lm, asked, donor, roles) if asked.instead else _noised(donor, subject, settings)
    wanted = first_token(lm, asked)
    pair = pair_up(lm, base, donor, lambda logits: int(logits.argmax()) if wanted is None else wanted)
    said = pair_says(lm, donor) == pair.answer
    text = lm.tokenizer.decode([pair.answer])
    effects, exact, screened = _effects(pair, settings)
    shown = tuple(lm.tokenizer.decode([token]) for token in tokens.ids[0].tolist())
    return Traced(
        shown, roles, text, said, pair.clean, float(pair.corrupted.mean()), effects, exact, screened
    )  # fmt: skip


def pair_says(lm: LanguageModel, donor: Tensor) -> int:
    """The token the model would say first."""
    from concept_edit.language.runs import last_logits

    with torch.no_grad():
        return int(last_logits(lm, donor)[0].argmax())


def subject_deviation(lm: LanguageModel, listed: Sequence[Asked]) -> float:
    """Standard deviation of the token embeddings of all subjects."""
    rows = []
    for asked in listed:
        tokens = lm.encode([asked.prompt])
        subject = tokens.rows(0, *place_of(asked.prompt, asked.subject))
        rows.append(embed(lm, tokens.ids)[0, list(subject)].float().cpu())
    return float(torch.cat(rows).std())


def spearman(a: Tensor, b: Tensor) -> float:
    """Rank correlation; ties get their mean rank. NaN where one of the two is constant."""
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    below = float(x.norm() * y.norm())
    return float((x * y).sum()) / below if below else float("nan")


def _ranks(values: Tensor) -> Tensor:
    flat = values.flatten().double()
    below = (flat[:, None] > flat[None, :]).sum(dim=1)
    same = (flat[:, None] == flat[None, :]).sum(dim=1)
    return below + (same - 1) / 2


def _noised(donor: Tensor, subject: Sequence[int], settings: Settings) -> Tensor:
    rows, own = donor.repeat(settings.samples, 1, 1), list(subject)
    deviation = settings.deviation if settings.deviation is not None else float(donor[0, own].float().std())
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(settings.samples, len(own), donor.shape[-1], generator=generator)
    rows[:, own] += settings.noise * deviation * noise.to(rows)
    return rows


def _other(lm: LanguageModel, asked: Asked, donor: Tensor, roles: Sequence[Role]) -> Tensor:
    """The same prompt about another subject, which must be of as many tokens."""
    start, stop = place_of(asked.prompt, asked.subject)
    rows = embed(lm, lm.encode([asked.prompt[:start] + asked.instead + asked.prompt[stop:]]).ids)
    if rows.shape != donor.shape:
        raise ValueError(
            f"{asked.instead!r} makes a prompt of {rows.shape[1]} tokens, {asked.subject!r} one of {donor.shape[1]}; "
            "states move between prompts of one length: take a subject of as many tokens"
        )
    return rows


def first_token(lm: LanguageModel, asked: Asked) -> int | None:
    """The answer's first token after the prompt; None where no answer was given."""
    return token_after(lm, asked.prompt, joined(asked.prompt, asked.answer)) if asked.answer else None


def token_after(lm: LanguageModel, prompt: str, whole: str) -> int:
    """The first token of `whole` that reaches beyond `prompt`, its beginning."""
    tokens = lm.encode([whole])
    beyond = [n for n, (_, stop) in enumerate(tokens.spans[0]) if stop > len(prompt)]
    return int(tokens.ids[0, beyond[0]])


def _effects(pair: Pair, settings: Settings) -> tuple[dict[Kind, Any], dict[Kind, Any], dict[Kind, float]]:
    lm, effects, exact, screened = pair.lm, {}, {}, {}
    told = {} if settings.exact is None else foretell(pair, settings.kinds)
    for kind in settings.kinds:
        how = settings.how(kind, lm.layers)
        live = reach(pair, how)
        if settings.exact is None:
            effects[kind], exact[kind] = restore(pair, how), torch.ones_like(live)
            continue
        estimate = windowed(told[kind], how)
        cells = _largest(estimate, live, settings.exact)
        found = restore(pair, how, cells=cells)
        screened[kind] = spearman(found[cells], estimate[cells])
        slope = float((found[cells] * estimate[cells]).sum() / (estimate[cells] ** 2).sum().clamp(min=1e-30))
        effects[kind] = torch.where(found.isnan(), slope * estimate, found)
        exact[kind] = cells | ~live
    return effects, exact, screened


def _largest(estimate: Tensor, live: Tensor, count: int) -> Tensor:
    """The `count` live cells with the largest estimates, either way."""
    size = torch.where(live, estimate.abs(), torch.full_like(estimate, -1.0))
    cells = torch.zeros_like(live)
    cells.view(-1)[size.flatten().topk(min(count, int(live.sum()))).indices] = True
    return cells
