"""The value a fact needs: what, added to one site at the subject's last token, makes the model say the new answer.

Section 3.1 of ROME (Meng et al., NeurIPS 2022), for many facts in one batch: Adam on
    mean NLL(new answer, over contexts) + kl KL("{subject} is a", unedited ‖ edited) + decay ‖δ‖² / ‖init‖²
with ‖δ‖ held below clamp ‖init‖, init the unedited state. Each fact has its own δ and stops when it is likely enough.

With `margin` above 0 a fourth term, not the paper's: mean max(0, margin − log p(new) + log p(old)) over contexts, at
the first token where the two answers differ. That the new answer is likely in the prompt does not yet say that another
wording prefers it to the old one; a lead there does more often. With `primed` the old answer is named before the
prompt, in some more contexts: other wordings, and the subject's own words, bring the old answer to mind as well, and a
value that holds against its name holds against them. Keys are read without these contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from concept_edit.language.contexts import in_context, standing, subject_column
from concept_edit.language.facts import Fact
from concept_edit.language.model import LanguageModel
from concept_edit.language.runs import Begun, begun
from concept_edit.language.sites import Site
from concept_edit.language.states import frozen, rewritten, states
from concept_edit.language.subjects import AROUND
from concept_edit.language.tokens import Tokens, joined


@dataclass(frozen=True)
class Search:
    """How a value is looked for; the published settings of ROME."""

    steps: int = 20
    rate: float = 0.5
    """Adam's learning rate, in units of the unedited state's root mean square: the same for states of any size."""
    kl: float = 0.0625
    """Weight of what "{subject} is a" goes on with."""
    decay: float = 0.5
    enough: float = 0.05
    """A fact whose loss (without the other two terms) is below it is done."""
    margin: float = 0.0
    """Lead of the new answer before the old one that is asked for, in nats; 0: none, as published."""
    primed: tuple[str, ...] = ()
    """Further contexts that name the old answer as {old}, such as "{old}. {}"; none, as published."""
    clamp: float = 4.0
    """Largest ‖δ‖ as a multiple of the unedited state's norm."""
    contexts: int = 6
    """Short beginnings before the prompt, beside none."""
    seed: int = 0
    """Of the contexts."""
    around: tuple[str, ...] = AROUND
    """Other beginnings the subject's key is read in (`subjects`); none: the published mean over the contexts."""
    half: bool = False
    """Matrix products of the search in bfloat16: two to three times as fast where the processor has it. Keys, what is
    solved and what is measured stay as they are."""


@dataclass(frozen=True)
class Values:
    """What was found, a row for each fact."""

    deltas: Float[Tensor, "facts width"]
    """δ, float32."""
    start: Float[Tensor, "facts width"]
    """The unedited state at the subject's last token, mean over the contexts that `standing` names; with a
    `lookup` after no context."""
    losses: list[float]
    """Mean NLL of the new answer in the end."""

    def pick(self, rows: Sequence[int]) -> Values:
        """These rows alone."""
        held = list(rows)
        return Values(self.deltas[held], self.start[held], [self.losses[n] for n in held])


@dataclass(frozen=True)
class Lookup:
    """The key each δ will be looked up by, and its reach C⁻¹ k, a row for each fact."""

    site: Site
    """Where the keys are read: `memory` of the same layer."""
    keys: Float[Tensor, "facts d_key"]
    reach: Float[Tensor, "facts d_key"]

    def part(self, rows: Tensor) -> Lookup:
        """Some of the facts."""
        return Lookup(self.site, self.keys[rows], self.reach[rows])


@dataclass
class _Rows:
    """The texts of some facts, and where in them what is read."""

    tokens: Tokens
    fact: Tensor
    """Fact of each row."""
    subject: Tensor
    """Column of the subject's last token in each row."""
    places: Float[Tensor, "places 2"]
    """(row, column) of each logit that is read."""
    targets: Tensor
    """The token that should follow; −1 in the rows of "{subject} is a"."""
    rivals: Tensor
    """The old answer's token, where it first differs from the new one's; elsewhere −1."""
    shares: Tensor = field(default_factory=lambda: torch.zeros(0))
    """How much of its fact's δ each token of each row gets."""
    said: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Unedited log probabilities after "{subject} is a", a row for each fact."""
    begun: Begun | None = None
    """What stands before the subjects' last tokens, where it was run already; then all columns count from there."""


def find_values(
    lm: LanguageModel,
    site: Site,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    search: Search | None = None,
    *,
    lookup: Lookup | None = None,
    batch_size: int = 8,
) -> Values:
    """δ of each fact at `site` (`mlp` or `hidden`); `batch_size` facts of like length are looked for together.

    `lookup`: the rank-one change δ will become; then δ is handed out as the edited matrix will, to every token by its
    share of the key, and not to the subject's last token alone. So what the search finds is what the edit says.

    Raises:
        ValueError: a model whose states hold NaN.
    """
    search = search or Search()
    with frozen(lm), torch.autocast(lm.device.type, torch.bfloat16, enabled=search.half):
        order = torch.tensor(lm.encode([fact.asked for fact in facts]).lengths).argsort(stable=True)
        parts = [
            _find(lm, site, [facts[int(n)] for n in some], contexts, search, lookup and lookup.part(some))
            for some in order.split(batch_size)
        ]
    back, losses = order.argsort(), torch.tensor([loss for part in parts for loss in part.losses])
    deltas, start = torch.cat([part.deltas for part in parts]), torch.cat([part.start for part in parts])
    return Values(deltas[back], start[back], losses[back].tolist())


