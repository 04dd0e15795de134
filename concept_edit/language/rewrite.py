"""Facts rewritten in a language model: ROME, MEMIT, the null space, and fine-tuning as their measure.

rome    one layer, one fact after the other: the value at the MLP's output, the exact rank-one change (ROME with the
        same mean key on both sides, as R-ROME has it)
memit   several layers, all facts at once: the value at the last layer's output, a share of what is missing to it in
        each layer from below, softly against the ordinary keys
null    as memit, in the directions that ordinary keys do not use (AlphaEdit)
ft      gradient descent on one layer's matrix, with `bound` inside an L∞ ball (FT+L)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from concept_edit.language.contexts import find_contexts, standing
from concept_edit.language.edit import FactEdit
from concept_edit.language.encoder import TextEncoder
from concept_edit.language.facts import Fact, check_facts
from concept_edit.language.keys import KeyStatistics, collect_keys
from concept_edit.language.meanings import find_meanings, mean_keys
from concept_edit.language.model import LanguageModel
from concept_edit.language.sites import Site
from concept_edit.language.subjects import subject_keys, subject_states
from concept_edit.language.tuning import Tuning, tune
from concept_edit.language.values import Lookup, Search, Values, find_values
from concept_edit.memory.hard import (
    MatrixFactors,
    Memory,
    Mode,
    null_basis,
    project,
    rewrite_matrix,
    whiten,
)
from concept_edit.memory.verbs import restore
from concept_edit.version import __version__

Method = Literal["rome", "memit", "null", "ft"]
_OWN_TOKENS = 20_000
"""Tokens the model says itself where no statistics are given."""
LAYERS = {"rome": 1, "ft": 1, "memit": 3, "null": 3}
"""How many layers are taken from a trace."""


@dataclass(frozen=True)
class Hold:
    """How strongly the ordinary keys are held in `memit` and `null`, without units: the same for every model."""

    weight: float = 1.0
    """memit: λ as a multiple of d_key. A key like the ordinary ones has kᵀ E[kkᵀ]⁻¹ k = d_key, so at 1 it moves half
    way; published λ (15,000 to 20,000 at d_key 6,400 to 16,384) are 0.9 to 3.1."""
    threshold: float = 0.02
    """null: directions with less energy than this share of the mean one are free."""
    ridge: float = 0.1
    """null: against the mean energy of the keys in the free directions."""


def rewrite(
    lm: LanguageModel,
    facts: Fact | Sequence[Fact],
    method: Method = "rome",
    layers: Sequence[int] | None = None,
    statistics: KeyStatistics | None = None,
    *,
    search: Search | None = None,
    hold: Hold | None = None,
    tuning: Tuning | None = None,
    values: Values | None = None,
) -> FactEdit:
    """An edit that makes the model say the facts' new answers; the model itself is as before.

    `layers`: None takes them from a trace of the first facts and says so in the edit's notes.
    `statistics`: of `collect_keys`; None collects them from text the model says itself, and says so.
    `values`: for `memit` and `null`, what `memit_values` found for these facts before: a fact's value does not depend
    on the others, so many edits of the same facts need it once.

    Raises:
        ValueError: facts that contradict each other, another method, statistics of another model, layers for `rome` or
            `ft` that are not one, or a model this method does not suit.
    """
    held = check_facts(facts)
    if method not in get_args(Method):
        raise ValueError(f"{method!r} is no method; expected {', '.join(get_args(Method))}")
    chosen, notes = _layers(lm, held, method, layers)
    if isinstance(lm, TextEncoder):
        _refuse_encoder(method, statistics)
    if method == "ft":
        factors, losses = tune(lm, held, lm.site("memory", chosen[0]), tuning or Tuning())
        return _edit(lm, held, method, chosen, factors, notes + _told(held, losses))
    if statistics is None:
        statistics = collect_keys(lm, chosen, tokens=_OWN_TOKENS)
        notes += (f"keys: {statistics.told}",)
    statistics.check(lm)
    mode: Mode = "sequence" if method == "rome" else "soft"
    if isinstance(lm, TextEncoder):
        memories, losses, mode = _meant(lm, held, chosen, method, statistics, search, hold or Hold())
    elif method == "rome":
        memories, losses = _one_by_one(lm, held, chosen[0], statistics, search or Search())
    else:
        search = search or Search()
        found = values or memit_values(lm, held, chosen[-1], search=search)
        memories, losses = _spread(lm, held, chosen, method, statistics, search, hold or Hold(), found)
    factors = {name: rewrite_matrix(memory, mode) for name, memory in memories.items()}
    return _edit(lm, held, method, chosen, factors, notes + _told(held, losses), mode, memories)


def memit_values(
    lm: LanguageModel, facts: Sequence[Fact], layer: int, *, search: Search | None = None, batch_size: int = 8
) -> Values:
    """What `memit` and `null` want of the output of `layer`, their last one, for each fact by itself.

    Raises:
        ValueError: a model whose blocks put a norm after their MLP.
    """
    search, top = search or Search(), lm.site("hidden", layer)
    _refuse_norms(lm, top)
    contexts = find_contexts(lm, search.contexts, seed=search.seed)
    return find_values(lm, top, facts, contexts, search, batch_size=batch_size)


def rewrite_each(
    lm: LanguageModel,
    facts: Sequence[Fact],
    layer: int,
    statistics: KeyStatistics,
    *,
    search: Search | None = None,
    batch_size: int = 8,
) -> list[FactEdit]:
    """ROME for each fact alone, an edit each; their values are looked for together, which is faster by half.

    Raises:
        ValueError: as `rewrite`.
    """
    search, held, layer = search or Search(), tuple(facts), lm.site("mlp", layer).layer
    statistics.check(lm)
    contexts = find_contexts(lm, search.contexts, seed=search.seed)
    keys = subject_keys(lm, [layer], held, contexts, statistics, search.around)[layer]
    reach = whiten(keys, statistics.moment(layer)).float()
    lookup = Lookup(lm.site("memory", layer), keys, reach)
    found = find_values(lm, lm.site("mlp", layer), held, contexts, search, lookup=lookup, batch_size=batch_size)
    edits = []
    for n, fact in enumerate(held):
        memory = {_name(lm, layer): Memory(keys[n : n + 1], reach[n : n + 1], found.deltas[n : n + 1])}
        factors = {name: rewrite_matrix(held_, "hard") for name, held_ in memory.items()}
        notes = _told((fact,), found.losses[n : n + 1])
        edits.append(_edit(lm, (fact,), "rome", (layer,), factors, notes, "sequence", memory))
    return edits


def _edit(
    lm: LanguageModel,
    facts: tuple[Fact, ...],
    method: str,
    layers: tuple[int, ...],
    factors: dict[str, MatrixFactors],
    notes: tuple[str, ...],
    mode: Mode | None = None,
    memories: dict[str, Memory] | None = None,
) -> FactEdit:
    about = {"mode": mode, "memories": memories or {}, "toolkit": __version__, "notes": notes}
    return FactEdit(facts, method, layers, factors, lm.name, lm.fingerprint, **about)  # type: ignore[arg-type]


def _one_by_one(
    lm: LanguageModel,
    facts: tuple[Fact, ...],
    layer: int,
    statistics: KeyStatistics,
    search: Search,
) -> tuple[dict[str, Memory], list[float]]:
    """Each value is looked for on the model as the facts before it left it. Keys do not change: they lie below."""
    contexts = find_contexts(lm, search.contexts, seed=search.seed)
    name, site = _name(lm, layer), lm.site("mlp", layer)
    keys = subject_keys(lm, [layer], facts, contexts, statistics, search.around)[layer]
    memory, losses = Memory(keys[:0], keys[:0], torch.zeros(0, site.width)), list[float]()
    reach = whiten(keys, statistics.moment(layer)).float()
    weight = lm.weights()[name]
    before = weight.detach().clone()
    try:
        for n, fact in enumerate(facts):
            now = rewrite_matrix(memory, "sequence")
            moved = (now.left @ (now.right @ keys[n])) if n else torch.zeros(site.width)
            lookup = Lookup(lm.site("memory", layer), keys[n : n + 1], reach[n : n + 1])
            found = find_values(lm, site, [fact], contexts, search, lookup=lookup)
            wanted = torch.cat([memory.wanted, found.deltas + moved])
            memory = Memory(keys[: n + 1], reach[: n + 1], wanted)
            losses += found.losses
            new = rewrite_matrix(memory, "sequence")
            weight.copy_(before.float() + (new.left @ new.right).to(before.device))
    finally:
        restore({name: weight}, {name: before})
    return {name: memory}, losses


def _spread(
    lm: LanguageModel,
    facts: tuple[Fact, ...],
    layers: tuple[int, ...],
    method: str,
    statistics: KeyStatistics,
    search: Search,
    hold: Hold,
    found: Values,
) -> tuple[dict[str, Memory], list[float]]:
    """Equations 14 and 19 to 21 of MEMIT: what is missing is shared by the layers that are left, from below."""
    top, contexts = lm.site("hidden", layers[-1]), find_contexts(lm, search.contexts, seed=search.seed)
    if len(found.deltas) != len(facts):
        raise ValueError(f"{len(found.deltas)} values for {len(facts)} facts; give one for each")
    goals, weights = found.start + found.deltas, lm.weights()
    memories, before = dict[str, Memory](), dict[str, Tensor]()
    try:
        for n, layer in enumerate(layers):
            keys = subject_keys(lm, [layer], facts, contexts, statistics, search.around)[layer]
            now = subject_states(lm, [top], facts, standing(contexts))[top]
            reach = _reach(keys, statistics, layer, method, hold)
            name = _name(lm, layer)
            memories[name] = Memory(keys, reach.float(), (goals - now) / (len(layers) - n))
            before[name] = weights[name].detach().clone()
            new = rewrite_matrix(memories[name], "soft")
            weights[name].copy_(before[name].float() + (new.left @ new.right).to(before[name].device))
    finally:
        restore(weights, before)
    return memories, found.losses


def _meant(
    encoder: TextEncoder,
    facts: tuple[Fact, ...],
    layers: tuple[int, ...],
    method: str,
    statistics: KeyStatistics,
    search: Search | None,
    hold: Hold,
) -> tuple[dict[str, Memory], list[float], Mode]:
    """All facts of a text encoder together: exactly (rome) or softly (memit, null) in each of the layers."""
    mode: Mode = "hard" if method == "rome" else "soft"
    empty = dict[int, Memory]()
    for layer in layers:
        keys = mean_keys(encoder, encoder.site("memory", layer), facts)
        hard = method == "rome"
        reach = whiten(keys, statistics.moment(layer)) if hard else _reach(keys, statistics, layer, method, hold)
        empty[layer] = Memory(keys, reach.float(), torch.zeros(len(facts), encoder.width))
    found, left = find_meanings(encoder, facts, empty, mode, search)
    return {_name(encoder, layer): memory for layer, memory in found.items()}, left, mode


def _reach(keys: Tensor, statistics: KeyStatistics, layer: int, method: str, hold: Hold) -> Tensor:
    """C⁻¹ of each key, C in units of the keys themselves. What is free, the moment says as it was counted."""
    if method == "memit":
        return whiten(keys, hold.weight * keys.shape[1] * statistics.moment(layer))
    basis = null_basis(statistics.moments[layer], hold.threshold)
    free = (keys.double() @ basis).square().sum(dim=1).mean()
    return project(keys, basis, float(hold.ridge * free))


def _layers(
    lm: LanguageModel, facts: Sequence[Fact], method: str, layers: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    if layers is None:
        from concept_edit.language.traced import traced_layers

        return traced_layers(lm, facts, LAYERS[method])
    chosen = tuple(sorted({lm.site("memory", layer).layer for layer in layers}))
    one = method in ("rome", "ft") and not isinstance(lm, TextEncoder)
    if not chosen or (one and len(chosen) != 1):
        wanted = "one layer" if one else "some layers"
        raise ValueError(f"method {method!r} rewrites {wanted}; got {list(layers)}")
    return chosen, ()


def _refuse_encoder(method: str, statistics: KeyStatistics | None) -> None:
    if method == "ft" or statistics is None:
        raise ValueError(
            "a text encoder is rewritten with 'rome', 'memit' or 'null', and with statistics that `collect_keys` found "
            "on captions"
        )


def _refuse_norms(lm: LanguageModel, top: Site) -> None:
    """Where a norm follows the MLP, what its matrix adds is not what the block adds."""
    names = [name for name, _ in lm.module(top).named_children() if "post_feedforward" in name]
    if names:
        raise ValueError(
            f"the blocks of {lm.name} put a norm ({names[0]}) after their MLP, where shares of a block's output cannot "
            "be handed to matrices; use method 'rome'"
        )


def _name(lm: LanguageModel, layer: int) -> str:
    return f"{lm.site('memory', layer).module}.weight"


def _told(facts: Sequence[Fact], losses: Sequence[float]) -> tuple[str, ...]:
    high = [(fact, loss) for fact, loss in zip(facts, losses, strict=True) if loss > 1.0]
    return tuple(f"no value found that makes the model say it (loss {loss:.1f}): {fact.told}" for fact, loss in high)
