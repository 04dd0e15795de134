"""Traces of an image model's text encoder, without pictures: which tokens and layers carry a concept into its rows.

The base is the prompt with noise on the concept's token embeddings, or with another concept's in their place; states of
the prompt as it is are put back. What counts is what the denoiser hears: the share of the rows' distance to the clean
ones that is made good, 1 - ‖restored - clean‖ / ‖base - clean‖ (after Basu et al., ICLR 2024, who judge by pictures).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from concept_edit.language.encoder import TextEncoder
from concept_edit.language.sites import find_structure
from concept_edit.language.tokens import place_of
from concept_edit.search.hooks import Change, Place, Recording, changed, recorded
from concept_edit.search.restore import KINDS, How, Kind
from concept_edit.search.roles import roles_of
from concept_edit.search.tracing import Asked, Settings, Traced

_ROUNDING = 1e-5
_PADS = 8
"""Columns of padding that are looked at; those after them say much the same."""


@dataclass(frozen=True)
class _Encoder:
    """One CLIP tower with its sites."""

    model: Any
    hidden: int | None
    """Which hidden state the denoiser is given; None or -1: the last, after the final norm."""
    sites: dict[tuple[str, int], Place]
    layers: int
    embedding: Place

    def says(self, ids: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts tokens d_text"]:
        """The rows that the denoiser is given."""
        if self.hidden in (None, -1):
            return self.model(input_ids=ids).last_hidden_state
        return self.model(input_ids=ids, output_hidden_states=True).hidden_states[self.hidden]


def trace_encoder(opened: Any, asked: Asked, settings: Settings) -> Traced:
    """Trace the first CLIP tower of an opened image model, or the tower that `open_text_encoder` opened.

    Raises:
        ValueError: a model without CLIP, a subject that does not stand in the prompt, or a change that changes nothing.
    """
    model, tokenizer, hidden = _tower(opened)
    ids, columns, subject_columns = _tokens(tokenizer, asked.prompt, asked.subject)
    ids = ids.to(next(model.parameters()).device)
    encoder, instead = _opened(model, hidden, ids), asked.instead
    corrupt = _corruption(encoder, tokenizer, ids, subject_columns, instead, settings)
    places = [encoder.sites[kind, n] for kind in KINDS for n in range(encoder.layers)]
    with torch.no_grad():
        with recorded(encoder.model, places) as clean:
            wanted = encoder.says(ids)
        count = 1 if instead else settings.samples
        with changed(encoder.model, {encoder.embedding: corrupt}), recorded(encoder.model, places) as base:
            lost = (encoder.says(ids.repeat(count, 1)) - wanted).flatten(1).norm(dim=1)
        effects: dict[Kind, Tensor] = {}
        for kind in settings.kinds:
            how = settings.how(kind, encoder.layers)
            effects[kind] = _restored(encoder, ids, columns, how, corrupt, clean, base, wanted, lost)
    shown = tuple(tokenizer.convert_ids_to_tokens(ids[0, :columns].tolist()))
    roles = roles_of(columns, subject_columns)
    exact = {kind: torch.ones_like(table, dtype=torch.bool) for kind, table in effects.items()}
    return Traced(tuple(token.replace("</w>", "") for token in shown), roles, "", True, 1.0, 0.0, effects, exact, {})


def _tower(opened: Any) -> tuple[Any, Any, int | None]:
    """Encoder, tokenizer, and the hidden state that the denoiser is given."""
    if isinstance(opened, TextEncoder):
        return opened.model, opened.tokenizer, None
    held = next((tower for tower in opened.towers if tower.spec.kind.startswith("clip")), None)
    if held is None:
        raise ValueError(f"{opened.name} has no CLIP text encoder, and other encoders cannot be traced")
    return held.encoder, held.tokenizer, held.spec.hidden


def _tokens(tokenizer: Any, prompt: str, subject: str) -> tuple[Tensor, int, tuple[int, ...]]:
    """Ids with some padding, how many columns are text (with BOS and EOS), and the subject's columns."""
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError("the image model's tokenizer gives no character offsets; open it with a fast tokenizer")
    found = tokenizer([prompt], return_offsets_mapping=True, truncation=False)
    row, spans = found["input_ids"][0], found["offset_mapping"][0]
    start, stop = place_of(prompt, subject)
    columns = tuple(n for n, (a, b) in enumerate(spans) if a < stop and b > start and b > a)
    limit = int(min(getattr(tokenizer, "model_max_length", 77), 77))
    if len(row) > limit:
        raise ValueError(f"the prompt has {len(row)} tokens, the encoder reads {limit}; take a shorter one")
    pads = min(_PADS, limit - len(row))
    return torch.tensor([row + [tokenizer.pad_token_id] * pads]), len(row), columns


