"""Where each row that a pipeline gives its denoiser comes from: which token of the prompt or of its template.

The pipeline is asked twice. The second time its text encoder is silent and every hidden state holds nothing but the
number of its token, so that whatever the pipeline drops, picks, pads or stacks is read off the answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from concept_edit.models.contract import NOTHING, PADDING, PREFIX, SUBJECT, SUFFIX

_BASE = 128
"""Token numbers are written as two digits, which bfloat16 holds exactly: the first and the last number of a state, so
that they stay so where states of several layers are joined or interleaved."""
_OWN = ("prompt", "negative", "image", "device", "embeds", "mask", "num_")
"""Arguments of `encode_prompt` that are not settings of the pipeline."""
_PROBE = "a"
"""A prompt of one token, beside the empty one: what both have in common is the template."""


@dataclass
class Heard:
    """What the text encoder was given, prompt by prompt."""

    ids: list[Tensor] = field(default_factory=list)
    real: list[Tensor] = field(default_factory=list)
    """Which of these tokens are no padding."""

    def tokens(self, index: int) -> list[int]:
        """A prompt's tokens with its template and without padding."""
        return [int(token) for token in self.ids[index][self.real[index]]]


def settings(pipeline: Any) -> dict[str, Any]:
    """What `pipeline(...)` itself gives its `encode_prompt` besides the prompt, unless told otherwise."""
    called = inspect.signature(type(pipeline).__call__).parameters
    asked = inspect.signature(pipeline.encode_prompt).parameters
    given = {name: called[name].default for name in asked if name in called and not any(w in name for w in _OWN)}
    given |= {"do_classifier_free_guidance": False} if "do_classifier_free_guidance" in asked else {}
    return given | ({"device": pipeline.text_encoder.device} if "device" in asked else {})


def ask(pipeline: Any, prompts: Sequence[str], given: dict[str, Any]) -> tuple[Any, ...]:
    """The answer of `encode_prompt`. Some pipelines write into the list they are given."""
    answer = pipeline.encode_prompt(list(prompts), **given)
    return answer if isinstance(answer, tuple) else (answer,)


def words_of(given: Any) -> Any:
    """A tokenizer, or a processor's own."""
    return given if hasattr(given, "get_vocab") else given.tokenizer


@contextmanager
def numbered(encoder: Any, pad: int | None, *, turned: bool = False, walked: bool = False) -> Iterator[Heard]:
    """Inside the block, the encoder's hidden states are the numbers of its tokens, from 1; it computes nothing.

    `turned`: its states stand tokens first, prompts second. `walked`: the pipeline goes through its layers by itself.
    """
    heard = Heard()
    config = words_config(encoder)

    def numbers(ids: Tensor, real: Tensor) -> Tensor:
        heard.ids += list(ids.cpu())
        heard.real += list(real.cpu())
        number = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        states = torch.zeros(*ids.shape, config.hidden_size, dtype=encoder.dtype, device=ids.device)
        states[..., 0], states[..., -1] = number // _BASE, number % _BASE
        return states

    def forward(input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **_: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        assert input_ids is not None
        real = attention_mask.bool() if attention_mask is not None else _between_pads(input_ids, pad)
        states = numbers(input_ids, real)
        states = states.transpose(0, 1) if turned else states
        return BaseModelOutput(last_hidden_state=states, hidden_states=(states,) * states_of(encoder))

    def embed(ids: Tensor) -> Tensor:
        return numbers(ids, _between_pads(ids, 0))

    def layer(states: Tensor, **_: Any) -> Tensor:
        return states

    with ExitStack() as stack:
        if walked:
            stack.enter_context(_instead(encoder.get_input_embeddings(), embed))
            for each in encoder.language_model.layers:
                stack.enter_context(_instead(each, layer))
        else:
            stack.enter_context(_instead(encoder, forward))
        yield heard


@contextmanager
def _instead(module: Any, forward: Any) -> Iterator[None]:
    """Inside the block the module does `forward`; what accelerate may have put in its place comes back."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def words_config(encoder: Any) -> Any:
    """The configuration of the part of an encoder that reads words."""
    return getattr(encoder.config, "text_config", encoder.config)


def states_of(encoder: Any) -> int:
    """How many hidden states it gives: its embedding's, and one a layer."""
    config = words_config(encoder)
    return (getattr(config, "num_hidden_layers", None) or config.num_layers) + 1


def _between_pads(ids: Tensor, pad: int | None) -> Tensor:
    """Everything but the pads at both ends, for pipelines that hide no padding from their encoder."""
    if pad is None:
        return torch.ones_like(ids, dtype=torch.bool)
    own = ids != pad
    return (own.flip(1).cumsum(1).flip(1) > 0) & (own.cumsum(1) > 0)


def places(rows: Tensor) -> Int[Tensor, " tokens"]:
    """Token numbers of one prompt's numbered rows, from 0; -1 where a row comes from no token."""
    digits = rows.reshape(len(rows), -1)[:, [0, -1]].round().long()
    return (digits[:, 0] * _BASE + digits[:, 1] - 1).cpu()


@dataclass(frozen=True)
class Template:
    """What every prompt is wrapped in."""

    empty: tuple[int, ...]
    """The tokens of the empty prompt."""
    after: int
    """How many of them follow the prompt."""

    @classmethod
    def of(cls, empty: Sequence[int], probe: Sequence[int]) -> Template:
        """What the empty prompt and one of a single token have in common at the end."""
        before = _common(empty, probe)
        after = min(_common(empty[::-1], probe[::-1]), len(empty) - before)
        return cls(tuple(empty), after)

    def own(self, tokens: Sequence[int]) -> tuple[int, int]:
        """Where a prompt's own tokens begin and end."""
        if tuple(tokens) == self.empty:
            return len(tokens) - self.after, len(tokens) - self.after
        before = min(_common(self.empty, tokens), len(self.empty) - self.after)
        after = min(_common(self.empty[::-1], tokens[::-1]), self.after, len(tokens) - before)
        return before, len(tokens) - after


def template_of(heard: Heard) -> Template:
    """From what the encoder was given for `PROBES`."""
    return Template.of(heard.tokens(0), heard.tokens(1))


PROBES = ("", _PROBE)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def kinds_of(
    places: Tensor, real: Tensor, own: tuple[int, int], heard: Tensor | None, *, hearing: bool = False
) -> Int[Tensor, " tokens"]:
    """What each row of one prompt is. Pads that stand before all else are the same in every prompt: template.

    `hearing`: unless they hear what follows them.
    """
    rank = (real.long().cumsum(0) - 1)[places.clamp(min=0)]
    kinds = torch.where(rank < own[0], PREFIX, torch.where(rank < own[1], SUBJECT, SUFFIX))
    kinds = torch.where(real[places.clamp(min=0)] | ((rank < 0) & (not hearing)), kinds, PADDING)
    silent = places < 0 if heard is None else (places < 0) | ~heard
    return torch.where(silent, NOTHING, kinds)
