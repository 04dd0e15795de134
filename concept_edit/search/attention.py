"""Where one head looks: its attention over a prompt, as numbers and as a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel


@dataclass(frozen=True, eq=False)
class Attention:
    """Of one head over one prompt."""

    weights: Float[Tensor, "tokens tokens"]
    """From each token (row) to those before it and itself; rows sum to 1."""
    tokens: tuple[str, ...]
    layer: int
    head: int

    def looked_at(self, count: int = 5) -> list[tuple[str, float]]:
        """What the last token attends to most."""
        found = self.weights[-1].topk(min(count, len(self.tokens)))
        return [(self.tokens[int(i)], float(w)) for i, w in zip(found.indices, found.values, strict=True)]

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw it: .png, .svg or .pdf."""
        from concept_edit.search.plots import plot_attention

        title = f"layer {self.layer}, head {self.head}: from each row's token to the columns'"
        plot_attention(self.weights.numpy(), self.tokens, path, title=title)


def attention_of(lm: LanguageModel, prompt: str, layer: int, head: int) -> Attention:
    """Read one head's attention. The model computes it the plain way for this call and is then as before.

    Raises:
        ValueError: no such layer or head, or a model that tells no attention.
    """
    if not (0 <= layer < lm.layers and 0 <= head < lm.heads):
        raise ValueError(f"{lm.name} has {lm.layers} layers of {lm.heads} heads; got layer {layer}, head {head}")
    model: Any = lm.model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        ids = lm.encode([prompt]).ids
        with torch.no_grad():
            told = model(input_ids=ids, output_attentions=True, use_cache=False).attentions
    finally:
        model.set_attn_implementation(before)
    if not told or told[layer] is None:
        raise ValueError(f"{type(model).__name__} does not tell its attention")
    tokens = tuple(lm.tokenizer.decode([token]) for token in ids[0].tolist())
    return Attention(told[layer][0, head].float().cpu(), tokens, layer, head)
