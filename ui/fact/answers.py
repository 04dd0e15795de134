"""What a language model says next, as words: asked before and after a change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from concept_edit.language.scoring import score
from concept_edit.language.tokens import Tokens

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

_LONGEST = 5
"""Tokens of a word, at most."""
_WORD = re.compile(r"\s*[^\W_]+(?:['’\-.][^\W_]+)*")


@dataclass(frozen=True)
class Answer:
    """To one prompt."""

    word: str
    """What the model says first: the likeliest token, and those after it up to the end of the word."""
    chance: float
    """Probability of that word."""
    new: float
    """Probability of the new answer: the exponential of its tokens' mean log probability."""
    says_new: bool
    """Whether each token of the new answer is the likeliest."""


def ask(lm: LanguageModel, prompts: Sequence[str], new: str) -> tuple[Answer, ...]:
    """Answers to some prompts, and how likely `new` is there."""
    words = top_words(lm, prompts)
    held = score(lm, [(prompt, new) for prompt in prompts])
    rows = zip(words, held.log_probability.exp().tolist(), held.said.tolist(), strict=True)
    return tuple(Answer(new if said else word, chance, p, bool(said)) for (word, chance), p, said in rows)


@torch.no_grad()
def top_words(lm: LanguageModel, prompts: Sequence[str]) -> list[tuple[str, float]]:
    """The word that each prompt is continued with, token by token the likeliest, and its probability."""
    tokens = lm.encode(prompts)
    ids = [tokens.ids[n, :length].tolist() for n, length in enumerate(tokens.lengths)]
    begun = [len(row) for row in ids]
    chances, found = [1.0] * len(ids), dict[int, tuple[str, float]]()
    for _ in range(_LONGEST + 1):
        open_ones = [n for n in range(len(ids)) if n not in found]
        if not open_ones:
            break
        tops, likely = _next(lm, [ids[n] for n in open_ones])
        for n, token, chance in zip(open_ones, tops, likely, strict=True):
            ids[n].append(token)
            text = lm.tokenizer.decode(ids[n][begun[n] :])
            word = _WORD.match(text)
            if len(ids[n]) > begun[n] + 1 and (word is None or word.end() < len(text.rstrip("\ufffd"))):
                found[n] = (_shown(lm.tokenizer.decode(ids[n][begun[n] : -1])), chances[n])
            chances[n] *= chance
    return [found.get(n, (_shown(lm.tokenizer.decode(ids[n][begun[n] :])), chances[n])) for n in range(len(ids))]


def _next(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> tuple[list[int], list[float]]:
    """The likeliest next token of each row of ids, and its probability."""
    device, lengths = lm.device, torch.tensor([len(row) for row in rows])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
    run = Tokens(("",) * len(rows), ids.to(device), mask.to(device), tuple(((0, 0),) * len(row) for row in rows))
    places = torch.arange(len(rows), device=device), (lengths - 1).to(device)
    best = lm.logits_at(run, *places).float().softmax(dim=-1).max(dim=-1)
    return best.indices.tolist(), best.values.tolist()


def _shown(text: str) -> str:
    """A word without the space before it; something to see where there is none."""
    word = _WORD.match(text)
    return word.group().strip() if word else text.strip() or ("(a new line)" if "\n" in text else "…")
