"""Which layers a rewrite should touch, when nobody says: those whose MLP carries the fact at its subject's last token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from concept_edit.language.facts import Fact
from concept_edit.language.model import LanguageModel

_TRACED = 5
"""Facts that are traced; the layers named most often are taken."""


def traced_layers(lm: LanguageModel, facts: Sequence[Fact], count: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """`count` layers, ascending, and a sentence that says where they come from."""
    from concept_edit.search import trace

    named: Counter[int] = Counter()
    for fact in facts[:_TRACED]:
        for rank, layer in enumerate(trace(lm, fact, kind="mlp").layers(count)):
            named[layer] += count - rank
    chosen = tuple(sorted(layer for layer, _ in named.most_common(count)))
    told = ", ".join(map(str, chosen))
    return chosen, (f"layers {told}: traced on {min(len(facts), _TRACED)} of {len(facts)} facts, MLPs at the subject",)
