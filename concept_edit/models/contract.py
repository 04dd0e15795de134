"""What the editor knows of a model: its text streams, the matrices that read them, and how to encode a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from concept_edit.models.families import Family

if TYPE_CHECKING:
    from PIL.Image import Image

PREFIX, SUBJECT, SUFFIX, PADDING, NOTHING = range(5)
"""What a row of text is; `NOTHING` where the denoiser hears no such row."""


@dataclass(frozen=True)
class Site:
    """One text-side matrix of the denoiser."""

    name: str
    """Full state-dict name in the denoiser, e.g. `mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight`."""
    stream: str
    """The text stream it reads."""
    role: str
    """`k`, `v`, `context` or `pooled`."""
    columns: int | None = None
    """Only the first `columns` input columns read the text (SDXL's `add_embedding.linear_1`); None means all."""


@dataclass(frozen=True)
class Encoded:
    """One stream's answer to some prompts, float32 on the CPU."""

    rows: Float[Tensor, "prompts tokens d_text"]
    """What the denoiser's text-side matrices multiply. Pooled streams have one token."""
    subject: Bool[Tensor, "prompts tokens"]
    """True on the prompt's own tokens: not on BOS, EOS or padding. Pooled: True."""
    eos: Int[Tensor, " prompts"]
    """Index of EOS (pooled: 0). The last subject token is `eos - 1`; for '' in CLIP that is the BOS row, 0."""
    cut: tuple[str, ...]
    """Per prompt, the text the tokenizer's length cut off; '' when none."""
    pooled: bool
    """Whether this stream is one pooled vector per prompt."""
    second_eos: Int[Tensor, " prompts"] | None = None
    """SD3 only: the EOS index of the T5 part, whose tokens follow CLIP's in `rows`."""
    suffix: Int[Tensor, " prompts"] | None = None
    """Rows of the template that follow the prompt's own tokens, from `eos` on. None: one, EOS itself."""
    length: Int[Tensor, " prompts"] | None = None
    """Rows that the denoiser hears; what follows them only fills the rectangle. None: all."""

    @property
    def kinds(self) -> Int[Tensor, "prompts tokens"]:
        """What each row is: `PREFIX` (BOS, template), `SUBJECT`, `SUFFIX` (template, EOS), `PADDING` or `NOTHING`."""
        places = torch.arange(self.rows.shape[1])[None]
        ends = [self.eos] if self.second_eos is None else [self.eos, self.second_eos]
        kinds = torch.full(self.rows.shape[:2], PREFIX)
        for eos in ends:
            after = torch.ones_like(eos) if self.suffix is None else self.suffix
            kinds[places >= eos[:, None]] = SUFFIX
            kinds[places >= (eos + after)[:, None]] = PADDING
        kinds[self.subject] = SUBJECT
        return kinds if self.length is None else kinds.masked_fill(places >= self.length[:, None], NOTHING)

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        """The prompts of several answers of one stream, in order; shorter rectangles are filled up."""
        longest = max(part.rows.shape[1] for part in parts)

        def numbers(name: str) -> Tensor | None:
            found = [getattr(part, name) for part in parts]
            return None if any(value is None for value in found) else torch.cat(found)

        def filled(name: str, *fill: int) -> Tensor:
            found = [getattr(part, name) for part in parts]
            return torch.cat([torch.nn.functional.pad(v, (*fill, 0, longest - v.shape[1])) for v in found])

        return cls(
            rows=filled("rows", 0, 0),
            subject=filled("subject"),
            eos=torch.cat([part.eos for part in parts]),
            cut=tuple(text for part in parts for text in part.cut),
            pooled=parts[0].pooled,
            second_eos=numbers("second_eos"),
            suffix=numbers("suffix"),
            length=numbers("length"),
        )


class Model(Protocol):
    """A text-to-image model as the editor sees it. `open_model` makes one."""

    name: str
    family: Family
    streams: dict[str, int]
    sites: tuple[Site, ...]
    shapes: dict[str, tuple[int, ...]]

    @property
    def fingerprint(self) -> str:
        """Hex hash of the text encoders' weights and tokenizers."""

    @property
    def pipeline(self) -> Any:
        """The diffusers pipeline; loaded on first use."""

    def encode(self, prompts: Sequence[str], *, batch_size: int = 32, brief: bool = False) -> dict[str, Encoded]:
        """Encode `prompts` into every stream. `brief`: without pads that no prompt of a batch needs, where the others'
        rows do not depend on them."""

    @property
    def reads_briefly(self) -> bool:
        """Whether its text encoders read a short prompt in little time."""

    def weights(self) -> dict[str, Tensor]:
        """Site name -> the live tensor; writing into it changes what `generate` paints."""

    def matrix(self, name: str) -> Tensor:
        """One of `weights` to read, without bringing the others into memory."""

    @property
    def arithmetic(self) -> str:
        """What the last bits of rows depend on, e.g. `cpu float32`."""

    def generate(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int],
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        batch_size: int = 8,
        progress: Callable[[int, int], None] | None = None,
        size: int | None = None,
    ) -> list[Image]:
        """One image per prompt and seed."""
