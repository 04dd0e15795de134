"""What each head does for a task, in runs from the last token on: all before it is the same whatever the head says."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from concept_edit.files import read_tensors, write_tensors
from concept_edit.language.runs import Run, embed, last_logits
from concept_edit.language.tasks import Prompt, Task
from concept_edit.search.hooks import Change, Place, changed, recorded, skipped
from concept_edit.search.tracing import spearman, token_after

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

_FORMAT = "concept-edit head effects 1"
Against = Literal["shuffled", "bare"]
_ROWS = 64
"""Heads that run together."""


@dataclass(frozen=True)
class Searched:
    """Of several tasks."""

    effects: Mapping[str, Float[Tensor, "prompts layers heads"]]
    """Computed for heads of `exact`; the gradient's estimate, on their scale, for the others."""
    exact: Bool[Tensor, "layers heads"]
    screened: float | None
    seconds: float


def head_place(lm: LanguageModel, layer: int) -> Place:
    """Where all heads' outputs of a layer lie side by side."""
    site = lm.site("head", layer)
    return Place(site.module, site.side)


def answer_token(lm: LanguageModel, prompt: Prompt) -> int:
    """First token of a prompt's answer."""
    return token_after(lm, prompt.text, prompt.text + prompt.answer)


@torch.no_grad()
def mean_heads(lm: LanguageModel, prompts: Sequence[Prompt]) -> Float[Tensor, "layers heads d_head"]:
    """Mean output of each head at the last token; prompts of one length run together, so none is padded."""
    places = [head_place(lm, layer) for layer in range(lm.layers)]
    total: Tensor | float = 0.0
    for ids in _by_length(lm, prompts):
        with recorded(lm.model, places) as seen:
            last_logits(lm, embed(lm, ids))
        rows = torch.stack([seen[p].reshape(*ids.shape, -1)[:, -1].double().sum(dim=0) for p in places])
        total = total + rows
    assert isinstance(total, Tensor)
    return (total / len(prompts)).reshape(lm.layers, lm.heads, -1).float()


def search_tasks(
    lm: LanguageModel,
    tasks: Sequence[Task],
    count: int | None,
    prompts: int,
    examples: int,
    shots: int,
    seed: int,
    folder: str | os.PathLike[str] | None,
    progress: bool,
    against: Against = "shuffled",
) -> Searched:
    """Means, estimates and effects of each task; `count` heads are computed, the same ones for all; all if None."""
    from tqdm import tqdm

    asked: dict[str, object] = {"prompts": prompts, "examples": examples, "shots": shots, "seed": seed}
    if against != "shuffled":
        asked["against"] = against
    shape, seconds = (lm.layers, lm.heads), 0.0
    first: dict[str, dict[str, Tensor]] = {}
    with tqdm(total=2 * len(tasks), desc="heads", unit="half task", disable=not progress) as bar:
        for task in tasks:
            first[task.name], spent = _kept(
                _path(lm, folder, task, asked, "estimates"),
                lambda task=task: _estimates(lm, task, prompts, examples, shots, seed, count is not None, against),  # type: ignore[misc]
            )
            seconds += spent
            bar.update()
        if count is None:
            chosen = torch.ones(shape, dtype=torch.bool)
        else:
            chosen = _chosen(torch.stack([found["estimate"].mean(dim=0) for found in first.values()]), count)
        heads = [(int(n), int(h)) for n, h in chosen.nonzero()]
        effects = {}
        for task in tasks:
            second, spent = _kept(
                _path(lm, folder, task, asked | {"heads": heads}, "effects"),
                lambda task=task: _effects(
                    lm, first[task.name]["means"], heads, empty(task, prompts, shots, seed, against)
                ),  # type: ignore[misc]
            )
            effects[task.name] = second["effects"]
            seconds += spent
            bar.update()
    if not any(table.any() for table in effects.values()):
        raise ValueError("the intervention changed nothing: no head's output moves the answer of any prompt")
    if count is None:
        return Searched(effects, chosen, None, seconds)
    estimates = {task.name: first[task.name]["estimate"] for task in tasks}
    return _scaled(effects, estimates, chosen, seconds)


def _scaled(effects: Mapping[str, Tensor], estimates: Mapping[str, Tensor], chosen: Tensor, seconds: float) -> Searched:
    """Fill in the heads that were not computed with their estimates, on the scale of the computed ones."""
    whole = torch.stack([effects[name].mean(dim=0) for name in effects]).mean(dim=0)[chosen]
    told = torch.stack([estimates[name].mean(dim=0) for name in effects]).mean(dim=0)[chosen]
    slope = float((whole * told).sum() / (told * told).sum().clamp(min=1e-30))
    filled = {name: torch.where(chosen, table, slope * estimates[name]) for name, table in effects.items()}
    return Searched(filled, chosen, spearman(whole, told), seconds)


def _chosen(estimates: Float[Tensor, "tasks layers heads"], count: int) -> Bool[Tensor, "layers heads"]:
    size = estimates.mean(dim=0).abs()
    chosen = torch.zeros_like(size, dtype=torch.bool)
    chosen.view(-1)[size.flatten().topk(min(count, size.numel())).indices] = True
    return chosen


def _estimates(
    lm: LanguageModel, task: Task, prompts: int, examples: int, shots: int, seed: int, screen: bool, against: Against
) -> dict[str, Tensor]:
    means = mean_heads(lm, task.prompts(examples, shots=shots, seed=seed))
    if not screen:
        return {"means": means}
    return {
        "means": means,
        "estimate": torch.stack([_screen(lm, p, means) for p in empty(task, prompts, shots, seed, against)]),
    }


