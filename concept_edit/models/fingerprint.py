"""One hash for what turns words into rows: an edit file is bound to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from concept_edit.models.encode import OpenTower

_PROBES = ("a painting of a village, in the style of Van Gogh", "")


def fingerprint(towers: Sequence[OpenTower], template: str = "") -> str:
    """SHA-256 over the encoders' weights and tokenizers, and the template that prompts are wrapped in.

    Weights count as float16, so that a float32 file and its half copy agree.
    """
    digest = hashlib.sha256(template.encode())
    for tower in towers:
        for line in _tokenizer_lines(tower):
            digest.update(line.encode())
        for name, value in tower.tensors():
            digest.update(f"{name} {tuple(value.shape)}\n".encode())
            _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Tensor) -> None:
    for block in value.detach().reshape(-1).split(1 << 24):
        digest.update(block.to("cpu", torch.float16).contiguous().numpy().data)


def _tokenizer_lines(tower: OpenTower) -> Iterable[str]:
    tokenizer = getattr(tower.tokenizer, "tokenizer", tower.tokenizer)
    vocabulary, asked = tokenizer.get_vocab(), tower.spec.kind == "asked"
    yield f"{tower.spec.kind} {len(vocabulary)} {'' if asked else tower.length}\n"
    yield from (f"{token} {index}\n" for token, index in sorted(vocabulary.items()))
    if asked:
        yield repr(tokenizer(list(_PROBES)).input_ids)
        return
    probes = tower.tokenizer(list(_PROBES), padding="max_length", max_length=tower.length, truncation=True)
    yield repr(probes.input_ids)
