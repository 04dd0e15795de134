"""A text that is run once and continued often: its first tokens' keys and values are kept.

Patching a token leaves all tokens before it as they were, so a patched run starts at that token. Where a model's cache
is of another sort than plain keys and values (sliding windows, recurrent states), the whole text runs each time.
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from concept_edit.language.places import read_at
from concept_edit.language.tokens import Tokens

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


class Begun:
    """Some texts of any lengths whose beginnings went through the model once; what is left of them runs often.

    Only where positions can be given and the cache is plain (`begun`).
    """

    def __init__(self, lm: LanguageModel, cache: Any, mask: Bool[Tensor, "texts before"], cuts: Int[Tensor, " texts"]):
        self.lm, self._cache, self._mask, self._cuts = lm, cache, mask, cuts

    def logits_at(
        self, tokens: Tokens, rows: Int[Tensor, " places"], columns: Int[Tensor, " places"]
    ) -> Float[Tensor, "places vocabulary"]:
        """As `LanguageModel.logits_at`, of the tokens that are left; hooks see these alone."""
        seen = torch.cat([self._mask, tokens.mask], dim=1).long()
        places = self._cuts[:, None] + torch.arange(tokens.ids.shape[1], device=seen.device)
        past: dict[str, Any] = {_cache_name(self.lm): _repeated(self._cache, self._mask.shape[1], 1)}
        with read_at(self.lm.model, rows, columns):
            about = {"attention_mask": seen, "position_ids": places, "use_cache": True}
            return self.lm.model(input_ids=tokens.ids, **about, **past).logits

    def pick(self, kept: Bool[Tensor, " texts"]) -> Begun:
        """These texts alone."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[kept], layer.values[kept]
        return Begun(self.lm, cache, self._mask[kept], self._cuts[kept])


def begun(lm: LanguageModel, tokens: Tokens, cuts: Int[Tensor, " texts"]) -> tuple[Begun, Tokens] | None:
    """Each text run up to its column `cuts`, and the tokens from there on; None where a model does not allow it."""
    known, width = inspect.signature(lm.model.forward).parameters, int(cuts.max())
    if "position_ids" not in known or not width:
        return None
    mask = torch.arange(width, device=cuts.device) < cuts[:, None]
    with torch.no_grad():
        out = lm.model(input_ids=tokens.ids[:, :width], attention_mask=mask.long(), use_cache=True, **_keep(lm))
    cache = _plain(out.get(_cache_name(lm)))
    if cache is None:
        return None
    longest = int((tokens.mask.sum(dim=1) - cuts).max())
    columns = cuts[:, None] + torch.arange(longest, device=cuts.device)
    inside = columns < tokens.mask.sum(dim=1, keepdim=True)
    held = columns.clamp_max(tokens.ids.shape[1] - 1)
    spans = tuple(own[int(cut) :] for own, cut in zip(tokens.spans, cuts, strict=True))
    left = Tokens(tokens.texts, tokens.ids.gather(1, held) * inside, inside, spans)
    return Begun(lm, cache, mask, cuts), left


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
