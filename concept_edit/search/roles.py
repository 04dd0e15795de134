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
    inside: list[Role] = ["middle subject"] * (last - first - 1)
    opening: list[Role] = ["first subject"] if last > first else []
    after = tokens - 1 - last
    next_one: list[Role] = ["next"] if after > 1 else []
    further: list[Role] = ["further"] * (after - 2)
    return (*["before"] * first, *opening, *inside, "last subject", *next_one, *further, "last")  # type: ignore[return-value]


def by_role(effects: Float[Tensor, "tokens layers"], roles: Sequence[Role]) -> Float[Tensor, "roles layers"]:
    """Mean over the tokens of each role of `ROLES`; NaN for a role that no token has."""
    rows = []
    for role in ROLES:
        mine = [n for n, own in enumerate(roles) if own == role]
        rows.append(effects[mine].mean(dim=0) if mine else torch.full_like(effects[0], torch.nan))
    return torch.stack(rows)
