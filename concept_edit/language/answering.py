"""How often a model answers prompts of a task, plain or with a vector in one of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from concept_edit.language.runs import Run, embed
from concept_edit.language.tasks import Prompt
from concept_edit.search.head_effects import answer_token
from concept_edit.search.hooks import Change, Place, changed, recorded, skipped

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel
    from concept_edit.language.vectors import FunctionVector

Added = tuple["FunctionVector", int, float]
"""A vector, the layer it is added to, and how strongly."""


@torch.no_grad()
def first_tokens(
    lm: LanguageModel, prompts: Sequence[Prompt], added: Mapping[str, Added], *, size: int = 16
) -> dict[str, list[bool]]:
    """Name -> whether the likeliest next token begins each prompt's answer; "plain" is the model as it is.

    Each text runs once; with a vector only its last token runs again, from the vector's layer on.
    """
    found: dict[str, list[bool]] = {name: [False] * len(prompts) for name in ("plain", *added)}
    tokens = lm.encode([prompt.text for prompt in prompts])
    wanted = torch.tensor([answer_token(lm, prompt) for prompt in prompts], device=lm.device)
    places = [Place(lm.site("hidden", layer).module) for layer in range(lm.layers)]
    for length in sorted(set(tokens.lengths)):
        same = [n for n, own in enumerate(tokens.lengths) if own == length]
        for i in range(0, len(same), size):
            rows = same[i : i + size]
            with recorded(lm.model, places) as seen:
                run = Run(lm, embed(lm, tokens.ids[rows, :length]))
            said = {"plain": run.logits}
            for name, each in added.items():
                said[name] = _with(lm, run, {p: seen[p] for p in places}, seen.tuples, each)
            for name, logits in said.items():
                for n, hit in zip(rows, (logits.argmax(dim=-1) == wanted[rows]).tolist(), strict=True):
                    found[name][n] = hit
    return found


def _with(lm: LanguageModel, run: Run, states: Mapping[Place, Tensor], tuples: set[str], added: Added) -> Tensor:
    vector, layer, strength = added
    if strength == 0:
        return run.logits
    start = run.rows.shape[1] - 1
    here, kept = Place(lm.site("hidden", layer).module), run.kept(start)
    below = [Place(lm.site("hidden", each).module) for each in range(layer + 1)]
    with ExitStack() as stack:
        held = states[here][:, kept:]
        stack.enter_context(skipped(lm.model, {p.module: held for p in below}, tuples))
        stack.enter_context(changed(lm.model, {here: _adds(strength * vector.direction)}))
        return run.again(start)


def _adds(direction: Tensor) -> Change:
    def add(value: Tensor) -> Tensor:
        value[:, -1] += direction.to(value)
        return value

    return add


def whole_words(lm: LanguageModel, prompts: Sequence[Prompt], added: Added | None = None) -> list[bool]:
    """Whether the model completes each prompt with exactly the answer, up to the end of the line or sentence."""
    longest = max(len(lm.encode([prompt.answer]).ids[0]) for prompt in prompts)
    with ExitStack() as stack:
        if added is not None:
            vector, layer, strength = added
            stack.enter_context(vector.added(lm, layer, strength))
        said = lm.complete([prompt.text for prompt in prompts], tokens=longest + 2)
    return [_is(text, prompt.answer) for text, prompt in zip(said, prompts, strict=True)]


def _is(said: str, answer: str) -> bool:
    text, wanted = said.strip(), answer.strip()
    return text.startswith(wanted) and not text[len(wanted) : len(wanted) + 1].isalnum()
