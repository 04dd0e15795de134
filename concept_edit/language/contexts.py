"""Sentences before a prompt, so that a key is the subject's and not that of one sentence's beginning."""

from __future__ import annotations

import re

from concept_edit.language.model import LanguageModel

STARTS = ("The", "It", "In", "A", "When", "Because", "He", "She", "They", "This", "One", "After")
"""Words to start text from that the model says itself."""


def find_contexts(lm: LanguageModel, count: int, *, tokens: int = 6, seed: int = 0) -> tuple[str, ...]:
    """Nothing, and `count` short beginnings the model says itself: each is put before a prompt. No state is kept."""
    starts = [STARTS[n % len(STARTS)] for n in range(count)]
    said = lm.complete(starts, tokens=tokens, seed=seed) if count else []
    texts = [re.sub(r"\s+", " ", start + text).strip(" .") for start, text in zip(starts, said, strict=True)]
    return ("", *(f"{text}. " for text in texts))
