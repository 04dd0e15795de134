"""The value a new meaning needs in a text encoder: with it at the subject's last token, all later rows are those of
another subject.

As `values.find_values`, with another loss: the squared distance of the rows from the subject's end on (the token
itself, what follows, EOS, padding counted from EOS) to the goal's, in units of the unedited distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from concept_edit.language.contexts import in_context, subject_column
from concept_edit.language.encoder import TextEncoder
from concept_edit.language.facts import Fact
from concept_edit.language.sites import Site
from concept_edit.language.states import frozen, rewritten, states
from concept_edit.language.tokens import Tokens
from concept_edit.language.values import Search, Values

MEANING = Search(steps=60, rate=0.1, kl=0.0, decay=0.05, enough=0.01, clamp=8.0)


@dataclass(frozen=True)
class _Pairs:
    """Texts of all facts in all templates, and which of their rows shall be which."""

    tokens: Tokens
    subject: Tensor
    fact: Tensor
    rows: Tensor
    """(text, column) of each row that shall change."""
    goals: Tensor
    """What it shall be."""


def find_meanings(
    encoder: TextEncoder,
    site: Site,
    facts: Sequence[Fact],
    templates: Sequence[str],
    search: Search | None = None,
    *,
    batch_size: int = 16,
) -> Values:
    """δ of each fact at `site`; `batch_size` facts are looked for together."""
    search, parts = search or MEANING, []
    with frozen(encoder):
        for i in range(0, len(facts), batch_size):
            parts.append(_find(encoder, site, facts[i : i + batch_size], templates, search))
    losses = [loss for part in parts for loss in part.losses]
    return Values(torch.cat([p.deltas for p in parts]), torch.cat([p.start for p in parts]), losses)


def distances(encoder: TextEncoder, pairs: Sequence[tuple[str, str]], goals: Sequence[tuple[str, str]]) -> Tensor:
    """Root mean square distance of the rows of each (text, subject) to those of its goal, from the subject's end on."""
    found = []
    with torch.no_grad():
        for (text, subject), (other, its) in zip(pairs, goals, strict=True):
            a, b = encoder.encode([text]), encoder.encode([other])
            mine, theirs = encoder.logits(a)[0], encoder.logits(b)[0]
            rows = _aligned(encoder, a, 0, _end(a, 0, text, subject), b, 0, _end(b, 0, other, its))
            found.append((mine[[r for r, _ in rows]] - theirs[[r for _, r in rows]]).square().mean().sqrt())
    return torch.stack(found)


def _find(encoder: TextEncoder, site: Site, facts: Sequence[Fact], templates: Sequence[str], search: Search) -> Values:
    pairs = _lay_out(encoder, facts, templates)
    start = states(encoder, pairs.tokens, [site])[site]
    bare = torch.arange(len(facts), device=encoder.device) * len(templates)
    init = start[bare, pairs.subject[bare]].float()
    bound = init.norm(dim=1, keepdim=True)
    deltas = torch.zeros_like(init, requires_grad=True)
    adam = torch.optim.Adam([deltas], lr=search.rate)
    scale, losses = None, torch.zeros(len(facts))
    for step in range(search.steps + 1):
        loss = _loss(encoder, site, pairs, deltas, len(facts))
        scale = loss.detach().clamp_min(1e-12) if scale is None else scale
        losses = (loss / scale).detach().cpu()
        if step == search.steps or bool((losses < search.enough).all()):
            break
        adam.zero_grad()
        (loss / scale + search.decay * (deltas.norm(dim=1) / bound[:, 0]) ** 2 / search.clamp**2).sum().backward()
        adam.step()
        with torch.no_grad():
            deltas.mul_((search.clamp * bound / deltas.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp(max=1))
    return Values(deltas.detach().cpu(), init.cpu(), losses.tolist())


def _loss(encoder: TextEncoder, site: Site, pairs: _Pairs, deltas: Tensor, facts: int) -> Tensor:
    def add(state: Tensor) -> Tensor:
        moved = torch.zeros_like(state)
        moved[torch.arange(len(pairs.fact)), pairs.subject] = deltas[pairs.fact].to(state.dtype)
        return state + moved

    with rewritten(encoder, site, add):
        said = encoder.logits(pairs.tokens).float()
    far = (said[pairs.rows[:, 0], pairs.rows[:, 1]] - pairs.goals).square().mean(dim=1)
    return torch.zeros(facts, device=far.device).index_add(0, pairs.fact[pairs.rows[:, 0]], far)


def _lay_out(encoder: TextEncoder, facts: Sequence[Fact], templates: Sequence[str]) -> _Pairs:
    goal_facts = [Fact(fact.new, fact.prompt, fact.subject) for fact in facts]
    both = []
    for some in (facts, goal_facts):
        texts = [in_context(template, fact) for fact in some for template in templates]
        ends = [subject_column(encoder, template, fact) for fact in some for template in templates]
        both.append((encoder.encode(texts), ends))
    (tokens, ends), (others, theirs) = both
    with torch.no_grad():
        wanted = encoder.logits(others).float()
    rows, goals = list[tuple[int, int]](), list[Tensor]()
    for text in range(len(ends)):
        for row, goal in _aligned(encoder, tokens, text, ends[text], others, text, theirs[text]):
            rows.append((text, row))
            goals.append(wanted[text, goal])
    device = encoder.device
    owner = torch.arange(len(facts), device=device).repeat_interleave(len(templates))
    return _Pairs(
        tokens, torch.tensor(ends, device=device), owner, torch.tensor(rows, device=device), torch.stack(goals)
    )


def _aligned(encoder: TextEncoder, a: Tokens, n: int, end: int, b: Tokens, m: int, other: int) -> list[tuple[int, int]]:
    """Rows of text n from its subject's end on, each with the row in its place: what follows, EOS, then padding."""
    mine, theirs = encoder.ends(a)[n], encoder.ends(b)[m]
    between = min(mine - end, theirs - other)
    after = min(a.ids.shape[1] - mine, b.ids.shape[1] - theirs)
    pairs = [(end + k, other + k) for k in range(between)]
    return pairs + [(mine + k, theirs + k) for k in range(after)]


def _end(tokens: Tokens, n: int, text: str, subject: str) -> int:
    start = text.index(subject)
    return tokens.rows(n, start, start + len(subject))[-1]
