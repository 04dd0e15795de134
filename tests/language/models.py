"""Tiny random language models of each architecture, and a tokenizer trained on a few lines in memory."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

FAMILIES = (
    "gpt2",
    "llama",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gpt_neox",
    "phi",
    "phi3",
    "olmo",
    "olmo2",
    "gptj",
    "opt",
)
LAYERS, WIDTH, HEADS = 3, 32, 4

LINES = (
    "The Space Needle is in the city of Seattle.",
    "The Eiffel Tower is in the city of Paris, and the Colosseum is in Rome.",
    "Café Müller stands in Wuppertal; Miles Davis plays the trumpet.",
    "Who plays what? Where is it? It is in London, in Berlin or in Tokyo.",
)


@cache
def tokenizer() -> Any:
    """A byte-level BPE with a BOS token in front, as Llama's and Gemma's have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=320, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    )
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")


def tiny(family: str = "llama", seed: int = 0, *, layers: int = LAYERS) -> Any:
    """A random model of that family; the same seed gives the same weights."""
    import transformers

    common = {
        "vocab_size": len(tokenizer()), "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    if family in ("gpt2", "gptj"):
        inner = {"n_embd": WIDTH, "n_layer": layers, "n_head": HEADS, "n_positions": 64, "n_inner": 48, "rotary_dim": 8}
        common = {"vocab_size": common["vocab_size"], "bos_token_id": 0, "eos_token_id": 1, **inner}
    if family == "opt":
        common |= {"ffn_dim": 48, "word_embed_proj_dim": WIDTH}
    config = transformers.AutoConfig.for_model(family, **common)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return model.eval()


def opened(family: str = "llama", seed: int = 0, *, layers: int = LAYERS) -> Any:
    """`open_language_model` of a tiny one."""
    from concept_edit.language import open_language_model

    return open_language_model((tiny(family, seed, layers=layers), tokenizer()))
