"""What a row of the table says: the text encoders of a family, and which matrices of its denoiser read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Tower:
    """One text encoder of a pipeline, and what the denoiser takes from it."""

    encoder: str
    """Component name in the pipeline, e.g. `text_encoder_2`."""
    tokenizer: str
    kind: Literal["clip", "clip_projection", "t5", "asked"]
    """`asked`: the pipeline's own `encode_prompt` is called, whatever the encoder; see `Route`."""
    hidden: int | None = None
    """Which hidden state feeds the text stream: -1 the normalised last, -2 the one before; None: it feeds none."""
    pooled: str | None = None
    """Name of the output that feeds the pooled stream."""
    length: int | None = None
    """Tokens a prompt is padded to; None: the tokenizer's own length."""
    optional: bool = False
    """Whether the pipeline also runs without this tower."""


@dataclass(frozen=True)
class Reader:
    """Which state-dict names of the denoiser read which stream."""

    pattern: str
    stream: str
    r"""A group of the pattern may stand in it, as `\1`."""
    role: str
    leading: bool = False
    """Whether the text fills the first columns only (SDXL: 1,280 pooled, then the time ids)."""


@dataclass(frozen=True)
class Route:
    """From a pipeline's `encode_prompt` to the readers, where no more than that is known of the encoder."""

    modules: tuple[str, ...]
    """Modules of the denoiser that the rows pass in turn; a reader inside the last one ends the way."""
    rows: int = 0
    """Which part of the answer of `encode_prompt` holds the rows."""
    mask: int | None = None
    """Which part tells the rows that the denoiser hears; None: it hears all."""
    fused: bool = False
    """Whether the first module takes that mask too."""
    alone: bool = False
    """Whether prompts are asked for one by one: the pipeline pads to the longest of a batch and hears the pads."""
    glm: bool = False
    """Whether the encoder is ChatGLM: its states stand tokens first, and pads before a prompt hear all of it."""
    pooled: int | Literal["mean"] | None = None
    """Which part is the pooled vector; `mean`: the denoiser takes the mean of the rows it hears."""
    tower: int = 0
    """Which tower of the family is asked."""
    layers: Callable[[Mapping[str, Any], int], Sequence[int]] | None = None
    """From the denoiser's configuration and the number of the encoder's hidden states to those that each reach a reader
    of their own."""
    also: Route | None = None
    """The way of other rows in the same answer, whose reader is the next one."""
    stream: str = ""
    """What the rows of a way are called; else `text`, and numbered on where there are several."""
    walked: bool = False
    """Whether the pipeline goes through the encoder's layers by itself, behind pads that are tokens of number 0."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `encode_prompt` whose defaults are not what a solve asks for."""
    vae: bool = False
    """Whether the pipeline cannot be made without its autoencoder."""
    picture: int = 0
    """Side of the blank picture that stands beside every prompt, for pipelines whose template wants one."""
    beside: str = ""
    """Pattern of further layers that move with the prompt alone, before or after the readers, and are left alone."""


@dataclass(frozen=True)
class Family:
    """A row of the table: all that differs between one kind of model and another."""

    name: str
    title: str
    classes: str
    """Pattern of the diffusers pipeline class names that belong to it, each spelt out."""
    pipeline: str
    """The diffusers class that paints from text."""
    denoiser: str
    """Component name: `unet` or `transformer`."""
    denoiser_class: str
    towers: tuple[Tower, ...]
    readers: tuple[Reader, ...]
    negative_prompt: bool = True
    route: Route | None = None
    """How rows reach the readers in pipelines that are asked for them."""
    plainly: Mapping[str, Any] = field(default_factory=dict)
    """What keeps the pipeline to the given prompt, one frame and any number of steps."""
    unedited: str = ""
    """A sentence about what else reads the prompt and is left as it is."""


def readers_of(family: Family, names: Iterable[str]) -> dict[str, Reader]:
    """State-dict names of the denoiser that read text, sorted, each with its reader."""
    found = {}
    for name in sorted(names):
        for reader in family.readers:
            match = re.fullmatch(reader.pattern, name)
            if match:
                found[name] = replace(reader, stream=match.expand(reader.stream))
    return found
