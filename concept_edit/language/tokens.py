"""Texts to token ids and back to characters: every place in a text is found by character offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Some texts as token ids, padded on the right: token n of a text stands in column n whatever the batch."""

    texts: tuple[str, ...]
    ids: Int[Tensor, "prompts tokens"]
    mask: Bool[Tensor, "prompts tokens"]
    spans: tuple[tuple[tuple[int, int], ...], ...]
    """First and last + 1 character of each token; (0, 0) for one that stands for no text, such as BOS."""
    ends: tuple[int, ...] = ()
    """Column in which each text's prompt ends, where an answer follows it; empty: each text is a prompt to its end."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(row) for row in self.spans]

    @property
    def last(self) -> Int[Tensor, " prompts"]:
        """Column of each text's last token."""
        return torch.tensor(self.lengths, device=self.ids.device) - 1

    def rows(self, prompt: int, start: int, stop: int) -> tuple[int, ...]:
        """Columns of the tokens of text `prompt` that hold some of the characters start to stop - 1."""
        return tuple(n for n, (a, b) in enumerate(self.spans[prompt]) if a < stop and b > start and b > a)


def tokenise(tokenizer: Any, texts: Sequence[str], device: torch.device | str = "cpu") -> Tokens:
    """Tokenise with the tokenizer's own special tokens at the front; nothing is cut.

    Raises:
        ValueError: an empty text, for which there is nothing to predict from.
    """
    found = tokenizer(list(texts), return_offsets_mapping=True, padding=False, truncation=False, verbose=False)
    rows = list(found["input_ids"])
    for text, row in zip(texts, rows, strict=True):
        if not row:
            raise ValueError(f"the text {text!r} has no tokens; give at least one word")
    width = max(map(len, rows), default=0)
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.bool)
    for n, row in enumerate(rows):
        ids[n, : len(row)], mask[n, : len(row)] = torch.tensor(row), True
    spans = tuple(tuple((int(a), int(b)) for a, b in row) for row in found["offset_mapping"])
    return Tokens(tuple(texts), ids.to(device), mask.to(device), spans)


def place_of(prompt: str, subject: str) -> tuple[int, int]:
    """First and last + 1 character of the first `subject` in `prompt`.

    Raises:
        ValueError: it is not there.
    """
    start = prompt.find(subject)
    if start < 0 or not subject:
        raise ValueError(f"the subject {subject!r} does not stand in {prompt!r}; write it as the prompt has it")
    return start, start + len(subject)


def joined(prompt: str, answer: str) -> str:
    """The prompt with its answer, a space between them unless one is there."""
    return prompt + ("" if prompt[-1:].isspace() or answer[:1].isspace() else " ") + answer
