"""Prompts into the rows a denoiser's text-side matrices multiply, as the diffusers pipelines do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from concept_edit.models.contract import Encoded
from concept_edit.models.families import Tower
from concept_edit.models.reading import for_reading, read_in
from concept_edit.models.resting import Resting


@dataclass(frozen=True)
class OpenTower:
    """A tower with its weights and tokenizer."""

    spec: Tower
    encoder: Any
    tokenizer: Any
    resting: Resting | None = None
    """How the encoder's weights are brought in, where they lie in a file."""

    @property
    def asleep(self) -> bool:
        """Whether the weights are still in their file."""
        return self.resting is not None and self.resting.asleep

    @property
    def device(self) -> torch.device:
        """Where the encoder runs."""
        return torch.device("cpu") if self.asleep else self.encoder.device

    @property
    def arithmetic(self) -> str:
        """Device and precision rows are read in, e.g. `cpu float32`: what their last bits depend on."""
        if self.resting is not None and self.asleep:
            device, dtype = self.device, self.resting.dtype
        else:
            device, dtype = read_in(self.encoder)
        return f"{device.type} {str(dtype).removeprefix('torch.')}"

    def awake(self) -> Any:
        """The encoder with all its weights in memory."""
        return self.resting.wake() if self.resting is not None and self.resting.asleep else self.encoder

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight by name, sorted, without the prefix that differs between transformers versions."""
        if self.resting is not None and self.resting.asleep:
            named = self.resting.tensors()
        else:
            named = iter(sorted(self.encoder.named_parameters(), key=lambda pair: pair[0].removeprefix("text_model.")))
        return ((name.removeprefix("text_model."), value) for name, value in named)

    @property
    def length(self) -> int:
        """Tokens a prompt is padded to."""
        return self.spec.length or int(self.tokenizer.model_max_length)

    @property
    def token_width(self) -> int:
        """Width this tower adds to a row of the text stream."""
        config = self.encoder.config
        return int(config.d_model if self.spec.kind == "t5" else config.hidden_size)

    @property
    def pooled_width(self) -> int:
        """Width this tower adds to the pooled vector."""
        if self.spec.pooled is None:
            return 0
        config = self.encoder.config
        return int(config.projection_dim if self.spec.pooled == "text_embeds" else config.hidden_size)


@dataclass(frozen=True)
class _Tokens:
    ids: Int[Tensor, "prompts tokens"]
    mask: Int[Tensor, "prompts tokens"]
    subject: Bool[Tensor, "prompts tokens"]
    eos: Int[Tensor, " prompts"]
    cut: tuple[str, ...]


@dataclass(frozen=True)
class _Answer:
    """What one tower says about one batch."""

    tokens: _Tokens
    rows: Float[Tensor, "prompts tokens d_tower"] | None
    pooled: Float[Tensor, "prompts d_pooled"] | None


def tokenize(tower: OpenTower, prompts: Sequence[str], brief: bool = False) -> _Tokens:
    """Pad and cut `prompts` to the tower's length, and find each prompt's own tokens. `brief`: where rows do not depend
    on what follows them, they are padded to the longest of them only."""
    padding = "longest" if brief and tower.spec.kind != "t5" else "max_length"
    given = tower.tokenizer(
        list(prompts), padding=padding, max_length=tower.length, truncation=True, return_tensors="pt"
    )
    ids = given.input_ids
    is_eos = ids == tower.tokenizer.eos_token_id
    eos = is_eos.int().argmax(dim=1)
    position = torch.arange(ids.shape[1])
    first = 0 if tower.spec.kind == "t5" else 1
    subject = (position >= first) & (position < eos[:, None])
    return _Tokens(ids, given.attention_mask, subject, eos, _cut(tower, prompts, eos))


def _cut(tower: OpenTower, prompts: Sequence[str], eos: Int[Tensor, " prompts"]) -> tuple[str, ...]:
    full = (eos == tower.length - 1).tolist()
    return tuple(_cut_text(tower, prompt) if is_full else "" for prompt, is_full in zip(prompts, full, strict=True))


def _cut_text(tower: OpenTower, prompt: str) -> str:
    ids = tower.tokenizer(prompt, verbose=False).input_ids
    return str(tower.tokenizer.decode(ids[tower.length - 1 : -1]))


def _ask(tower: OpenTower, prompts: Sequence[str], brief: bool) -> _Answer:
    tokens = tokenize(tower, prompts, brief)
    options: dict[str, Any] = {}
    if getattr(tower.encoder.config, "use_attention_mask", False):
        options["attention_mask"] = tokens.mask.to(tower.device)
    with _entering_last_block(tower) as before_last:
        output = tower.encoder(tokens.ids.to(tower.device), **options)
    return _Answer(tokens, _hidden(tower.spec, output, before_last), _pooled(tower.spec, output))


@contextmanager
def _entering_last_block(tower: OpenTower) -> Iterator[list[Tensor]]:
    """What goes into the last block, the hidden state -2, without keeping all the others."""
    seen: list[Tensor] = []
    blocks = next(part for part in tower.encoder.modules() if isinstance(part, torch.nn.ModuleList))

    def look(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(given[0] if given else named["hidden_states"])

    handle = blocks[-1].register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def _hidden(spec: Tower, output: Any, before_last: Sequence[Tensor]) -> Tensor | None:
    if spec.hidden is None:
        return None
    rows = output.last_hidden_state if spec.hidden == -1 else before_last[0]
    return rows.float().cpu()


def _pooled(spec: Tower, output: Any) -> Tensor | None:
    return None if spec.pooled is None else output[spec.pooled].float().cpu()


def _text_stream(answers: Sequence[tuple[OpenTower, _Answer]], width: int) -> Encoded:
    """CLIP towers side by side, padded to the stream's width; T5's tokens after them (SD3)."""
    clip = [a for tower, a in answers if tower.spec.kind != "t5" and a.rows is not None]
    t5 = [a for tower, a in answers if tower.spec.kind == "t5"]
    blocks, tokens = [], [part.tokens for part in (clip[:1] + t5)]
    if clip:
        joined = torch.cat([a.rows for a in clip if a.rows is not None], dim=-1)
        blocks.append(torch.nn.functional.pad(joined, (0, width - joined.shape[-1])))
    blocks.extend(a.rows for a in t5 if a.rows is not None)
    return Encoded(
        rows=torch.cat(blocks, dim=1),
        subject=torch.cat([t.subject for t in tokens], dim=1),
        eos=tokens[0].eos,
        cut=tokens[0].cut,
        pooled=False,
        second_eos=tokens[1].eos + tokens[0].ids.shape[1] if len(tokens) > 1 else None,
    )


def _pooled_stream(answers: Sequence[tuple[OpenTower, _Answer]]) -> Encoded:
    parts = [a for _, a in answers if a.pooled is not None]
    rows = torch.cat([a.pooled for a in parts if a.pooled is not None], dim=-1)[:, None]
    return Encoded(
        rows=rows,
        subject=torch.ones(rows.shape[:2], dtype=torch.bool),
        eos=torch.zeros(len(rows), dtype=torch.long),
        cut=parts[0].tokens.cut,
        pooled=True,
    )


def _encode_batch(
    towers: Sequence[OpenTower], prompts: Sequence[str], streams: dict[str, int], brief: bool
) -> Iterator[tuple[str, Encoded]]:
    answers = [(tower, _ask(tower, prompts, brief)) for tower in towers]
    yield "text", _text_stream(answers, streams["text"])
    if "pooled" in streams:
        yield "pooled", _pooled_stream(answers)


def _nothing(width: int, pooled: bool) -> Encoded:
    return Encoded(
        rows=torch.zeros(0, 1, width),
        subject=torch.zeros(0, 1, dtype=torch.bool),
        eos=torch.zeros(0, dtype=torch.long),
        cut=(),
        pooled=pooled,
    )


@torch.no_grad()
def encode(
    towers: Sequence[OpenTower], prompts: Sequence[str], streams: dict[str, int], batch_size: int, brief: bool = False
) -> dict[str, Encoded]:
    """Every stream's rows for `prompts`, `batch_size` prompts at a time, wherever the encoders are: see `reading`.
    `brief`: CLIP's, without the pads that no prompt of a batch needs; what is left is the same."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give 1 or more.")
    if not prompts:
        return {name: _nothing(width, name == "pooled") for name, width in streams.items()}
    towers = [replace(tower, encoder=for_reading(tower.encoder)) for tower in towers]
    parts: dict[str, list[Encoded]] = {name: [] for name in streams}
    for start in range(0, len(prompts), batch_size):
        for name, part in _encode_batch(towers, prompts[start : start + batch_size], streams, brief):
            parts[name].append(part)
    return {name: Encoded.joined(some) for name, some in parts.items()}
