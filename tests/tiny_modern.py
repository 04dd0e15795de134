"""Tiny random pipelines of the families whose encoder is a language model; the real classes, offline."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tiny import _woken, vae

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WORDS = (
    "a painting by Van Gogh, in the style of an artist; the photo of a red apple on the table. Describe the image by "
    "detailing the color, shape, size, texture, quantity, text, spatial relationships of the objects and background: "
    "system user assistant You are an AI that reasons about image descriptions. User Prompt: Given a user prompt, "
    "generate an Enhanced prompt that provides detailed visual descriptions suitable for image generation. "
)


def modern_pipeline(family: str, seed: int = 0) -> Any:
    """A live diffusers pipeline with random weights; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = MODERN[family]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def _trained(bos: bool) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([_WORDS] * 3, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 3)])
    return str(tokenizer.to_str())


def tokenizer(*, bos: bool = False, length: int = 2048) -> Any:
    """A byte-level BPE of 700 tokens that knows the words of the templates."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(bos)), chat_template=CHAT, model_max_length=length,
        pad_token="<|endoftext|>", eos_token="<|im_end|>", padding_side="right",
        extra_special_tokens={"start": "<|im_start|>"}, **({"bos_token": "<bos>"} if bos else {}),
    )  # fmt: skip


def qwen3(layers: int = 3, width: int = 32) -> Any:
    """A tiny Qwen3."""
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        vocab_size=700, hidden_size=width, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=4096,
    )  # fmt: skip
    return _woken(Qwen3Model(config))


def scheduler() -> Any:
    """The flow-matching Euler steps all of them take."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def _zimage() -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel

    transformer = ZImageTransformer2DModel(
        dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=32, in_channels=16,
        axes_dims=[4, 6, 6], axes_lens=[256, 64, 64],
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=scheduler(), vae=vae(16, shift=0.05), text_encoder=qwen3(), tokenizer=tokenizer(),
        transformer=_woken(transformer),
    )  # fmt: skip


MODERN = {"zimage": _zimage}
