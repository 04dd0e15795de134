"""Put states of one run into another and see what the answer's probability gains: exactly, or foretold by a gradient.

Two runs of one length: the `base`, several texts (the prompt with noise on its subject, or another subject), and the
`donor`, one text (the prompt as it is). For each token and layer the donor's value is put into the base. Rows of one
token and several layers go through the model together; layers below the lowest of them, and tokens before, are not run
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from concept_edit.language.runs import Run, last_logits
from concept_edit.search.hooks import Change, Place, Recording, changed, recorded, skipped

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

Kind = Literal["hidden", "mlp", "attention"]
KINDS: tuple[Kind, ...] = ("hidden", "mlp", "attention")
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Pair:
    """A base and a donor, with everything recorded that is moved between them."""

    lm: LanguageModel
    base: Run
    states: Recording
    """Of the base, at all sites."""
    donor_rows: Float[Tensor, "1 tokens d_model"]
    donor: Recording
    answer: int
    """Token whose probability counts."""
    clean: float
    """Its probability in the donor."""
    corrupted: Float[Tensor, " texts"]
    """Its probability in each text of the base."""

    @property
    def tokens(self) -> int:
        """Of each text."""
        return self.donor_rows.shape[1]


@dataclass(frozen=True)
class How:
    """What is restored, and what is held back."""

    kind: Kind
    window: int = 1
    """Layers restored together, around each layer."""
    severed: Kind | None = None
    """Sites of later layers that stay, at the restored token, as they were in the base."""

    def span(self, layer: int, layers: int) -> range:
        """Layers restored for `layer`."""
        low = layer - self.window // 2
        return range(max(0, low), min(layers, low + self.window))


def place(lm: LanguageModel, kind: Kind, layer: int) -> Place:
    """Where a model's hidden state, MLP output or attention output of a layer is read and replaced."""
    site = lm.site(kind, layer)
    return Place(site.module, site.side)


def pair_up(
    lm: LanguageModel,
    base: Float[Tensor, "texts tokens d_model"],
    donor: Float[Tensor, "1 tokens d_model"],
    answer: Callable[[Tensor], int],
) -> Pair:
    """Run both once and record all sites. `answer` chooses the token from the donor's logits at the last token."""
    places = [place(lm, kind, layer) for kind in KINDS for layer in range(lm.layers)]
    with recorded(lm.model, places) as theirs:
        said = Run(lm, donor).logits[0]
    with recorded(lm.model, places) as states:
        run = Run(lm, base)
    for seen, rows in ((theirs, donor), (states, base)):
        for where in places:
            seen[where] = seen[where].reshape(*rows.shape[:2], -1)
    token = answer(said)
    corrupted = run.logits.float().softmax(-1)[:, token]
    return Pair(lm, run, states, donor, theirs, token, float(said.float().softmax(-1)[token]), corrupted)


def differs(pair: Pair, kind: Kind) -> Bool[Tensor, "tokens layers"]:
    """Where donor and base are not the same: elsewhere a transplant does nothing. The same up to rounding, which is not
    the same in a batch of one text and in one of several."""
    found = []
    for p in (place(pair.lm, kind, layer) for layer in range(pair.lm.layers)):
        apart = (pair.donor[p] - pair.states[p]).norm(dim=-1)
        found.append((apart > _ROUNDING * pair.donor[p].norm(dim=-1)).any(dim=0))
    return torch.stack(found, dim=1).cpu()


def reach(pair: Pair, how: How) -> Bool[Tensor, "tokens layers"]:
    """Cells whose window holds a state that differs.

    Raises:
        ValueError: none does.
    """
    differ = differs(pair, how.kind)
    columns = [differ[:, how.span(layer, pair.lm.layers)].any(dim=1) for layer in range(pair.lm.layers)]
    found = torch.stack(columns, dim=1)
    if not found.any():
        raise ValueError(
            "the intervention changed nothing: both runs hold the same states; give more noise or another subject"
        )
    return found


