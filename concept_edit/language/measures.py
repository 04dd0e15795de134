"""Does the model know it now: CounterFact's measures, each fact's own row and their means with 95 % intervals.

p = exp(mean log probability of the answer's tokens). For the rewrite, its paraphrases and its neighbours:
    ES, PS    share with p(new) > p(old)          EM, PM   mean p(new) − p(old)
    NS        share of neighbours with p(their answer) > p(new)         NM    mean of the difference
    accuracy  share of rewrites where each token of the new answer is the likeliest
    S         harmonic mean of ES, PS and NS
    GE        entropy of bigrams and trigrams of what the model goes on to say, ⅔ H₂ + 4/3 H₃, bits × 100
    RS        TF-IDF cosine of it with texts about what the new answer is true of
    essence   perplexity on texts about the subject
Sections 3.2 and 3.3 of ROME (Meng et al., NeurIPS 2022), accuracy as in MEMIT. All in percent but GE and essence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np

from concept_edit.evaluation.intervals import bootstrap, proportion
from concept_edit.language.edit import FactEdit
from concept_edit.language.facts import Fact, check_facts
from concept_edit.language.model import LanguageModel
from concept_edit.language.said import entropy, likeness
from concept_edit.language.scores import NAMES, FactRow, FactScores, Measure
from concept_edit.language.scoring import score


def measure_facts(
    lm: LanguageModel,
    facts: Fact | Sequence[Fact],
    edit: FactEdit | Sequence[FactEdit] | None = None,
    *,
    strength: float = 1.0,
    label: str = "",
    generate: int = 0,
    batch_size: int = 32,
) -> FactScores:
    """Measure facts on the edited model; None measures the model as it is.

    `edit`: one edit under which all facts are measured, or one for each fact, each applied alone.
    `generate`: tokens to generate from each of a fact's `generation` prompts, for GE and RS; 0 leaves both out.

    Raises:
        ValueError: a fact without an old answer, edits in another number than facts, or an edit of another model.
    """
    held = check_facts(facts)
    for fact in held:
        if not fact.old:
            raise ValueError(f"{fact.asked!r} has no old answer to compare with; give `old`")
    edits = [edit] * len(held) if edit is None or isinstance(edit, FactEdit) else list(edit)
    if len(edits) != len(held):
        raise ValueError(f"{len(edits)} edits for {len(held)} facts; give one for all, or one for each")
    rows = list[FactRow]()
    for own, group in _groups(held, edits):
        with nullcontext() if own is None else own.applied(lm, strength):
            rows += _measure(lm, group, generate, batch_size)
    if not label:
        label = "unedited" if edit is None else edits[0].method if edits[0] else "unedited"
    return FactScores(label, summary(rows), tuple(rows))


def summary(rows: Sequence[FactRow]) -> tuple[Measure, ...]:
    """Means over facts with their intervals; measures that no fact has are left out."""
    found = []
    for name in NAMES:
        if name == "S":
            measure = _harmonic(rows)
        else:
            measure = _mean(name, [row.values[name] for row in rows if not math.isnan(row.values.get(name, math.nan))])
        found += [measure] if measure.n else []
    return tuple(found)


def _groups(facts: Sequence[Fact], edits: Sequence[FactEdit | None]) -> list[tuple[FactEdit | None, list[Fact]]]:
    """Facts under the same edit together."""
    groups: list[tuple[FactEdit | None, list[Fact]]] = []
    for fact, edit in zip(facts, edits, strict=True):
        if groups and groups[-1][0] is edit:
            groups[-1][1].append(fact)
        else:
            groups.append((edit, [fact]))
    return groups


def _measure(lm: LanguageModel, facts: Sequence[Fact], generate: int, batch_size: int) -> list[FactRow]:
    """All prompts of some facts in one scoring."""
    pairs, parts = list[tuple[str, str]](), list[dict[str, slice]]()
    for fact in facts:
        asked = [(fact.asked, fact.old)]
        asked += [(prompt, fact.old) for prompt in fact.filled(fact.paraphrases)]
        own: dict[str, slice] = {}
        for name, rows in (("E", asked[:1]), ("P", asked[1:]), ("N", list(fact.neighbours))):
            own[name] = slice(len(pairs), len(pairs) + 2 * len(rows))
            pairs += [(prompt, answer) for prompt, true in rows for answer in (fact.new, true)]
        parts.append(own)
    found = score(lm, pairs, batch_size=batch_size)
    chances = found.log_probability.exp().double().numpy()
    measured = list[FactRow]()
    for fact, own in zip(facts, parts, strict=True):
        values: dict[str, float] = {"accuracy": float(found.said[own["E"].start])}
        for name, where in own.items():
            new, true = chances[where][::2], chances[where][1::2]
            gain = new - true if name != "N" else true - new
            values[f"{name}S"] = float((gain > 0).mean()) if len(gain) else math.nan
            values[f"{name}M"] = float(gain.mean()) if len(gain) else math.nan
        measured.append(FactRow(fact, values | _said(lm, fact, generate)))
    return measured


def _said(lm: LanguageModel, fact: Fact, generate: int) -> dict[str, float]:
    values: dict[str, float] = {}
    if fact.essence:
        logs = [_text_loss(lm, text) for text in fact.essence]
        values["essence"] = math.exp(sum(loss for loss, _ in logs) / sum(n for _, n in logs))
    if generate and fact.generation:
        prompts = fact.filled(fact.generation)
        told = lm.complete(prompts, tokens=generate)
        whole = [prompt + text for prompt, text in zip(prompts, told, strict=True)]
        values["GE"] = float(np.mean([entropy(text) for text in whole]))
        if fact.references:
            values["RS"] = likeness(whole, fact.references)
    return values


def _text_loss(lm: LanguageModel, text: str) -> tuple[float, int]:
    """NLL of a text in nats, and over how many tokens."""
    import torch

    tokens = lm.encode([text])
    with torch.no_grad():
        logs = lm.logits(tokens)[0, :-1].float().log_softmax(dim=-1)
    return float(-logs.gather(1, tokens.ids[0, 1:, None]).sum()), tokens.lengths[0] - 1


_SCALE = {"GE": 100.0, "essence": 1.0}


def _mean(name: str, values: Sequence[float]) -> Measure:
    scale = _SCALE.get(name, 100.0)
    if not values:
        return Measure(name, math.nan, math.nan, math.nan, 0)
    if name in ("ES", "accuracy"):
        value, low, high = proportion([value > 0.5 for value in values])
    else:
        column = np.asarray(values)[:, None]
        value, (low, high) = float(column.mean()), bootstrap(column, lambda rows: float(rows.mean()))
    return Measure(name, scale * value, scale * low, scale * high, len(values))


def _harmonic(rows: Sequence[FactRow]) -> Measure:
    """S over the facts that have paraphrases and neighbours."""
    table = np.array([[row.values[name] for name in ("ES", "PS", "NS")] for row in rows]).reshape(-1, 3)
    table = table[~np.isnan(table).any(axis=1)]
    if not len(table):
        return Measure("S", math.nan, math.nan, math.nan, 0)
    low, high = bootstrap(table, harmonic)
    return Measure("S", 100 * harmonic(table), 100 * low, 100 * high, len(table))


def harmonic(table: np.ndarray) -> float:
    """Harmonic mean of the columns' means; 0 where one of them is."""
    means = table.mean(axis=0)
    return 0.0 if (means <= 0).any() else float(len(means) / (1 / means).sum())
