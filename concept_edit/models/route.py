"""Rows of pipelines whose encoder is a language model: asked for, and caught where the readers take them in.

The pipeline's own `encode_prompt` is called and the denoiser's own modules lead to the reader, so that templates,
dropped prefixes, stacked layers, norms and fusions are never copied. The rest of the denoiser need not be in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from textwrap import shorten
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from concept_edit.models.contract import NOTHING, PADDING, PREFIX, SUBJECT, SUFFIX, Encoded
from concept_edit.models.families import Family, Route, readers_of
from concept_edit.models.provenance import (
    PROBES,
    Heard,
    Template,
    ask,
    kinds_of,
    numbered,
    places,
    settings,
    states_of,
    template_of,
    words_of,
)
from concept_edit.reading.plain import sentence

_PADS = 9
"""Pads of a prompt that are kept at most, evenly spaced from the first to the last: each hears all of the prompt and
differs from its neighbours by its place alone."""


class _Caught(Exception):  # noqa: N818
    """Carries rows out of a denoiser that stops before its reader."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = rows


@dataclass(frozen=True)
class _Answer:
    """What the denoiser would be given for some prompts."""

    rows: Sequence[Tensor]
    """Prompt by prompt; not all of them are heard."""
    mask: Bool[Tensor, "prompts tokens"] | None
    pooled: Float[Tensor, "prompts d_pooled"] | None