def _opened(model: Any, hidden: int | None, ids: Tensor) -> _Encoder:
    found = find_structure(model, lambda: model(input_ids=ids))
    sites: dict[tuple[str, int], Place] = {
        (site.kind, site.layer): Place(site.module, site.side) for site in found.sites
    }
    return _Encoder(model, hidden, sites, found.layers, Place(found.embedding))


def _corruption(
    encoder: _Encoder, tokenizer: Any, ids: Tensor, columns: Sequence[int], instead: str, settings: Settings
) -> Change:
    """What is done to the token embeddings: noise, or another concept's tokens stretched over the same columns."""
    table = encoder.model.get_submodule(encoder.embedding.module).weight.detach()
    own = list(columns)
    if instead:
        others = list(tokenizer(instead, add_special_tokens=False)["input_ids"])
        if not others:
            raise ValueError("the words to put instead have no tokens")
        drawn = table[[others[max(0, len(others) - len(own) + n)] for n in range(len(own))]][None]

        def swap(value: Tensor) -> Tensor:
            value[:, own] = drawn.to(value)
            return value

        return swap
    deviation = settings.deviation or float(table[ids[0, own]].float().std())
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(settings.samples, len(own), table.shape[1], generator=generator)
    noise = settings.noise * deviation * noise

    def shake(value: Tensor) -> Tensor:
        value[:, own] += noise.repeat(len(value) // len(noise), 1, 1).to(value)
        return value

    return shake


def _restored(
    encoder: _Encoder,
    ids: Tensor,
    columns: int,
    how: How,
    corrupt: Change,
    clean: Recording,
    base: Recording,
    wanted: Tensor,
    lost: Float[Tensor, " texts"],
) -> Float[Tensor, "tokens layers"]:
    """All layers of one token run together."""
    texts, layers = len(lost), encoder.layers
    lowest = encoder.sites["hidden", 0]
    apart = (clean[lowest] - base[lowest]).norm(dim=-1) > _ROUNDING * clean[lowest].norm(dim=-1)
    first = int(apart.any(dim=0).nonzero()[0])
    effects = torch.zeros(columns, layers, dtype=torch.float64)
    for token in range(columns):
        if token < first:
            continue
        puts: dict[Place, list[tuple[slice, Tensor]]] = {}
        for layer in range(layers):
            mine, span = slice(layer * texts, (layer + 1) * texts), how.span(layer, layers)
            for each in span:
                where = encoder.sites[how.kind, each]
                puts.setdefault(where, []).append((mine, clean[where][:, token]))
            for each in range(span[-1] + 1, layers) if how.severed else ():
                where = encoder.sites[how.severed or how.kind, each]
                puts.setdefault(where, []).append((mine, base[where][:, token]))
        changes = {encoder.embedding: corrupt} | {where: _put(listed, token) for where, listed in puts.items()}
        with changed(encoder.model, changes):
            rows = encoder.says(ids.repeat(layers * texts, 1))
        left = (rows - wanted).flatten(1).norm(dim=1).reshape(layers, texts)
        effects[token] = (1 - left / lost).mean(dim=1).double().cpu()
    return effects


def _put(listed: Sequence[tuple[slice, Tensor]], column: int) -> Change:
    def put(value: Tensor) -> Tensor:
        for mine, new in listed:
            value[mine, column] = new
        return value

    return put