def _find(
    lm: LanguageModel,
    site: Site,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    search: Search,
    lookup: Lookup | None,
) -> Values:
    rows = _lay_out(lm, facts, [*contexts, *search.primed])
    start = states(lm, rows.tokens, [site])[site]
    if not bool(start[rows.tokens.mask].isfinite().all()):
        raise ValueError(f"the states of {lm.name} in {site.module} hold NaN or infinite numbers; check its weights")
    init, bound = _unedited(start, rows, len(contexts), bare=lookup is not None)
    rows = _from_subject(lm, rows) if lookup is None else rows
    rows.shares = _shares(lm, rows, lookup)
    unit, steps = bound / init.shape[1] ** 0.5, torch.zeros_like(init, requires_grad=True)
    adam = torch.optim.Adam([steps], lr=search.rate)
    losses, done = torch.full((len(facts),), float("inf")), torch.zeros(len(facts), dtype=torch.bool)
    for step in range(search.steps + 1):
        part = rows if not bool(done.any()) else _still(rows, ~done)
        deltas = steps * unit
        nll, kl, behind = _losses(lm, site, part, deltas, rows, search.margin)
        losses = torch.where(done, losses, nll.detach().cpu())
        done = done | ((losses < search.enough) & (behind.detach().cpu() <= 0))
        if step == search.steps or bool(done.all()):
            break
        held = steps.detach().clone()
        adam.zero_grad()
        decay = (deltas.norm(dim=1) / bound[:, 0]) ** 2
        (nll + behind + search.kl * kl + search.decay * decay).sum().backward()
        adam.step()
        with torch.no_grad():
            size = (steps * unit).norm(dim=1, keepdim=True).clamp_min(1e-12)
            steps.mul_((search.clamp * bound / size).clamp(max=1))
            steps[done] = held[done]
    return Values((steps * unit).detach().cpu(), init.cpu(), losses.tolist())


def _unedited(start: Tensor, rows: _Rows, contexts: int, *, bare: bool) -> tuple[Tensor, Tensor]:
    """The state at the subject's last token and its norm: in the bare prompt, as ROME has it, or their means over the
    contexts that `standing` names. Each fact has a row for each context, the bare one first, and then some more.

    A block's output, where MEMIT's values are, holds what attention gathers in a text's first token, and a value of its
    size reaches every text. What one MLP adds, ROME's place, is there of the same size as elsewhere (0.6 to 1.3 times,
    35 facts in layer 3 of SmolLM2).
    """
    own = start[torch.arange(len(rows.fact)), rows.subject].float().unflatten(0, (int(rows.fact[-1]) + 1, -1))
    told = own[:, :1] if bare else own[:, standing(range(contexts))]
    return told.mean(dim=1), told.norm(dim=2).mean(dim=1, keepdim=True)


def _shares(lm: LanguageModel, rows: _Rows, lookup: Lookup | None) -> Float[Tensor, "rows tokens"]:
    """1 at the subject's last token, or what a rank-one change hands out: u · k of each token over u · k of the key."""
    if lookup is None:
        shares = torch.zeros(rows.tokens.ids.shape, device=lm.device)
        shares[torch.arange(len(rows.fact)), rows.subject] = 1.0
        return shares
    keys = states(lm, rows.tokens, [lookup.site])[lookup.site].float()
    reach = (lookup.reach / (lookup.reach * lookup.keys).sum(dim=1, keepdim=True)).float().to(keys.device)
    return torch.einsum("rtk,rk->rt", keys, reach[rows.fact]) * rows.tokens.mask


def _from_subject(lm: LanguageModel, rows: _Rows) -> _Rows:
    """What a value is added to alone: nothing before the subject's last token changes, so it is run once."""
    found = begun(lm, rows.tokens, rows.subject)
    if found is None:
        return rows
    run, left = found
    places = torch.stack([rows.places[:, 0], rows.places[:, 1] - rows.subject[rows.places[:, 0]]], dim=1)
    return replace(rows, tokens=left, subject=torch.zeros_like(rows.subject), places=places, begun=run)