def empty(task: Task, prompts: int, shots: int, seed: int, against: Against) -> list[Prompt]:
    """Prompts that do not show the rule: with shuffled examples, or with none."""
    if against == "shuffled":
        return shuffled(task, prompts, shots, seed)
    return task.prompts(prompts, shots=0, seed=seed + 1)


def shuffled(task: Task, prompts: int, shots: int, seed: int) -> list[Prompt]:
    """Prompts whose examples show no rule."""
    return Task(task.name, task.pairs, task.template, shuffled=True).prompts(prompts, shots=shots, seed=seed + 1)


def _screen(
    lm: LanguageModel, prompt: Prompt, means: Float[Tensor, "layers heads d_head"]
) -> Float[Tensor, "layers heads"]:
    """(ā - what the head says) · gradient of p(answer): first order, all heads at once."""
    ids, token = lm.encode([prompt.text]).ids, answer_token(lm, prompt)
    run = Run(lm, embed(lm, ids))
    places = [head_place(lm, layer) for layer in range(lm.layers)]
    with torch.enable_grad(), recorded(lm.model, places, graph=True) as seen:
        probability = run.again(ids.shape[1] - 1)[0].float().softmax(-1)[token]
        gradients = torch.autograd.grad(probability, [seen[p] for p in places])
    rows = []
    for p, gradient, mean in zip(places, gradients, means, strict=True):
        here, slope = (t.detach().reshape(-1, t.shape[-1])[-1].reshape(mean.shape) for t in (seen[p], gradient))
        rows.append(((mean - here) * slope).sum(dim=-1).double().cpu())
    return torch.stack(rows)


def _effects(
    lm: LanguageModel,
    means: Float[Tensor, "layers heads d_head"],
    heads: Sequence[tuple[int, int]],
    prompts: Sequence[Prompt],
) -> dict[str, Tensor]:
    found = [head_effects(lm, prompt, means, heads) for prompt in prompts]
    return {"effects": torch.stack(found)}


@torch.no_grad()
def head_effects(
    lm: LanguageModel,
    prompt: Prompt,
    means: Float[Tensor, "layers heads d_head"],
    heads: Sequence[tuple[int, int]],
) -> Float[Tensor, "layers heads"]:
    """Probability of the answer's first token gained by each of `heads` saying its mean; 0 for the others."""
    ids, token = lm.encode([prompt.text]).ids, answer_token(lm, prompt)
    start = ids.shape[1] - 1
    hidden = [Place(lm.site("hidden", layer).module) for layer in range(lm.layers)]
    with recorded(lm.model, hidden) as seen:
        run = Run(lm, embed(lm, ids))
    base, kept = run.logits[0].float().softmax(-1)[token], run.kept(start)
    effects = torch.zeros(lm.layers, lm.heads, dtype=torch.float64)
    for rows in _chunks(sorted(heads)):
        low = rows[0][0]
        below = {}
        if low:
            held = seen[hidden[low - 1]].reshape(*ids.shape, -1)[:, kept:].repeat(len(rows), 1, 1)
            below = {hidden[layer].module: held for layer in range(low)}
        with ExitStack() as stack:
            stack.enter_context(skipped(lm.model, below, seen.tuples))
            stack.enter_context(changed(lm.model, _says(lm, means, rows)))
            logits = run.again(start, len(rows))
        gained = (logits.float().softmax(-1)[:, token] - base).double().cpu()
        for (layer, head), value in zip(rows, gained, strict=True):
            effects[layer, head] = value
    return effects


def _says(lm: LanguageModel, means: Tensor, rows: Sequence[tuple[int, int]]) -> dict[Place, Change]:
    """Row n of the batch: head `rows[n]` says its mean at the last token."""
    width = means.shape[-1]

    def change(layer: int) -> Change:
        def put(value: Tensor) -> Tensor:
            grid = value.reshape(len(rows), -1, value.shape[-1])
            for n, (own, head) in enumerate(rows):
                if own == layer:
                    grid[n, -1, head * width : (head + 1) * width] = means[layer, head].to(value)
            return grid.reshape(value.shape)

        return put

    return {head_place(lm, layer): change(layer) for layer in sorted({layer for layer, _ in rows})}


def _chunks(heads: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Even groups of neighbours."""
    count = -(-len(heads) // _ROWS)
    bounds = [round(i * len(heads) / count) for i in range(count + 1)]
    yield from (list(heads[a:b]) for a, b in pairwise(bounds))


def _by_length(lm: LanguageModel, prompts: Sequence[Prompt], size: int = 16) -> Iterator[Tensor]:
    tokens = lm.encode([prompt.text for prompt in prompts])
    for length in sorted(set(tokens.lengths)):
        rows = [n for n, own in enumerate(tokens.lengths) if own == length]
        for i in range(0, len(rows), size):
            yield tokens.ids[rows[i : i + size], :length]


def _path(
    lm: LanguageModel, folder: str | os.PathLike[str] | None, task: Task, asked: Mapping[str, object], what: str
) -> Path | None:
    """Of the model, the task and how it is searched."""
    if folder is None:
        return None
    text = json.dumps([lm.fingerprint, asdict(task), dict(asked)], sort_keys=True)
    return Path(folder) / f"{what}-{sha256(text.encode()).hexdigest()[:20]}.safetensors"


def _kept(path: Path | None, work: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], float]:
    """Read what was done, or do it and keep it; with the seconds of CPU it took."""
    if path is not None and path.is_file():
        tensors, header = read_tensors(path, _FORMAT)
        return tensors, float(header["seconds"])
    began = time.process_time()
    tensors = work()
    seconds = time.process_time() - began
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {k: v.contiguous() for k, v in tensors.items()}, {"format": _FORMAT, "seconds": seconds})
    return tensors, seconds
