"""Token rules: which of a prompt's rows speak for it, and which row of the goal each is paired with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from concept_edit.models.contract import Encoded


@dataclass(frozen=True)
class Span:
    """Where one text encoder's tokens lie among a prompt's rows: `start` to `stop`, EOS at `eos`.

    A language model's template stands before the prompt's own tokens and, from `eos` on, after them."""

    start: int
    stop: int
    eos: int
    subject: tuple[int, ...]
    """The prompt's own tokens."""
    after: int = 1
    """Rows of the template from `eos` on; 1 is EOS alone."""

    @property
    def last(self) -> int:
        """The last subject token; the first row for the empty prompt (BOS in CLIP)."""
        return max(self.start, self.eos - 1)

    @property
    def suffix(self) -> tuple[int, ...]:
        """What follows the subject and is no pad: EOS, or the rest of a template."""
        return tuple(range(self.eos, min(self.eos + self.after, self.stop)))

    @property
    def pads(self) -> tuple[int, ...]:
        """The first, middle and last pad row, fewer where there are fewer."""
        first, last = self.eos + self.after, self.stop - 1
        return tuple(sorted({first, (first + last) // 2, last})) if first <= last else ()

    @property
    def whole(self) -> tuple[int, ...]:
        """Every row."""
        return tuple(range(self.start, self.stop))

    @property
    def spoken(self) -> tuple[int, ...]:
        """Every subject token, EOS and some pads."""
        return tuple(dict.fromkeys([*(self.subject or (self.last,)), *self.suffix, *self.pads]))


Pairs = list[tuple[int, int]]
"""(source row, goal row), as indices."""


def last_pairs(source: Span, goal: Span) -> Pairs:
    """The last subject token of each (UCE's 2025 code; an empty guide is the BOS row)."""
    return [(source.last, goal.last)]


def aligned_pairs(source: Span, goal: Span) -> Pairs:
    """Last subject token, EOS and pads, side by side as far as both reach (UCE's 2023 code and the paper)."""
    count = min(source.stop - source.last, goal.stop - goal.last)
    return [(source.last + n, goal.last + n) for n in range(count)]


def subject_pairs(source: Span, goal: Span, before: int = 0) -> Pairs:
    """Every subject token from number `before` on towards the goal's in its place, counted from the end; EOS and what
    else the template says after the prompt to the same there, and three pads to theirs. What both say before the
    concept stays: a causal encoder reads it before it knows of the concept."""
    own = (source.subject or (source.last,))[before:]
    there = goal.subject or (goal.last,)
    tokens = [(token, there[max(min(before, len(there) - 1), len(there) - n)]) for n, token in _from_end(own)]
    after = list(zip(reversed(source.suffix), reversed(goal.suffix), strict=False))[::-1]
    return [*tokens, *after, *zip(source.pads, goal.pads, strict=False)]


def _from_end(tokens: Sequence[int]) -> list[tuple[int, int]]:
    """Each token with its number from the end, the last one being 1."""
    return [(len(tokens) - i, token) for i, token in enumerate(tokens)]


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

    def whole(self, places: Sequence[int]) -> Bool[Tensor, " places"]:
        """Whether each place is a last subject token or stands after one: such a row has read the whole prompt."""
        spans = [next(span for span in self.spans if span.start <= place < span.stop) for place in places]
        return torch.tensor([p >= span.last for p, span in zip(places, spans, strict=True)], dtype=torch.bool)


def prompt_rows(stream: Encoded, index: int) -> PromptRows:
    """Prompt number `index` of an encoded batch; SD3's text stream has CLIP's tokens and T5's, a span each."""
    rows, eos = stream.rows[index], int(stream.eos[index])
    if stream.length is not None:
        rows = rows[: int(stream.length[index])]
    after = 1 if stream.suffix is None else int(stream.suffix[index])
    own = [int(token) for token in stream.subject[index].nonzero().flatten()]
    if stream.second_eos is None:
        return PromptRows(rows.clone(), (Span(0, len(rows), eos, tuple(own), after),), stream.pooled)
    second = int(stream.second_eos[index])
    middle = second - sum(token > eos for token in own)
    first = Span(0, middle, eos, tuple(token for token in own if token < middle))
    rest = Span(middle, len(rows), second, tuple(token for token in own if token >= middle))
    return PromptRows(rows.clone(), (first, rest), stream.pooled)


def centroid(prompts: Sequence[PromptRows]) -> PromptRows:
    """A prompt that nobody wrote: the mean of some prompts' rows, side by side from EOS on and, backwards, as far as
    the shortest has subject tokens. It is nobody's style and no single thing."""
    parts, spans = list[Tensor](), list[Span]()
    for number, first in enumerate(prompts[0].spans):
        own = [(prompt.rows, prompt.spans[number]) for prompt in prompts]
        if prompts[0].pooled:
            parts.append(torch.stack([rows[span.start] for rows, span in own]).mean(dim=0, keepdim=True))
            spans.append(first)
            continue
        count = min(max(1, len(span.subject)) for _, span in own)
        parts.append(_mean_rows(own, count))
        # Rows before the first subject token: BOS in CLIP, none in T5.
        eos = first.start + min(len(parts[-1]) - min(1, first.after), count + _heads(first))
        stop = first.start + len(parts[-1])
        spans.append(Span(first.start, stop, eos, tuple(range(eos - count, eos)), first.after))
    return PromptRows(torch.cat(parts), tuple(spans), prompts[0].pooled)


def _heads(span: Span) -> int:
    return (span.subject[0] if span.subject else span.last) - span.start if span.eos > span.start else 0


def _mean_rows(prompts: Sequence[tuple[Tensor, Span]], count: int) -> Tensor:
    """As many rows as the span has: what stands before the subject, `count` subject tokens, EOS, pads; where pads run
    out the last one stands in. Prompts of different lengths have no pads: the template ends them."""
    first = prompts[0][1]
    heads, length = _heads(first), first.stop - first.start
    if len({span.stop - span.start for _, span in prompts}) > 1:
        length = heads + count + first.after
    picks = []
    for rows, span in prompts:
        head = [span.start + n for n in range(heads)]
        tokens = [max(span.start, span.eos - n) for n in range(count, 0, -1)]
        tail = [min(span.eos + n, span.stop - 1) for n in range(length - heads - count)]
        picks.append(rows[[*head, *tokens, *tail]])
    return torch.stack(picks).mean(dim=0)


def aimed_pairs(rule: str, source: PromptRows, goal: PromptRows, before: PromptRows | None = None) -> Pairs:
    """Every row that speaks for the source, once, with the row in its place in the goal prompt, of any length.

    The tokens of `before`, what a wording says before it names the concept, answer to themselves.
    """
    own = "last" if source.pooled else rule
    heads = [0] * len(source.spans) if before is None else [len(span.subject) for span in before.spans]
    return [
        (row, _in_place(row, s, g, s.subject[:head]))
        for s, g, head in zip(source.spans, goal.spans, heads, strict=True)
        for row in dict.fromkeys(pair[0] for pair in _PAIRS[own](s, s))
    ]


def _in_place(row: int, source: Span, goal: Span, before: Sequence[int]) -> int:
    """Tokens before the concept answer to themselves, others of the subject to the last one, EOS to EOS, and pads to
    pads counted from EOS."""
    if row in before and row - source.start < goal.eos - goal.start:
        return goal.start + row - source.start
    return goal.last if row < source.eos else min(goal.eos + row - source.eos, goal.stop - 1)


def paired(rule: str, source: PromptRows, goal: PromptRows, before: PromptRows | None = None) -> Pairs:
    """The pairs of a source and a goal prompt under the rule; a pooled vector has but one row.

    `before` is what a wording says before it names the concept; the rule `subject` leaves that where it is.
    """
    spans = list(zip(source.spans, goal.spans, strict=True))
    if rule == "subject" and not source.pooled and before is not None:
        counts = [len(span.subject) for span in before.spans]
        return [p for (s, g), n in zip(spans, counts, strict=True) for p in subject_pairs(s, g, n)]
    pairs = _PAIRS["last" if source.pooled else rule]
    return [pair for s, g in spans for pair in pairs(s, g)]


def kept_rows(rule: str, prompt: PromptRows) -> list[int]:
    """The rows of a kept prompt under the rule."""
    rows = _KEPT["last" if prompt.pooled else rule]
    return [row for span in prompt.spans for row in rows(span)]