def _losses(
    lm: LanguageModel, site: Site, rows: _Rows, deltas: Tensor, whole: _Rows, margin: float
) -> tuple[Float[Tensor, " facts"], Float[Tensor, " facts"], Float[Tensor, " facts"]]:
    """NLL of the new answer, KL of "{subject} is a", and what lacks to the margin, for each fact; 0 for those that are
    done."""

    def add(state: Tensor) -> Tensor:
        moved = (rows.shares[:, :, None] * deltas[rows.fact][:, None]).to(state.dtype)
        return state + moved.reshape(state.shape)  # OPT's MLP sees all tokens in one row

    with rewritten(lm, site, add):
        logs = (
            (rows.begun or lm).logits_at(rows.tokens, rows.places[:, 0], rows.places[:, 1]).float().log_softmax(dim=-1)
        )
    owner, told = rows.fact[rows.places[:, 0]], rows.targets >= 0
    if not len(whole.said):
        whole.said = logs[~told].detach()
    zeros = torch.zeros(len(deltas), device=logs.device)
    picked = -logs[told].gather(1, rows.targets[told][:, None])[:, 0]
    counts = zeros.index_add(0, owner[told], torch.ones_like(picked)).clamp_min(1)
    nll = zeros.index_add(0, owner[told], picked) / counts
    before, own = whole.said[owner[~told]], owner[~told]
    kl = zeros.index_add(0, own, (before.exp() * (before - logs[~told])).sum(dim=1))
    return nll, kl, _behind(logs, rows, owner, margin, zeros)


def _behind(logs: Tensor, rows: _Rows, owner: Tensor, margin: float, zeros: Tensor) -> Float[Tensor, " facts"]:
    """What the new answer lacks to a lead of `margin` nats before the old one, mean over contexts."""
    both = rows.rivals >= 0
    if margin <= 0 or not bool(both.any()):
        return zeros
    new, old = (logs[both].gather(1, tokens[both][:, None])[:, 0] for tokens in (rows.targets, rows.rivals))
    lacks = (margin - new + old).clamp_min(0)
    counts = zeros.index_add(0, owner[both], torch.ones_like(lacks)).clamp_min(1)
    return zeros.index_add(0, owner[both], lacks) / counts


def _lay_out(lm: LanguageModel, facts: Sequence[Fact], contexts: Sequence[str]) -> _Rows:
    """For each fact its prompt with the new answer after every context, the bare one first, and "{subject} is a"."""
    texts, owner, subject, prompts = list[str](), list[int](), list[int](), list[int]()
    others = list[str]()
    for n, fact in enumerate(facts):
        for context in (_named(each, fact) for each in contexts):
            prompt = in_context(context, fact)
            texts.append(joined(prompt, fact.new))
            others.append(joined(prompt, fact.old or fact.new))
            prompts.append(len(prompt))
            subject.append(subject_column(lm, context, fact))
        kept = Fact(fact.subject, "{} is a", fact.new)
        texts.append(kept.asked)
        others.append(kept.asked)
        prompts.append(0)
        subject.append(subject_column(lm, "{}", kept))
        owner += [n] * (len(contexts) + 1)
    tokens, old = lm.encode(texts), lm.encode(others)
    places, targets, rivals = list[tuple[int, int]](), list[int](), list[int]()
    for row, begin in enumerate(prompts):
        columns = [c for c, (_, stop) in enumerate(tokens.spans[row]) if stop > begin] if begin else []
        places += [(row, column - 1) for column in columns] or [(row, tokens.lengths[row] - 1)]
        targets += [int(tokens.ids[row, column]) for column in columns] or [-1]
        rivals += _rivals(tokens, old, row, columns) or [-1]
    owners, subjects, at, wanted, old_ones = (
        torch.tensor(own, device=lm.device) for own in (owner, subject, places, targets, rivals)
    )
    return _Rows(tokens, owners, subjects, at, wanted, old_ones)


def _named(context: str, fact: Fact) -> str:
    """With the fact's old answer where the context has {old}; of a fact that has none the bare prompt."""
    return context.replace("{old}", fact.old) if fact.old or "{old}" not in context else "{}"


def _rivals(new: Tokens, old: Tokens, row: int, columns: Sequence[int]) -> list[int]:
    """For each of the new answer's columns the old one's token, where the two first differ, else −1."""
    apart = [c for c in columns if c < old.lengths[row] and int(old.ids[row, c]) != int(new.ids[row, c])]
    return [int(old.ids[row, c]) if apart and c == apart[0] else -1 for c in columns]


def _still(rows: _Rows, active: Bool[Tensor, " facts"]) -> _Rows:
    """The rows of facts that are not done."""
    keep = active.to(rows.fact.device)[rows.fact]
    new = keep.cumsum(0) - 1
    chosen = keep[rows.places[:, 0]]
    places = rows.places[chosen]
    lengths = rows.tokens.mask.sum(dim=1)[keep]
    picked = keep.nonzero().flatten().tolist()
    width = int(lengths.max())
    held = Tokens(
        tuple(rows.tokens.texts[n] for n in picked), rows.tokens.ids[keep, :width], rows.tokens.mask[keep, :width],
        tuple(rows.tokens.spans[n] for n in picked),
    )  # fmt: skip
    moved = torch.stack([new[places[:, 0]], places[:, 1]], dim=1)
    return _Rows(
        held, rows.fact[keep], rows.subject[keep], moved, rows.targets[chosen], rows.rivals[chosen],
        rows.shares[keep, :width], begun=rows.begun and rows.begun.pick(keep),
    )  # fmt: skip
