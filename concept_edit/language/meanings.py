"""The values new meanings need in a text encoder: with them, a subject's rows are those of another subject.

The loss is the squared distance of the rows from the subject's end on (the token itself, what follows, EOS, padding
counted from EOS) to the goal's, in units of the unedited distance. Unlike ROME's search, which adds the value at one
token, this one hands it out as the edited matrix will: to every token, by its share of the key. In a small encoder the
subject is in the rows of EOS and padding before any MLP has run: with the value at one token 88 % of the distance
stays, handed out like this 4 to 14 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.language.contexts import in_context, subject_column
from concept_edit.language.encoder import TextEncoder, wordings
from concept_edit.language.facts import Fact
from concept_edit.language.sites import Site
from concept_edit.language.states import frozen
from concept_edit.language.subjects import subject_states
from concept_edit.language.tokens import Tokens
from concept_edit.language.values import Search
from concept_edit.memory.hard import Memory, Mode, shares

if TYPE_CHECKING:
    from concept_edit.language.edit import FactEdit

MEANING = Search(steps=80, rate=0.1, enough=0.02)
"""Of these settings the others are not used: nothing is clamped, since the distance itself says when it is enough."""


@dataclass(frozen=True)
class _Pairs:
    """Texts of all facts in all templates, and which of their rows shall be which."""

    tokens: Tokens
    fact: Tensor
    rows: Tensor
    """(text, column) of each row that shall change."""
    goals: Tensor
    """What it shall be."""


def find_meanings(
    encoder: TextEncoder,
    facts: Sequence[Fact],
    memories: Mapping[int, Memory],
    mode: Mode,
    search: Search | None = None,
) -> tuple[dict[int, Memory], list[float]]:
    """The memory of each layer with its wanted changes, found for all facts and layers together; and what is left of
    each fact's distance. Every layer hands out by the keys that the layers below leave it, as the edited model will."""
    search, pairs = search or MEANING, _lay_out(encoder, facts)
    handed = {layer: shares(memory, mode).to(encoder.device) for layer, memory in memories.items()}
    deltas = {
        layer: torch.zeros(len(memory.keys), encoder.width, device=encoder.device, requires_grad=True)
        for layer, memory in memories.items()
    }
    adam, scale, left = torch.optim.Adam(deltas.values(), lr=search.rate), None, torch.ones(len(facts))
    with frozen(encoder):
        for step in range(search.steps + 1):
            with ExitStack() as stack:
                for layer, share in handed.items():
                    stack.enter_context(_handing_out(encoder, layer, share, deltas[layer]))
                loss = _loss(encoder, pairs, len(facts))
            scale = loss.detach().clamp_min(1e-12) if scale is None else scale
            left = (loss / scale).detach().cpu()
            if step == search.steps or bool((left < search.enough).all()):
                break
            adam.zero_grad()
            (loss / scale).sum().backward()
            adam.step()
    found = {layer: replace(memory, wanted=deltas[layer].detach().cpu()) for layer, memory in memories.items()}
    return found, left.tolist()


@contextmanager
def _handing_out(encoder: TextEncoder, layer: int, share: Tensor, deltas: Tensor) -> Iterator[None]:
    """Inside the block the layer's memory says of each key what its matrix with the change will."""
    module = encoder.module(encoder.site("memory", layer))
    handle = module.register_forward_hook(lambda module, args, output: output + args[0] @ share.T @ deltas)
    try:
        yield
    finally:
        handle.remove()


def distances(
    encoder: TextEncoder,
    pairs: Sequence[tuple[str, str]],
    goals: Sequence[tuple[str, str]],
    edit: FactEdit | None = None,
) -> Tensor:
    """Root mean square distance of the rows of each (text, subject) to those of its goal, from the subject's end on.

    `edit`: what the texts are read with; the goals are the unedited encoder's.
    """
    found = []
    with torch.no_grad():
        theirs = [(b := encoder.encode([text]), encoder.logits(b)[0]) for text, _ in goals]
        with nullcontext() if edit is None else edit.applied(encoder):
            for (text, subject), (other, its), (b, goal) in zip(pairs, goals, theirs, strict=True):
                a = encoder.encode([text])
                mine = encoder.logits(a)[0]
                rows = _aligned(encoder, a, 0, _end(a, 0, text, subject), b, 0, _end(b, 0, other, its))
                found.append((mine[[r for r, _ in rows]] - goal[[r for _, r in rows]]).square().mean().sqrt())
    return torch.stack(found)


def _loss(encoder: TextEncoder, pairs: _Pairs, facts: int) -> Tensor:
    said = encoder.logits(pairs.tokens).float()
    far = (said[pairs.rows[:, 0], pairs.rows[:, 1]] - pairs.goals).square().mean(dim=1)
    return torch.zeros(facts, device=far.device).index_add(0, pairs.fact[pairs.rows[:, 0]], far)


def mean_keys(encoder: TextEncoder, site: Site, facts: Sequence[Fact]) -> Float[Tensor, "facts d_key"]:
    """Each subject's key at its last token, mean over its wordings."""
    return torch.cat([subject_states(encoder, [site], [_bare(fact)], wordings(fact))[site] for fact in facts])


def _bare(fact: Fact) -> Fact:
    return Fact(fact.subject, "{}", fact.new)


def _lay_out(encoder: TextEncoder, facts: Sequence[Fact]) -> _Pairs:
    own = [_bare(fact) for fact in facts for _ in wordings(fact)]
    templates, both = [wording for fact in facts for wording in wordings(fact)], []
    for some in (own, [Fact(fact.new, "{}", fact.subject) for fact in own]):
        told = list(zip(templates, some, strict=True))
        ends = [subject_column(encoder, template, fact) for template, fact in told]
        both.append((encoder.encode([in_context(template, fact) for template, fact in told]), ends))
    (tokens, ends), (others, theirs) = both
    with torch.no_grad():
        wanted = encoder.logits(others).float()
    rows, goals = list[tuple[int, int]](), list[Tensor]()
    for text in range(len(ends)):
        for row, goal in _aligned(encoder, tokens, text, ends[text], others, text, theirs[text]):
            rows.append((text, row))
            goals.append(wanted[text, goal])
    device = encoder.device
    owner = torch.tensor([n for n, fact in enumerate(facts) for _ in wordings(fact)], device=device)
    return _Pairs(tokens, owner, torch.tensor(rows, device=device), torch.stack(goals))


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
