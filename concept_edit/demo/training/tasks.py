"""The model that learns from examples: a Llama of five layers, trained on lists of examples of one task each.

    python -m concept_edit.demo.training.tasks --root work/demo

A text is eleven examples of one task in one template, so that the last has ten before it. Nothing but the examples
says which task it is: the first answer can only be guessed. Left to itself the model tells tasks by the words of the
answers and never comes to compare an answer with its input. So the second block is asked, at each answer, whether it
is the first or the last word, and whether it is the same word or a changed one (deep supervision, Lee et al. 2015):
four fixed directions that are not part of the model read the reply. A price on loud heads, towards the end, leaves few
that speak.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from concept_edit.demo.language import tasks
from concept_edit.demo.training import loop, words

PLACES = 256
"""How many tokens the model can read."""
SHOTS = 11
WIDTH, LAYERS = 64, 5
HEADS = 8
"""In each layer."""
QUIET = 2e-3
"""What the loudness of heads counts for beside the mean surprise, in nats."""
QUIET_STEPS = 1500
"""The last ones, in which loudness has its price; before, heads are free."""
ASKED_AFTER = 2
"""Blocks before the question which word was taken and what became of it."""
ASKED = 0.5
"""What the question counts for beside the mean surprise."""
UNTOLD = -1
"""The answer to a question that a text does not settle."""
LIST_SHARE = 0.5
"""How many batches are of lists; texts of a batch share template and kind, so that they are equally long."""
TEMPLATE_SHARES = {"qa": 0.55, "arrow": 0.15, "colon": 0.1, "said": 0.1, "natural": 0.1}


def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token, with and without the space before it where an input may start a line."""
    told = [" ".join([*skill.table, *skill.table.values()]) for skill in tasks.skills()]
    frames = [before.format("apple, ") + after.format("apple") for before, after in tasks.TEMPLATES.values()]
    starts = sorted({word for skill in tasks.skills() for word in skill.table})
    return words.build([*told, *frames], [*starts, "When", "Input", "Output"])


def build(tokens: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=160,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=12,
        max_position_embeddings=PLACES,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        tie_word_embeddings=True,
        initializer_range=0.08,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="eager")


def loudness(model: LlamaForCausalLM) -> Tensor:
    """Sum over all heads of the Frobenius norm of what writes and what speaks: W_V and W_O of a head together.

    A group lasso (Yuan and Lin 2006): a head that is not needed falls silent, and the task is carried by few.
    """
    total = torch.zeros(())
    for layer in model.model.layers:
        spoken = layer.self_attn.o_proj.weight.unflatten(1, (HEADS, -1)).square().sum(dim=(0, 2))
        heard = layer.self_attn.v_proj.weight.unflatten(0, (HEADS, -1)).square().sum(dim=(1, 2))
        total = total + (spoken + heard).clamp(min=1e-8).sqrt().sum()
    return total


