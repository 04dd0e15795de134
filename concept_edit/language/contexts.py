"""Sentences around a prompt, so that a key is the subject's and not that of one sentence's beginning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from concept_edit.language.facts import Fact
from concept_edit.language.model import LanguageModel

T = TypeVar("T")
STARTS = ("The", "It", "In", "A", "When", "Because", "He", "She", "They", "This", "One", "After")
"""Words to start text from that the model says itself."""


def starts(lm: LanguageModel) -> tuple[str, ...]:
    """What the model goes on from when it says text of its own: nothing, where a BOS stands for the beginning."""
    try:
        return ("",) * len(STARTS) if lm.encode([""]).lengths else STARTS
    except ValueError:  # no token at all to start from
        return STARTS


def find_contexts(lm: LanguageModel, count: int, *, tokens: int = 6, seed: int = 0) -> tuple[str, ...]:
    """ "{}" for the prompt alone, and `count` short beginnings the model says itself before it. No state is kept."""
    words = starts(lm)
    begun = [words[n % len(words)] for n in range(count)]
    said = lm.complete(begun, tokens=tokens, seed=seed) if count else []
    texts = [re.sub(r"\s+", " ", start + text).strip(" .") for start, text in zip(begun, said, strict=True)]
    return ("{}", *(f"{text.replace('{}', '')}. {{}}" for text in texts))


def standing(contexts: Sequence[T]) -> list[T]:
    """Those with a sentence before the prompt, or the bare one where it is all there is.

    A model that gathers attention in its first token gives that one a state of its own, many times as large and alike
    in every text: what a subject's state is like cannot be read where the subject begins the text.
    """
    return list(contexts[1:] or contexts)


def in_context(context: str, fact: Fact) -> str:
    """The fact's prompt where the context has {}."""
    return context.replace("{}", fact.asked)


def subject_column(lm: LanguageModel, context: str, fact: Fact) -> int:
    """Column of the subject's last token in the prompt in that context, by characters.

    Raises:
        ValueError: no token holds it, as where a long prompt was cut.
    """
    text, start = in_context(context, fact), context.index("{}") + fact.prompt.index("{}")
    rows = lm.encode([text]).rows(0, start, start + len(fact.subject))
    if not rows:
        raise ValueError(f"the subject {fact.subject!r} has no token of its own in {text!r}")
    return rows[-1]
