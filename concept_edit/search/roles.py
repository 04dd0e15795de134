"""What a token is to its prompt: prompts of different lengths are averaged by role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Role = Literal["before", "first subject", "middle subject", "last subject", "next", "further", "last"]
ROLES: tuple[Role, ...] = ("first subject", "middle subject", "last subject", "next", "further", "last")
"""Those that are averaged, in the order of a prompt; tokens before the subject are as they were in every run."""


def roles_of(tokens: int, subject: Sequence[int]) -> tuple[Role, ...]:
    """Role of each of `tokens` columns, the subject standing in `subject`. A subject of one token is its last; a single
    token after it is the prompt's last.

    Raises:
        ValueError: no subject, or no token after it.
    """
    if not subject:
        raise ValueError("the subject has no tokens in the prompt")
    first, last = min(subject), max(subject)
    if last >= tokens - 1:
        raise ValueError("the prompt ends with its subject; a trace needs a token after it, as in 'Seattle is in'")
    found: list[Role] = []
    for token in range(tokens):
        found.append(_role(token, first, last, tokens - 1))
    return tuple(found)


def _role(token: int, first: int, last: int, end: int) -> Role:
    if token < first:
        return "before"
    if token <= last:
        return "last subject" if token == last else "first subject" if token == first else "middle subject"
    return "last" if token == end else "next" if token == last + 1 else "further"


def by_role(effects: Float[Tensor, "tokens layers"], roles: Sequence[Role]) -> Float[Tensor, "roles layers"]:
    """Mean over the tokens of each role of `ROLES`; NaN for a role that no token has."""
    rows = []
    for role in ROLES:
        mine = [n for n, own in enumerate(roles) if own == role]
        rows.append(effects[mine].mean(dim=0) if mine else torch.full_like(effects[0], torch.nan))
    return torch.stack(rows)
