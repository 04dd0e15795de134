"""Token rules: which of a prompt's rows speak for it, and which row of the goal each is paired with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.models.contract import Encoded


@dataclass(frozen=True)
class Span:
    """Where one text encoder's tokens lie among a prompt's rows: `start` to `stop`, EOS at `eos`."""

    start: int
    stop: int
    eos: int
    subject: tuple[int, ...]
    """The prompt's own tokens."""

    @property
    def last(self) -> int:
        """The last subject token; the first row for the empty prompt (BOS in CLIP)."""
        return max(self.start, self.eos - 1)

    @property
    def pads(self) -> tuple[int, ...]:
        """The first, middle and last pad row, fewer where there are fewer."""
        first, last = self.eos + 1, self.stop - 1
        return tuple(sorted({first, (first + last) // 2, last})) if first <= last else ()

    @property
    def whole(self) -> tuple[int, ...]:
        """Every row."""
        return tuple(range(self.start, self.stop))

    @property
    def spoken(self) -> tuple[int, ...]:
        """Every subject token, EOS and some pads."""
        return tuple(dict.fromkeys([*(self.subject or (self.last,)), self.eos, *self.pads]))


Pairs = list[tuple[int, int]]
"""(source row, goal row), as indices."""


def last_pairs(source: Span, goal: Span) -> Pairs:
    """The last subject token of each (UCE's 2025 code; an empty guide is the BOS row)."""
    return [(source.last, goal.last)]


def aligned_pairs(source: Span, goal: Span) -> Pairs:
    """Last subject token, EOS and pads, side by side as far as both reach (UCE's 2023 code and the paper)."""
    count = source.stop - source.start - max(source.last - source.start, goal.last - goal.start)
    return [(source.last + n, goal.last + n) for n in range(count)]


def subject_pairs(source: Span, goal: Span) -> Pairs:
    """Every subject token towards the goal's last one, EOS to EOS, and three pads to theirs."""
    tokens = [(token, goal.last) for token in source.subject or (source.last,)]
    return [*tokens, (source.eos, goal.eos), *zip(source.pads, goal.pads, strict=False)]


_PAIRS: Mapping[str, Callable[[Span, Span], Pairs]] = {
    "last": last_pairs,
    "aligned": aligned_pairs,
    "subject": subject_pairs,
}
_KEPT: Mapping[str, Callable[[Span], Sequence[int]]] = {
    "last": lambda span: (span.last,),
    "aligned": lambda span: span.whole,
    "subject": lambda span: span.spoken,
}


@dataclass(frozen=True)
class PromptRows:
    """One prompt's rows in one stream."""

    rows: Float[Tensor, "tokens d_text"]
    spans: tuple[Span, ...]
    pooled: bool


def prompt_rows(stream: Encoded, index: int) -> PromptRows:
    """Prompt number `index` of an encoded batch; SD3's text stream has CLIP's tokens and T5's, a span each."""
    rows, eos = stream.rows[index], int(stream.eos[index])
    own = [int(token) for token in stream.subject[index].nonzero().flatten()]
    if stream.second_eos is None:
        return PromptRows(rows.clone(), (Span(0, len(rows), eos, tuple(own)),), stream.pooled)
    second = int(stream.second_eos[index])
    middle = second - sum(token > eos for token in own)
    first = Span(0, middle, eos, tuple(token for token in own if token < middle))
    rest = Span(middle, len(rows), second, tuple(token for token in own if token >= middle))
    return PromptRows(rows.clone(), (first, rest), stream.pooled)


def centroid(prompts: Sequence[PromptRows]) -> PromptRows:
    """A prompt that nobody wrote: per span the mean first row, last subject token and EOS of some prompts, and the mean
    of their pads, side by side from EOS on. It is nobody's style and no single thing."""
    parts, spans, start = [], [], 0
    for number in range(len(prompts[0].spans)):
        rows = _mean_span([(prompt.rows, prompt.spans[number]) for prompt in prompts], prompts[0].pooled)
        eos = start + min(2, len(rows) - 1)
        spans.append(Span(start, start + len(rows), eos, (min(start + 1, eos),)))
        parts.append(rows)
        start += len(rows)
    return PromptRows(torch.cat(parts), tuple(spans), prompts[0].pooled)


def _mean_span(prompts: Sequence[tuple[Tensor, Span]], pooled: bool) -> Tensor:
    """First row, last token, EOS and pads, as many rows as the span has; where pads run out the last one stands in."""
    if pooled:
        return torch.stack([rows[span.start] for rows, span in prompts]).mean(dim=0, keepdim=True)
    length = prompts[0][1].stop - prompts[0][1].start
    picks = []
    for rows, span in prompts:
        tail = [min(span.eos + n, span.stop - 1) for n in range(length - 2)]
        picks.append(rows[[span.start, span.last, *tail]])
    return torch.stack(picks).mean(dim=0)


def aimed_pairs(rule: str, source: PromptRows, goal: PromptRows) -> Pairs:
    """Every row that speaks for the source, once, with the row in its place in the goal prompt, of any length."""
    own = "last" if source.pooled else rule
    return [
        (row, _in_place(row, s, g))
        for s, g in zip(source.spans, goal.spans, strict=True)
        for row in dict.fromkeys(pair[0] for pair in _PAIRS[own](s, s))
    ]


def _in_place(row: int, source: Span, goal: Span) -> int:
    """Subject tokens answer to the last one, EOS to EOS, and pads to pads counted from EOS."""
    return goal.last if row < source.eos else min(goal.eos + row - source.eos, goal.stop - 1)


def paired(rule: str, source: PromptRows, goal: PromptRows) -> Pairs:
    """The pairs of a source and a goal prompt under the rule; a pooled vector has but one row."""
    pairs = _PAIRS["last" if source.pooled else rule]
    return [pair for s, g in zip(source.spans, goal.spans, strict=True) for pair in pairs(s, g)]


def kept_rows(rule: str, prompt: PromptRows) -> list[int]:
    """The rows of a kept prompt under the rule."""
    rows = _KEPT["last" if prompt.pooled else rule]
    return [row for span in prompt.spans for row in rows(span)]
