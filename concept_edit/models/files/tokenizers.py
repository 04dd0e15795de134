"""The CLIP tokenizer that ships with the package, for files that bring none."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import Any

MERGES = 48_894
"""Merges of the CLIP vocabulary; with 2 x 256 bytes and two marks that makes 49,408 tokens."""


@cache
def clip_merges() -> tuple[str, ...]:
    """The merges of OpenAI's CLIP BPE, in order (MIT; the licence lies beside the file)."""
    packed = (files("concept_edit") / "families" / "clip_bpe.txt.gz").read_bytes()
    return tuple(gzip.decompress(packed).decode("utf-8").splitlines())


def _bytes_as_letters() -> list[str]:
    """GPT-2's printable letter for each byte, in CLIP's vocabulary order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + i) for i in range(others)]


def clip_vocabulary(merges: int = MERGES) -> dict[str, int]:
    """Token -> id of CLIP's vocabulary cut after `merges` merges."""
    letters = _bytes_as_letters()
    joined = ["".join(pair.split()) for pair in clip_merges()[:merges]]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *joined, "<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}


def clip_tokenizer(*, pad_token: str = "<|endoftext|>", merges: int = MERGES, length: int = 77) -> Any:
    """A transformers `CLIPTokenizer`; SD 2.x and the second tower of SDXL and SD3 pad with `!`."""
    from transformers import CLIPTokenizer

    pairs: Any = [tuple(pair.split()) for pair in clip_merges()[:merges]]
    return CLIPTokenizer(vocab=clip_vocabulary(merges), merges=pairs, pad_token=pad_token, model_max_length=length)
