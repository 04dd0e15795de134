"""A text that is run once and continued often: its first tokens' keys and values are kept.

Patching a token leaves all tokens before it as they were, so a patched run starts at that token. Where a model's cache
is of another sort than plain keys and values (sliding windows, recurrent states), the whole text runs each time.
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

_PLAIN = "DynamicLayer"


class Run:
    """Some texts of one length, as embeddings, that went through the model once."""

    logits: Float[Tensor, "texts vocabulary"]
    """At the last token."""

    def __init__(self, lm: LanguageModel, rows: Float[Tensor, "texts tokens d_model"]):
        self.lm, self.rows = lm, rows
        with torch.no_grad():
            out = lm.model(inputs_embeds=rows, use_cache=True, **_keep(lm))
        self.logits = out.logits[:, -1]
        self._cache = _plain(out.get(_cache_name(lm)))

    def kept(self, start: int) -> int:
        """Tokens that a run from `start` does not run again."""
        return start if self._cache is not None else 0

    def again(self, start: int, copies: int = 1) -> Float[Tensor, "runs vocabulary"]:
        """Logits at the last token, of `copies` runs of all texts (copy after copy) from token `start` on.

        Hooks see the tokens from `kept(start)` on. With gradients on, all states are in the graph.
        """
        kept = self.kept(start)
        rows = self.rows[:, kept:].detach().requires_grad_(torch.is_grad_enabled()).repeat(copies, 1, 1)
        past: dict[str, Any] = {"use_cache": False}
        if kept:
            past = {"use_cache": True, _cache_name(self.lm): _repeated(self._cache, kept, copies)}
        return self.lm.model(inputs_embeds=rows, **past, **_keep(self.lm)).logits[:, -1]


def embed(lm: LanguageModel, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts tokens d_model"]:
    """What the model's embedding table says of the tokens."""
    with torch.no_grad():
        return lm.module(lm.embedding)(ids).detach()


def last_logits(lm: LanguageModel, rows: Float[Tensor, "texts tokens d_model"]) -> Float[Tensor, "texts vocabulary"]:
    """One pass, with gradients where they are on."""
    return lm.model(inputs_embeds=rows, use_cache=False, **_keep(lm)).logits[:, -1]


def _keep(lm: LanguageModel) -> dict[str, Any]:
    """Ask for the last token's logits only, of models that can be asked."""
    known = inspect.signature(lm.model.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in known else {}


def _cache_name(lm: LanguageModel) -> str:
    """transformers calls it `cache` since 5.24, and called it `past_key_values` before."""
    return "cache" if "cache" in inspect.signature(lm.model.forward).parameters else "past_key_values"


def _plain(cache: Any) -> Any:
    layers = getattr(cache, "layers", None)
    return cache if layers and all(type(layer).__name__ == _PLAIN for layer in layers) else None


def _repeated(cache: Any, length: int, copies: int) -> Any:
    """A cache of its own for one pass: the first `length` tokens, `copies` times."""
    found = copy.copy(cache)
    found.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in found.layers:
        layer.keys = layer.keys[:, :, :length].repeat(copies, 1, 1, 1)
        layer.values = layer.values[:, :, :length].repeat(copies, 1, 1, 1)
    return found
