"""The language models' tokenizer: whole words of their world, bytes for everything else.

Byte-level as GPT-2's (a word carries the space before it, any text goes in and comes out unchanged), with longest
match instead of merges, so that a token is a word of the table and nothing between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch import Generator, Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"


def build(texts: Iterable[str], pieces: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer of every word in `texts`, and of `pieces`: words that may stand without a space before them."""
    cut = pre_tokenizers.ByteLevel(add_prefix_space=True)
    words = {word for text in texts for word, _ in cut.pre_tokenize_str(text)}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = dict.fromkeys([END, *alphabet, *sorted(words | set(pieces))])
    model = WordPiece(
        {token: i for i, token in enumerate(vocabulary)},
        unk_token=END,
        continuing_subword_prefix="",
        max_input_chars_per_word=10_000,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        unk_token=END,
        clean_up_tokenization_spaces=False,
    )


CHATTER = 0.1
"""How many of the tokens that cannot be foretold (a name, a wording, which word is asked next) count, and how much."""


def weigh(told: Bool[Tensor, "batch tokens"], answers: Bool[Tensor, "batch tokens"], generator: Generator) -> Tensor:
    """What each token counts for: an answer 1, a tenth of the others a tenth, the padding nothing."""
    heard = told & (torch.rand(told.shape, generator=generator) < CHATTER)
    return torch.where(answers, 1.0, CHATTER * heard)


def loss(
    model: Any, ids: Int[Tensor, "batch tokens"], weights: Float[Tensor, "batch tokens"], places: Tensor | None = None
) -> Float[Tensor, ""]:
    """Weighted mean of the surprise at each token but the first, in nats; the output matrix reads what counts alone."""
    device = model.device
    read = model.base_model(ids.to(device), position_ids=None if places is None else places.to(device))
    return surprise(model, read.last_hidden_state, ids, weights)


def surprise(
    model: Any,
    rows: Float[Tensor, "batch tokens d"],
    ids: Int[Tensor, "batch tokens"],
    weights: Float[Tensor, "batch tokens"],
) -> Float[Tensor, ""]:
    """`loss` of last hidden states that are there already."""
    counted = weights[:, 1:].to(model.device)
    heard = counted > 0
    logits = model.get_output_embeddings()(rows[:, :-1][heard])
    each = F.cross_entropy(logits.float(), ids[:, 1:].to(model.device)[heard], reduction="none")
    return (each * counted[heard]).sum() / counted.sum()
