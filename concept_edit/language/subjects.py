"""Where a fact is looked up: the key of its subject's last token, in the prompt's contexts and in other beginnings.

ROME and MEMIT take the mean key over contexts of the prompt. Then the prompt in context says the new answer, and
another sentence about the subject may not: on SmolLM2 the mean key's share of the value is 0.6 where the subject begins
a text (there the first token gathers attention and its key is another) and 0.3 to 1 in other wordings. Here the subject
is also read in a few ordinary beginnings, and the keys are weighted so that each of them gets the same share. It is
still one key and one rank-one change.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.language.contexts import in_context, subject_column
from concept_edit.language.facts import Fact
from concept_edit.language.keys import KeyStatistics
from concept_edit.language.model import LanguageModel
from concept_edit.language.sites import Site
from concept_edit.language.states import states
from concept_edit.language.tokens import Tokens
from concept_edit.memory.hard import even_key

AROUND = ("{}", "The {}", "About {}", "I like {}", "Tell me about {}", "It was said that {}")
"""Ordinary beginnings that a subject is read in beside its prompt's."""


def subject_states(
    lm: LanguageModel, sites: Sequence[Site], facts: Sequence[Fact], contexts: Sequence[str], *, batch_size: int = 32
) -> dict[Site, Float[Tensor, "facts width"]]:
    """Each site's state at the subject's last token, mean over the contexts, float32 on the CPU."""
    seen = _each(lm, sites, facts, contexts, batch_size)
    return {site: states_.mean(dim=1) for site, states_ in seen.items()}


def subject_keys(
    lm: LanguageModel,
    layers: Sequence[int],
    facts: Sequence[Fact],
    contexts: Sequence[str],
    statistics: KeyStatistics,
    around: Sequence[str] = (),
    *,
    batch_size: int = 32,
) -> dict[int, Float[Tensor, "facts d_key"]]:
    """The key each fact is looked up by, float32 on the CPU: the mean over its contexts, or, with other beginnings to
    hold `around` the subject alone, the mean that gives all of them the same share (`even_key`).

    Raises:
        ValueError: a layer the statistics do not hold.
    """
    sites = [lm.site("memory", layer) for layer in layers]
    if not around:
        return {site.layer: key for site, key in subject_states(lm, sites, facts, contexts).items()}
    inside = _each(lm, sites, facts, contexts, batch_size)
    outside = _each(lm, sites, [Fact(fact.subject, "{}", fact.new) for fact in facts], around, batch_size)
    found = {}
    for site in sites:
        moment = statistics.moment(site.layer)
        found[site.layer] = even_key(torch.cat([inside[site], outside[site]], dim=1), moment).float()
    return found


def _each(
    lm: LanguageModel, sites: Sequence[Site], facts: Sequence[Fact], contexts: Sequence[str], batch_size: int
) -> dict[Site, Float[Tensor, "facts contexts width"]]:
    texts = [in_context(context, fact) for fact in facts for context in contexts]
    columns = torch.tensor([subject_column(lm, context, fact) for fact in facts for context in contexts])
    order, found = columns.argsort(stable=True), dict[Site, list[Tensor]]()
    for some in order.split(batch_size):
        own = columns[some]
        seen = states(lm, _up_to(lm.encode([texts[int(n)] for n in some]), int(own.max()) + 1), sites)
        for site, state in seen.items():
            found.setdefault(site, []).append(state[torch.arange(len(own)), own].float().cpu())
    back = order.argsort()
    return {site: torch.cat(rows)[back].reshape(len(facts), len(contexts), -1) for site, rows in found.items()}


def _up_to(tokens: Tokens, width: int) -> Tokens:
    """Their first columns: what follows a token is not seen by it."""
    spans = tuple(own[:width] for own in tokens.spans)
    return Tokens(tokens.texts, tokens.ids[:, :width], tokens.mask[:, :width], spans)
