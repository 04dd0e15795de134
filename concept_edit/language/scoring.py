"""How likely a model holds an answer: mean log probability of its tokens, and whether it would say just that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from concept_edit.language.tokens import Tokens, joined


class Reader(Protocol):
    """What scoring needs of a language model."""

    def encode(self, prompts: Sequence[str]) -> Tokens: ...

    def logits_at(self, tokens: Tokens, rows: Tensor, columns: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Scores:
    """One row for each pair of prompt and answer, on the CPU, float32."""

    log_probability: Float[Tensor, " pairs"]
    """Mean over the answer's tokens, natural logarithm."""
    said: Bool[Tensor, " pairs"]
    """Whether each of the answer's tokens is the likeliest after those before it."""


def score(lm: Reader, pairs: Sequence[tuple[str, str]], *, batch_size: int = 32) -> Scores:
    """Score every (prompt, answer).

    Each text runs without its last token, so answers of one token after the same prompt share one run. Answers are
    tokenised with their prompt: their tokens are those that reach beyond the prompt's characters. Where the prompts end
    goes with the tokens (`Tokens.ends`), for what acts on a prompt's last token, such as a function vector.
    """
    log_probability, said = torch.zeros(len(pairs)), torch.zeros(len(pairs), dtype=torch.bool)
    tokens = lm.encode([joined(prompt, answer) for prompt, answer in pairs])
    first = [_first(tokens, n, prompt) for n, (prompt, _) in enumerate(pairs)]
    for run, members in _batches(tokens, first, batch_size):
        places = [(row, column) for row, pair in members for column in range(first[pair] - 1, tokens.lengths[pair] - 1)]
        rows, columns = torch.tensor(places, device=run.ids.device).T
        with torch.no_grad():
            logits = lm.logits_at(run, rows, columns).float().log_softmax(dim=-1)
        at = 0
        for _, pair in members:
            target = tokens.ids[pair, first[pair] : tokens.lengths[pair]]
            logs, at = logits[at : at + len(target)], at + len(target)
            log_probability[pair] = logs.gather(1, target[:, None]).mean().cpu()
            said[pair] = bool((logs.argmax(dim=-1) == target).all())
    return Scores(log_probability, said)


def _first(tokens: Tokens, n: int, prompt: str) -> int:
    """The answer's first token."""
    beyond = [column for column, (_, stop) in enumerate(tokens.spans[n]) if stop > len(prompt)]
    if not beyond or beyond[0] == 0:
        raise ValueError(f"the answer after {prompt!r} has no tokens of its own, or no token before it")
    return beyond[0]


def _batches(tokens: Tokens, first: Sequence[int], batch_size: int) -> Iterator[tuple[Tokens, list[tuple[int, int]]]]:
    """Texts without their last token, short ones together, once for each place where a prompt ends in them; with each
    (row of the batch, its pair)."""
    groups: dict[tuple[tuple[int, ...], int], list[int]] = {}
    ids = tokens.ids.tolist()
    for pair, length in enumerate(tokens.lengths):
        groups.setdefault((tuple(ids[pair][: length - 1]), first[pair]), []).append(pair)
    texts = sorted(groups, key=lambda text: len(text[0]))
    for i in range(0, len(texts), batch_size):
        chosen = texts[i : i + batch_size]
        width, rows = len(chosen[-1][0]), [groups[text][0] for text in chosen]
        mask = tokens.mask[rows, :width].clone()
        for n, (text, _) in enumerate(chosen):
            mask[n, len(text) :] = False
        spans = tuple(tokens.spans[row][: len(text)] for row, (text, _) in zip(rows, chosen, strict=True))
        ends = tuple(start - 1 for _, start in chosen)
        run = Tokens(tuple(tokens.texts[row] for row in rows), tokens.ids[rows, :width], mask, spans, ends)
        yield run, [(n, pair) for n, text in enumerate(chosen) for pair in groups[text]]
