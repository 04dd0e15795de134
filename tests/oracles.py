"""Reference answers, written from the paper's normal equations and the published procedures, layer by layer.

Slow and plain on purpose, in float64, and sharing nothing with the solver: no factors, no moments, no token rules.
Equation 7 of Gandikota et al., "Unified Concept Editing in Diffusion Models", WACV 2024, with the ridge of its code:

    W' = (λ W + Σ s (W t) cᵀ + Σ p (W k) kᵀ) (λ I + Σ s c cᵀ + Σ p k kᵀ)⁻¹
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor, float]
Kept = tuple[Tensor, float]


def edited(w: Tensor, pairs: Sequence[Pair], kept: Sequence[Kept], ridge: float) -> Tensor:
    """W' of one matrix, one outer product at a time."""
    w = w.detach().double()
    numerator = ridge * w
    denominator = ridge * torch.eye(w.shape[1], dtype=torch.float64)
    for source, goal, weight in pairs:
        c, v = source.double(), w @ goal.double()
        numerator = numerator + weight * torch.outer(v, c)
        denominator = denominator + weight * torch.outer(c, c)
    for row, weight in kept:
        k = row.double()
        numerator = numerator + weight * torch.outer(w @ k, k)
        denominator = denominator + weight * torch.outer(k, k)
    return torch.linalg.solve(denominator.T, numerator.T).T


def objective(new: Tensor, w: Tensor, pairs: Sequence[Pair], kept: Sequence[Kept], ridge: float) -> Tensor:
    """What W' minimises."""
    loss = ridge * ((new - w) ** 2).sum()
    for source, goal, weight in pairs:
        loss = loss + weight * ((new @ source - w @ goal) ** 2).sum()
    for row, weight in kept:
        loss = loss + weight * ((new @ row - w @ row) ** 2).sum()
    return loss


def clip_rows(pipe: Any, prompt: str) -> tuple[Tensor, int]:
    """All rows of one prompt from an SD 1 or 2 pipeline, and the published index of its last token."""
    given = pipe.tokenizer(
        [prompt], padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        rows = pipe.text_encoder(given.input_ids)[0][0]
    return rows, int(given.attention_mask[0].sum()) - 2


def uce_2025(pipe: Any, edits: Sequence[tuple[str, str]], kept: Sequence[str]) -> tuple[list[Pair], list[Kept]]:
    """Rows of the 2025 script: the last token of each prompt, all weights 1."""

    def last(prompt: str) -> Tensor:
        rows, index = clip_rows(pipe, prompt)
        return rows[index]

    return [(last(old), last(new), 1.0) for old, new in edits], [(last(prompt), 1.0) for prompt in kept]


def uce_2023(pipe: Any, edits: Sequence[tuple[str, str]], kept: Sequence[str]) -> tuple[list[Pair], list[Kept]]:
    """Rows of the 2023 script: last token, EOS and pads aligned; '' and every kept prompt whole."""
    pairs = []
    for old, new in edits:
        (old_rows, i), (new_rows, j) = clip_rows(pipe, old), clip_rows(pipe, new or " ")
        farthest = max(i, j)
        old_part = old_rows[i : len(old_rows) - max(0, farthest - i)]
        new_part = new_rows[j : len(new_rows) - max(0, farthest - j)]
        pairs += [(c, t, 1.0) for c, t in zip(old_part, new_part, strict=True)]
    prompts = ["", *kept]
    weight = max(0.1, 1 / len(prompts))
    return pairs, [(row, weight) for prompt in prompts for row in clip_rows(pipe, prompt)[0]]


def difference(a: Tensor, b: Tensor) -> float:
    """Relative Frobenius distance of `a` from `b`."""
    return float((a.double() - b.double()).norm() / b.double().norm())