class OpenRoute:
    """A family's `Route` with the pipeline that is asked and the denoiser (or its first modules) that is passed."""

    def __init__(
        self, family: Family, pipeline: Any, denoiser: torch.nn.Module, way: Route | None = None, first: int = 0
    ) -> None:
        way = way or family.route
        assert way is not None
        self.family, self.pipeline, self.denoiser, self.way = family, pipeline, denoiser, way
        config: Any = denoiser.config
        self.layers: list[int] = [0] if way.layers is None else list(way.layers(config, states_of(self.encoder)))
        """Layers of the encoder that reach readers of their own."""
        numbers = range(first, first + len(self.layers))
        self.names = [way.stream] if way.stream else ["text" if i == 0 else f"text {i}" for i in numbers]
        """The streams they are."""
        self.also: OpenRoute | None = None
        """The way of other rows in the same answer."""
        if way.also is not None:
            other = replace(way.also, alone=way.alone, given=way.given)
            self.also = OpenRoute(family, pipeline, denoiser, other, numbers.stop)
        self.settings = settings(pipeline) | dict(way.given) | self.picture

    @property
    def encoder(self) -> Any:
        """The text encoder."""
        return getattr(self.pipeline, self.family.towers[self.way.tower].encoder)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer; a processor's own where the pipeline has a processor."""
        return words_of(getattr(self.pipeline, self.family.towers[self.way.tower].tokenizer))

    @property
    def picture(self) -> dict[str, Any]:
        """The blank picture beside a prompt, grey, as an argument; empty where no template wants one."""
        from PIL import Image

        side = self.way.picture
        return {"image": Image.new("RGB", (side, side), "grey")} if side else {}

    @cached_property
    def template(self) -> Template:
        """What prompts are wrapped in."""
        return template_of(self.numbers(PROBES)[1])

    @property
    def _glm(self) -> bool:
        return self.way.glm

    def _numbered(self) -> AbstractContextManager[Heard]:
        return numbered(self.encoder, self.tokenizer.pad_token_id, turned=self._glm, walked=self.way.walked)

    def numbers(self, prompts: Sequence[str]) -> tuple[list[Int[Tensor, " tokens"]], Heard]:
        """The token that each row comes from, and all that the encoder was given."""
        size, found = 1 if self.way.alone else len(prompts), list[Tensor]()
        with torch.no_grad(), self._numbered() as heard:
            for i in range(0, len(prompts), size):
                found += [places(rows) for rows in self._asked(prompts[i : i + size]).rows]
        return found, heard

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch_size: int) -> dict[str, Encoded]:
        """Every stream's rows for `prompts`, `batch_size` prompts at a time."""
        size = 1 if self.way.alone else batch_size
        batches = [prompts[i : i + size] for i in range(0, len(prompts), size)]
        ways = [self] if self.also is None else [self, self.also]
        found: list[list[_Batch]] = [[] for _ in ways]
        for batch in batches:
            answer = self._told(batch)
            for way, parts in zip(ways, found, strict=True):
                parts.append(way._batch(batch, answer))
        return {k: v for way, parts in zip(ways, found, strict=True) for k, v in way._streams(parts).items()}

    def _told(self, prompts: Sequence[str]) -> tuple[Any, ...]:
        """What the pipeline answers; some refuse a long prompt instead of cutting it."""
        try:
            return ask(self.pipeline, prompts, self.settings)
        except ValueError as error:
            longest = max(prompts, key=len)
            raise ValueError(
                f"{self.family.title} does not take {shorten(longest, 60)!r} ({sentence(error)}); shorten it"
            ) from error

    def _streams(self, found: Sequence[_Batch]) -> dict[str, Encoded]:
        text = _joined([prompt for batch in found for prompt in batch.prompts])
        parts = text.rows.chunk(len(self.layers), dim=-1)
        streams = {name: replace(text, rows=rows) for name, rows in zip(self.names, parts, strict=True)}
        if self.way.pooled is not None:
            rows = torch.cat([batch.pooled for batch in found if batch.pooled is not None])
            streams["pooled"] = _pooled(rows.float().cpu(), text.cut)
        return streams

    def widths(self) -> dict[str, int]:
        """Numbers a row of each stream has where it reaches the readers.

        Raises:
            ValueError: an encoder whose rows the denoiser's modules do not take.
        """
        try:
            with torch.no_grad(), self._numbered():
                answer = self._asked([""])
                given = dict.fromkeys(self.names, int(self._caught(answer)[0].shape[-1]) // len(self.layers))
                given |= {} if answer.pooled is None else {"pooled": int(answer.pooled.shape[-1])}
                return given | ({} if self.also is None else self.also.widths())
        except Exception as error:
            raise ValueError(
                f"the text encoder does not fit the {self.family.denoiser} ({sentence(error)}): they do not belong "
                "together; give the pipeline the text encoder that it was trained with"
            ) from error

    def _batch(self, prompts: Sequence[str], given: tuple[Any, ...]) -> _Batch:
        numbers, heard = self.numbers(prompts)
        answer = self._answer(given)
        caught = self._caught(answer)
        found = []
        for index, prompt in enumerate(prompts):
            tokens, real = heard.tokens(index), heard.real[index]
            own = self.template.own(tokens)
            mask = None if answer.mask is None else answer.mask[index]
            kinds = kinds_of(numbers[index], real, own, mask, hearing=self._glm)
            cut = "" if not bool(real.all()) else self._cut(prompt, own[1] - own[0])
            found.append(_arranged(caught[index].float().cpu(), kinds, cut))
        return _Batch(found, answer.pooled)

    def _cut(self, prompt: str, own: int) -> str:
        """What did not fit in, of a prompt that left no padding."""
        ids = self.tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        return str(self.tokenizer.decode(ids[own:])) if len(ids) > own else ""

    def _asked(self, prompts: Sequence[str]) -> _Answer:
        return self._answer(ask(self.pipeline, prompts, self.settings))

    def _answer(self, answer: tuple[Any, ...]) -> _Answer:
        rows, mask = answer[self.way.rows], None if self.way.mask is None else answer[self.way.mask]
        rows = torch.cat([rows[layer] for layer in self.layers], dim=-1) if self.way.layers is not None else rows
        whole = self.way.pooled
        pooled = _mean(rows, mask) if whole == "mean" else None if whole is None else answer[whole]
        return _Answer(list(rows), None if mask is None else mask.bool().cpu(), pooled)

    def _caught(self, answer: _Answer) -> list[Tensor]:
        """Rows as the readers take them in, prompt by prompt; those of several layers, side by side, as they are."""
        if self.way.layers is not None:
            return list(answer.rows)
        alike = len({tuple(rows.shape) for rows in answer.rows}) == 1
        rows = torch.stack(list(answer.rows)) if alike else torch.cat(list(answer.rows))
        device, dtype = self._place(self.way.modules[0])
        named: dict[str, Any] = {}
        if self.way.fused and answer.mask is not None:
            named["attention_mask"] = answer.mask[:, None, None, :].to(device)
        caught = self._passed(rows.to(device, dtype), self.way.modules, named)
        return list(caught) if alike else list(caught.split([len(rows) for rows in answer.rows]))

    def _place(self, module: str) -> tuple[torch.device, torch.dtype]:
        """Norms may be kept in higher precision than what rows are given in."""
        there = [p for p in self.denoiser.get_submodule(module).parameters() if not p.is_meta]
        least = min(there, key=lambda p: p.dtype.itemsize, default=next(self.encoder.parameters()))
        return least.device, least.dtype

    def _passed(self, rows: Tensor, modules: Sequence[str], named: dict[str, Any]) -> Tensor:
        def caught(_: Any, given: tuple[Tensor, ...]) -> None:
            raise _Caught(given[0])

        readers = readers_of(self.family, (name for name, _ in self.denoiser.named_parameters()))
        hooks = [
            self.denoiser.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(caught)
            for name in readers
        ]
        try:
            for number, module in enumerate(modules):
                rows = self.denoiser.get_submodule(module)(rows, **(named if number == 0 else {}))
            return rows
        except _Caught as found:
            return found.rows
        finally:
            for hook in hooks:
                hook.remove()


def _mean(rows: Tensor, mask: Tensor | None) -> Tensor:
    """Over the rows that are heard, as the denoiser takes it."""
    heard = torch.ones_like(rows[..., :1]) if mask is None else mask[..., None].to(rows)
    return (rows * heard).sum(dim=1) / heard.sum(dim=1)


def _pooled(rows: Float[Tensor, "prompts d_pooled"], cut: tuple[str, ...]) -> Encoded:
    return Encoded(
        rows=rows[:, None],
        subject=torch.ones(len(rows), 1, dtype=torch.bool),
        eos=torch.zeros(len(rows), dtype=torch.long),
        cut=cut,
        pooled=True,
    )


@dataclass(frozen=True)
class _Prompt:
    """One prompt's rows in the order prefix, subject, suffix, padding."""

    rows: Float[Tensor, "tokens d_text"]
    kinds: Int[Tensor, " tokens"]
    cut: str


class _Batch(NamedTuple):
    """Some prompts that were asked for together."""

    prompts: list[_Prompt]
    pooled: Float[Tensor, "prompts d_pooled"] | None


def _arranged(rows: Tensor, kinds: Tensor, cut: str) -> _Prompt:
    """The rows that are heard; of a long padding a few, evenly spaced."""
    pads = (kinds == PADDING).nonzero().flatten()
    if len(pads) > _PADS:
        pads = pads[torch.linspace(0, len(pads) - 1, _PADS).round().long()]
    order = torch.cat([*((kinds == kind).nonzero().flatten() for kind in (PREFIX, SUBJECT, SUFFIX)), pads])
    return _Prompt(rows[order], kinds[order], cut)


def _joined(prompts: Sequence[_Prompt]) -> Encoded:
    length = torch.tensor([len(prompt.rows) for prompt in prompts])
    kinds = torch.nn.utils.rnn.pad_sequence([prompt.kinds for prompt in prompts], True, NOTHING)
    return Encoded(
        rows=torch.nn.utils.rnn.pad_sequence([prompt.rows for prompt in prompts], True),
        subject=kinds == SUBJECT,
        eos=((kinds == PREFIX) | (kinds == SUBJECT)).sum(dim=1),
        cut=tuple(prompt.cut for prompt in prompts),
        pooled=False,
        suffix=(kinds == SUFFIX).sum(dim=1),
        length=length,
    )
