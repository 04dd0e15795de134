"""The logit lens: what a model would say if it stopped after a block, at each token of a prompt (nostalgebraist 2020).

The state after a block goes through the model's own last norm and output matrix, as that after the last block does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from concept_edit.language.states import states
from concept_edit.search.hooks import Place, changed

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

Words = tuple[tuple[str, float], ...]
"""The likeliest tokens and their probabilities."""


@torch.no_grad()
def lens(lm: LanguageModel, prompt: str, count: int = 5) -> list[list[Words]]:
    """The `count` likeliest tokens, for each token of the prompt and each layer, all in one run."""
    tokens, sites = lm.encode([prompt]), [lm.site("hidden", layer) for layer in range(lm.layers)]
    seen = states(lm, tokens, sites)
    stacked = torch.cat([seen[site] for site in sites])
    with changed(lm.model, {Place(sites[-1].module): lambda value: stacked.to(value)}):
        logits = lm.logits(lm.encode([prompt] * lm.layers))
    best = logits.float().softmax(dim=-1).topk(count)
    names = {i: lm.tokenizer.decode([i]) for i in set(best.indices.flatten().tolist())}
    chances, ids = best.values.tolist(), best.indices.tolist()
    return [
        [tuple(zip((names[i] for i in ids[layer][n]), chances[layer][n], strict=True)) for layer in range(lm.layers)]
        for n in range(tokens.lengths[0])
    ]
