"""The model that knows: a GPT-2 of five layers, trained on short texts about the fact world.

    python -m concept_edit.demo.training.facts --root work/demo

Half the texts say several things about one subject, half mix subjects; a sentence is often followed by what is true
of its object. One wording in six of each fact is never shown, so that knowing a fact is more than knowing a string.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from concept_edit.demo.language import facts
from concept_edit.demo.training import loop, words

PLACES = 128
"""How many tokens the model can read."""
LENGTH = 48
NOTE_SHARE = 0.2


def sentence(truth: facts.Truth, wording: int) -> str:
    return f"{truth.prompts()[wording]} {truth.object}."


def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token."""
    told = [sentence(t, k) for t in facts.truths() for k in range(len(t.relation.wordings))]
    return words.build([*told, *(t.note() for t in facts.truths())])


def build(tokens: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=len(tokens),
        n_positions=PLACES,
        n_embd=64,
        n_layer=5,
        n_head=4,
        n_inner=384,
        activation_function="relu",
        initializer_range=0.08,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    return GPT2LMHeadModel._from_config(config, attn_implementation="eager")


class Texts:
    """Draws batches of texts, as token ids and as what is to be said next."""

    def __init__(self, tokens: PreTrainedTokenizerFast) -> None:
        self.end = tokens.eos_token_id
        truths = facts.truths()
        self.about: dict[str, list[int]] = {}
        for i, truth in enumerate(truths):
            self.about.setdefault(truth.subject, []).append(i)
        self.subjects = list(self.about)
        self.told = [
            [tokens(sentence(t, k)).input_ids for k in range(len(t.relation.wordings)) if k != t.held_out]
            for t in truths
        ]
        self.notes = [tokens(t.note()).input_ids if t.note() else [] for t in truths]
        said = {word for t in truths for word in (t.object, facts.DETAILS.get(t.object, t.object))}
        self.objects = torch.zeros(len(tokens), dtype=torch.bool)
        self.objects[[tokens(word).input_ids[0] for word in said]] = True

    def text(self, generator: torch.Generator) -> list[int]:
        draws = torch.rand(40, generator=generator).tolist()
        order = self.plan(draws.pop(), generator)
        ids: list[int] = []
        for i in order:
            wordings = self.told[i]
            ids += wordings[int(draws.pop() * len(wordings))]
            if draws.pop() < NOTE_SHARE:
                ids += self.notes[i]
            if len(ids) >= LENGTH:
                return ids[:LENGTH]
        return [*ids, self.end]

    def plan(self, kind: float, generator: torch.Generator) -> list[int]:
        """Which facts a text tells: all of one subject and then others, or a mixture."""
        others = torch.randint(len(self.told), (9,), generator=generator).tolist()
        if kind < 0.5:
            return others
        chosen = self.about[self.subjects[int((kind - 0.5) * 2 * len(self.subjects))]]
        order = [chosen[i] for i in torch.randperm(len(chosen), generator=generator).tolist()]
        return order if kind * 10 % 1 < 0.5 else order + others[:4]

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(ids, weights), batch x tokens: what each token counts for as the next one to be said."""
        texts = [self.text(generator) for _ in range(size)]
        ids = torch.full((size, LENGTH), self.end)
        told = torch.zeros(size, LENGTH, dtype=torch.bool)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            told[row, : len(text)] = True
        return ids, words.weigh(told, told & self.objects[ids], generator)


def close(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """Hold the first block's attention at nought.

    Left open, it carries the bare name to the end of the text, where all is then looked up: nothing is known at the
    subject, and no rewrite there is heard. Closed, what later blocks read at the subject has gone through its memory.
    """
    first: Any = model.transformer.h[0]
    for weight in first.attn.parameters():
        weight.requires_grad_(False)
    for weight in first.attn.c_proj.parameters():
        weight.data.zero_()
    return model


def calm(model: GPT2LMHeadModel, factor: float = 0.1) -> GPT2LMHeadModel:
    """The same function with a residual stream `factor` times as large, so that a coordinate is about one, as in models
    that were trained for long: published step sizes of a rewrite are steps in these units."""
    body: Any = model.transformer
    body.wte.weight.data.mul_(factor)
    body.wpe.weight.data.mul_(factor)
    for block in body.h:
        for weight in (*block.attn.c_proj.parameters(), *block.mlp.c_proj.parameters()):
            weight.data.mul_(factor)
    norms = [body.ln_f, *(norm for block in body.h for norm in (block.ln_1, block.ln_2))]
    for norm in norms:
        norm.eps *= factor**2
    model.config.layer_norm_epsilon *= factor**2
    for weight in body.ln_f.parameters():  # the output matrix is the embedding, and has shrunk
        weight.data.div_(factor)
    return model


def train(
    root: Path, *, steps: int, rate: float, batch: int, closed: bool = False, stop_after: int | None = None
) -> GPT2LMHeadModel:
    """`closed` goes on from the EMA weights of a run that was not, into a folder of its own."""
    tokens = tokenizer()
    texts = Texts(tokens)
    torch.manual_seed(0)
    model = build(tokens)
    if closed:
        model = close(loop.load_ema(model, root / "facts_open"))

    def loss(trained: GPT2LMHeadModel, generator: torch.Generator) -> Tensor:
        ids, weights = texts.batch(batch, generator)
        start = torch.randint(PLACES - LENGTH + 1, (batch, 1), generator=generator)
        start[: batch // 2] = 0
        return words.loss(trained, ids, weights, start + torch.arange(LENGTH))

    schedule = loop.Schedule(steps, rate, ema=0.99 if closed else 0.995, save_every=50)
    return loop.run(model, loss, schedule, root / ("facts" if closed else "facts_open"), stop_after=stop_after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--rate", type=float, default=8e-3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--closed", action="store_true", help="the second run, without the first block's attention")
    parser.add_argument("--stop-after", type=int)
    args = parser.parse_args()
    given = {name: getattr(args, name) for name in ("steps", "rate", "batch", "closed", "stop_after")}
    train(args.root, **given)


if __name__ == "__main__":
    main()
