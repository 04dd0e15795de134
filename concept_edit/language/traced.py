"""Which layers to rewrite when nobody says: those whose MLP carries the fact at its subject's last token."""

from __future__ import annotations

from collections.abc import Sequence

from concept_edit.language.facts import Fact
from concept_edit.language.model import LanguageModel
from concept_edit.search.traces import Trace, trace

_TRACED = 8
"""Facts that are traced at most."""


def traced_layers(lm: LanguageModel, facts: Sequence[Fact], count: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """`count` layers, ascending, and a sentence that says where they come from.

    Raises:
        ValueError: the model knows none of the first facts, so that there is nothing to trace.
    """
    found = trace_few(lm, facts).layers(count)
    told = "1 fact" if len(facts) == 1 else f"{len(facts[:_TRACED])} facts"
    return tuple(sorted(found)), (f"layers from the trace of {told}: {found.why}",)


def trace_few(lm: LanguageModel, facts: Sequence[Fact]) -> Trace:
    """The trace that decides: MLPs, of the first facts.

    Raises:
        ValueError: as `traced_layers`.
    """
    return trace(lm, facts[0] if len(facts) == 1 else list(facts[:_TRACED]), kind="mlp")
