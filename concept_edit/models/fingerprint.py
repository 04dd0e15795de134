"""One hash for what turns words into rows: an edit file is bound to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from concept_edit.models.encode import OpenTower
from concept_edit.models.provenance import words_of

HEARS_NO_TEXT = re.compile(r"(visual|vision_tower|vision_model|multi_modal_projector|lm_head)\b")
"""Parts of multimodal encoders, and heads, that no row of a prompt comes from."""
_PROBES = ("a painting of a village, in the style of Van Gogh", "")


def fingerprint(towers: Sequence[OpenTower], template: str = "") -> str:
    """SHA-256 over the encoders' weights and tokenizers, and the template that prompts are wrapped in.

    Weights count as float16, so that a float32 file and its half copy agree.
    """
    digest = hashlib.sha256(template.encode())
    for tower in towers:
        for line in _tokenizer_lines(tower):
            digest.update(line.encode())
        for name, value in _hearing(tower):
            digest.update(f"{name} {tuple(value.shape)}\n".encode())
            _add(digest, value)
    return digest.hexdigest()


def _hearing(tower: OpenTower) -> Iterable[tuple[str, Tensor]]:
    """The weights that a prompt passes, by names that do not depend on what else the encoder's class can do."""
    if tower.spec.kind != "asked":
        return tower.tensors()
    named = ((core_name(name), value) for name, value in tower.tensors() if not HEARS_NO_TEXT.search(name))
    return sorted(named, key=lambda item: item[0])


def core_name(name: str) -> str:
    """A tensor's name without the wrappers that differ from one class of encoders to another."""
    return re.sub(r"^((model|language_model|text_model|transformer)\.)+", "", name)


def _add(digest: Any, value: Tensor) -> None:
    for block in value.detach().reshape(-1).split(1 << 24):
        digest.update(block.to("cpu", torch.float16).contiguous().numpy().data)


def _tokenizer_lines(tower: OpenTower) -> Iterable[str]:
    tokenizer, asked = words_of(tower.tokenizer), tower.spec.kind == "asked"
    vocabulary = tokenizer.get_vocab()
    yield f"{tower.spec.kind} {len(vocabulary)} {'' if asked else tower.length}\n"
    yield from (f"{token} {index}\n" for token, index in sorted(vocabulary.items()))
    if asked:
        yield repr(tokenizer(list(_PROBES)).input_ids)
        return
    probes = tower.tokenizer(list(_PROBES), padding="max_length", max_length=tower.length, truncation=True)
    yield repr(probes.input_ids)