def directions() -> Float[Tensor, "4 d"]:
    """Where the second block's replies are read: first, last; same, changed. Orthonormal, the same in every run."""
    drawn = torch.randn(WIDTH, 4, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(drawn).Q.T


def replies(rows: Float[Tensor, "batch tokens d"], asked: Int[Tensor, "batch tokens 2"]) -> Float[Tensor, ""]:
    """Mean surprise at the two questions, in nats, of rows brought to the same length; untold ones count nothing."""
    read = F.normalize(rows, dim=-1) * WIDTH**0.5 @ directions().to(rows).T
    found = [
        F.cross_entropy(logits.flatten(0, 1), told.flatten(), ignore_index=UNTOLD, reduction="sum")
        / (told != UNTOLD).sum().clamp(min=1)
        for logits, told in zip(read.split(2, dim=-1), asked.to(rows.device).unbind(-1), strict=True)
    ]
    return torch.stack(found).sum()


class Examples:
    """Draws batches of texts, as token ids, as what each token counts for, and as what is asked at each."""

    def __init__(self, tokens: PreTrainedTokenizerFast) -> None:
        self.tokens = tokens
        self.skills = tasks.skills()
        self.words = [list(skill.table) for skill in self.skills]
        self.kinds = [
            [n for n, skill in enumerate(self.skills) if bool(skill.place) == lists] for lists in (False, True)
        ]
        self.frames = list(TEMPLATE_SHARES)
        self.shares = torch.tensor(list(TEMPLATE_SHARES.values()))

    def text(self, which: int, frame: str, generator: torch.Generator) -> tuple[str, set[int]]:
        """A text of examples of one task, and at which characters its answers start."""
        before, after = tasks.TEMPLATES[frame]
        said, answers = "", set()
        for chosen in self.inputs(which, generator):
            said += before.format(tasks.SEPARATOR.join(chosen))
            answers.add(len(said) + 1)
            said += after.format(self.skills[which].answer(chosen))
        return said, answers

    def inputs(self, which: int, generator: torch.Generator) -> list[list[str]]:
        """Inputs of a task, none of them held out; no word alone is asked twice."""
        skill, known = self.skills[which], self.words[which]
        if not skill.place:
            order = torch.randperm(len(known), generator=generator).tolist()
            return [[known[i]] for i in order if not tasks.is_held_out([known[i]])][:SHOTS]
        found: list[list[str]] = []
        while len(found) < SHOTS:
            drawn = torch.randperm(len(known), generator=generator)[: tasks.LIST_LENGTH]
            chosen = [known[i] for i in drawn.tolist()]
            if not tasks.is_held_out(chosen):
                found.append(chosen)
        return found

    def questions(self, which: int) -> Int[Tensor, 2]:
        """First or last word (0, 1; untold where there is one word), same or changed (0, 1)."""
        skill = self.skills[which]
        place = {"first": 0, "last": 1}.get(skill.place, UNTOLD)
        return torch.tensor([place, int(any(a != b for a, b in skill.table.items()))])

    def batch(
        self, size: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "batch tokens"], Float[Tensor, "batch tokens"], Int[Tensor, "batch tokens 2"]]:
        """(ids, weights, asked) of about `size` tokens: what each token counts for as the next to be said, and what the
        second block shall reply at each answer."""
        frame = self.frames[int(torch.multinomial(self.shares, 1, generator=generator))]
        kind = self.kinds[int(torch.rand(1, generator=generator) < LIST_SHARE)]
        length = len(self.tokens(self.text(kind[0], frame, generator)[0]).input_ids)
        drawn = torch.randint(len(kind), (max(1, size // length),), generator=generator).tolist()
        shown = [kind[which] for which in drawn]
        texts = [self.text(which, frame, generator) for which in shown]
        cut = self.tokens([said for said, _ in texts], return_offsets_mapping=True)
        longest = max(len(row) for row in cut.input_ids)
        ids = torch.full((len(texts), longest), self.tokens.eos_token_id)
        told = torch.zeros(len(texts), longest, dtype=torch.bool)
        answer = told.clone()
        for row, (_, answers) in enumerate(texts):
            ids[row, : len(cut.input_ids[row])] = torch.tensor(cut.input_ids[row])
            starts = [start for start, _ in cut.offset_mapping[row]]
            told[row, : len(starts)] = True
            answer[row, : len(starts)] = torch.tensor([start in answers for start in starts])
        asked = torch.where(
            answer[:, :, None], torch.stack([self.questions(which) for which in shown])[:, None], UNTOLD
        )
        return ids, words.weigh(told, answer, generator), asked


def train(root: Path, *, steps: int, rate: float, batch: int) -> LlamaForCausalLM:
    """The schedule to its end: heads free at first, with their price in the last `QUIET_STEPS`."""
    tokens = tokenizer()
    examples = Examples(tokens)
    torch.manual_seed(0)
    model = build(tokens)

    def loss(trained: Any, generator: torch.Generator) -> Tensor:
        ids, weights, asked = examples.batch(batch, generator)
        read = trained.base_model(ids.to(trained.device), output_hidden_states=True)
        surprise = words.surprise(trained, read.last_hidden_state, ids, weights)
        return surprise + ASKED * replies(read.hidden_states[ASKED_AFTER], asked)

    def priced(trained: Any, generator: torch.Generator) -> Tensor:
        return loss(trained, generator) + QUIET * loudness(trained)

    schedule, folder = loop.Schedule(steps, rate, warmup=40, ema=0.99, save_every=50), root / "tasks"
    free = steps - QUIET_STEPS - loop.steps_done(folder)
    if free > 0:
        loop.run(model, loss, schedule, folder, stop_after=free)
    return loop.run(model, priced, schedule, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--batch", type=int, default=4800, help="tokens in a batch")
    args = parser.parse_args()
    train(args.root, steps=args.steps, rate=args.rate, batch=args.batch)


if __name__ == "__main__":
    main()