@torch.no_grad()
def restore(
    pair: Pair, how: How, *, cells: Bool[Tensor, "tokens layers"] | None = None, rows: int = 64
) -> Float[Tensor, "tokens layers"]:
    """p(answer) gained by each transplant, mean over the base's texts; 0 where base and donor are the same.

    Args:
        cells: Only these; NaN elsewhere.
        rows: Texts that run together, about.
    """
    live, texts = reach(pair, how), len(pair.corrupted)
    wanted = live if cells is None else live & cells
    effects = torch.zeros(live.shape, dtype=torch.float64)
    if cells is not None:
        effects[live & ~cells] = torch.nan
    for token in range(pair.tokens):
        layers = wanted[token].nonzero().flatten().tolist()
        for chosen in _grouped(layers, max(1, rows // texts)):
            logits = _run(pair, how, token, chosen)
            gained = logits.float().softmax(-1)[:, pair.answer].reshape(len(chosen), texts) - pair.corrupted
            effects[token, chosen] = gained.mean(dim=1).double().cpu()
    return effects


def foretell(pair: Pair, kinds: Sequence[Kind], *, steps: int = 2) -> dict[Kind, Float[Tensor, "tokens layers"]]:
    """First-order estimate of each layer's own effect, for all cells at once: (donor - base) · gradient of p(answer).

    The gradient is the mean over `steps` mixtures of both runs' embeddings (integrated gradients, midpoints), since at
    the base alone the answer's probability is often flat. Attribution patching (Nanda 2023; Syed et al., 2310.10348).
    """
    lm = pair.lm
    places = {kind: [place(lm, kind, layer) for layer in range(lm.layers)] for kind in kinds}
    flat = [p for kind in kinds for p in places[kind]]
    found = {p: torch.zeros(pair.tokens, dtype=torch.float64) for p in flat}
    for step in range(steps):
        share = (step + 0.5) / steps
        rows = (pair.base.rows + share * (pair.donor_rows - pair.base.rows)).detach().requires_grad_()
        with torch.enable_grad(), recorded(lm.model, flat, graph=True) as seen:
            total = last_logits(lm, rows).float().softmax(-1)[:, pair.answer].sum()
            gradients = torch.autograd.grad(total, [seen[p] for p in flat])
        for p, gradient in zip(flat, gradients, strict=True):
            per_token = ((pair.donor[p] - pair.states[p]) * gradient.reshape(pair.states[p].shape)).sum(-1).mean(0)
            found[p] += per_token.double().cpu() / steps
    return {kind: torch.stack([found[p] for p in places[kind]], dim=1) for kind in kinds}


def windowed(estimate: Float[Tensor, "tokens layers"], how: How) -> Float[Tensor, "tokens layers"]:
    """The estimate of a window: the sum over its layers. Too large where one of them acts through another that is
    restored as well: good for ranking, not a value."""
    layers = estimate.shape[1]
    return torch.stack([estimate[:, how.span(layer, layers)].sum(dim=1) for layer in range(layers)], dim=1)


def _grouped(layers: Sequence[int], size: int) -> Iterator[list[int]]:
    """The layers in even groups of at most `size`, neighbours together, so that little runs below each."""
    if layers:
        count = -(-len(layers) // size)
        bounds = [round(i * len(layers) / count) for i in range(count + 1)]
        yield from (list(layers[a:b]) for a, b in pairwise(bounds))


def _run(pair: Pair, how: How, token: int, layers: Sequence[int]) -> Tensor:
    """Logits of one transplant at `token` for each of `layers`, all texts: layer after layer."""
    lm, copies = pair.lm, len(layers)
    kept = pair.base.kept(token)
    first = min(how.span(layer, lm.layers)[0] for layer in layers)
    below: Mapping[str, Tensor] = {}
    if first:
        held = pair.states[place(lm, "hidden", first - 1)][:, kept:].repeat(copies, 1, 1)
        below = {place(lm, "hidden", layer).module: held for layer in range(first)}
    with ExitStack() as stack:
        stack.enter_context(skipped(lm.model, below, pair.states.tuples))
        stack.enter_context(changed(lm.model, _changes(pair, how, token, kept, layers)))
        return pair.base.again(token, copies)


def _changes(pair: Pair, how: How, token: int, kept: int, layers: Sequence[int]) -> dict[Place, Change]:
    lm, texts = pair.lm, len(pair.corrupted)
    puts: dict[Place, list[tuple[slice, Tensor]]] = {}
    for number, layer in enumerate(layers):
        mine = slice(number * texts, (number + 1) * texts)
        span = how.span(layer, lm.layers)
        for each in span:
            where = place(lm, how.kind, each)
            puts.setdefault(where, []).append((mine, pair.donor[where][:, token]))
        for each in range(span[-1] + 1, lm.layers) if how.severed else ():
            where = place(lm, how.severed or how.kind, each)
            puts.setdefault(where, []).append((mine, pair.states[where][:, token]))
    length = pair.tokens - kept
    return {where: _put(listed, token - kept, length) for where, listed in puts.items()}


def _put(listed: Sequence[tuple[slice, Tensor]], column: int, length: int) -> Change:
    """Write rows of `length` tokens; OPT's MLPs hold the tokens of all texts in one row after the other."""

    def put(value: Tensor) -> Tensor:
        rows = value.reshape(-1, length, value.shape[-1])
        for mine, new in listed:
            rows[mine, column] = new
        return rows.reshape(value.shape)

    return put
