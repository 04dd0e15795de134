"""Fine-tuning one matrix on some facts: the baseline that knows no keys (FT), and inside an L∞ ball (FT+L)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concept_edit.language.facts import Fact
from concept_edit.language.model import LanguageModel
from concept_edit.language.sites import Site
from concept_edit.language.states import frozen
from concept_edit.language.tokens import joined
from concept_edit.memory.hard import MatrixFactors


@dataclass(frozen=True)
class Tuning:
    """ROME's baseline settings: Adam on the new answers alone."""

    steps: int = 25
    rate: float = 5e-4
    bound: float | None = None
    """Largest change of any one weight; None for none."""
    enough: float = 0.01
    batch_size: int = 16


def tune(
    lm: LanguageModel, facts: Sequence[Fact], site: Site, tuning: Tuning
) -> tuple[dict[str, MatrixFactors], list[float]]:
    """The change of `site`'s matrix, as (identity, ΔW), and each fact's last loss; the model is as before."""
    module = lm.module(site)
    weight = module.weight
    assert isinstance(weight, torch.nn.Parameter)
    before = weight.detach().clone()
    losses = torch.full((len(facts),), float("inf"))
    with frozen(lm):
        weight.requires_grad_(True)
        try:
            adam = torch.optim.Adam([weight], lr=tuning.rate)
            for _ in range(tuning.steps):
                for rows in torch.arange(len(facts)).split(tuning.batch_size):
                    nll = _nll(lm, [facts[int(n)] for n in rows])
                    losses[rows] = nll.detach().cpu()
                    if float(nll.detach().mean()) < tuning.enough:
                        continue
                    adam.zero_grad()
                    nll.mean().backward()
                    adam.step()
                    _bound(weight, before, tuning.bound)
                if float(losses.mean()) < tuning.enough:
                    break
            change = lm.matrix(site).float() - (before if weight.shape == lm.matrix(site).shape else before.T).float()
            change = change.cpu().contiguous()
        finally:
            with torch.no_grad():
                weight.copy_(before)
            weight.grad = None
            weight.requires_grad_(False)
    return {f"{site.module}.weight": MatrixFactors(torch.eye(len(change)), change)}, losses.tolist()


def _bound(weight: Tensor, before: Tensor, bound: float | None) -> None:
    if bound is not None:
        with torch.no_grad():
            weight.copy_(torch.minimum(torch.maximum(weight, before - bound), before + bound))


def _nll(lm: LanguageModel, facts: Sequence[Fact]) -> Tensor:
    """Mean over the tokens of each fact's new answer."""
    tokens = lm.encode([joined(fact.asked, fact.new) for fact in facts])
    places = [
        (row, column)
        for row, fact in enumerate(facts)
        for column, (_, stop) in enumerate(tokens.spans[row])
        if stop > len(fact.asked)
    ]
    rows, columns = torch.tensor(places, device=lm.device).T
    logs = lm.logits_at(tokens, rows, columns - 1).float().log_softmax(dim=-1)
    nll = -logs.gather(1, tokens.ids[rows, columns][:, None])[:, 0]
    zeros = torch.zeros(len(facts), device=lm.device)
    return zeros.index_add(0, rows, nll) / zeros.index_add(0, rows, torch.ones_like(nll))
