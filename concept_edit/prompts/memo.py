"""A model that is asked the same prompts several times in one piece of work, and encodes each once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, cast

from torch import Tensor

from concept_edit.models.contract import Encoded, Model

_BYTES = 256 * 2**20
"""Rows that are held at most; beyond, the prompts asked for longest ago are encoded again."""


def remembering(model: Model) -> Model:
    """`model` with a memory of what its text encoders said. For one piece of work: the encoders must not change in it.

    A prompt is encoded in the batch in which it is first asked for, so last bits can differ from another batch's.
    """
    return cast(Model, _Remembering(model))


class _Remembering:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._said: OrderedDict[str, dict[str, Encoded]] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, prompts: Sequence[str], *, batch_size: int = 32, brief: bool = False) -> dict[str, Encoded]:
        """As the model's own; what is asked for briefly is not remembered."""
        if brief:
            return self._model.encode(prompts, batch_size=batch_size, brief=True)
        listed = [prompts] if isinstance(prompts, str) else list(prompts)
        missing = [prompt for prompt in dict.fromkeys(listed) if prompt not in self._said]
        if missing or not listed:
            new = self._model.encode(missing, batch_size=batch_size)
            if not listed:
                return new
            for index, prompt in enumerate(missing):
                self._said[prompt] = {name: _one(part, index) for name, part in new.items()}
        found = [self._said[prompt] for prompt in listed]
        for prompt in listed:
            self._said.move_to_end(prompt)
        self._forget(found[0])
        return {name: Encoded.joined([said[name] for said in found]) for name in found[0]}

    def _forget(self, example: dict[str, Encoded]) -> None:
        size = sum(part.rows.numel() * part.rows.element_size() for part in example.values())
        while len(self._said) > max(1, _BYTES // size):
            self._said.popitem(last=False)


def _one(part: Encoded, index: int) -> Encoded:
    """Prompt number `index` alone, in memory of its own."""
    here = slice(index, index + 1)
    held = ((field.name, getattr(part, field.name)) for field in fields(Encoded))
    own: dict[str, Any] = {name: value[here].clone() for name, value in held if isinstance(value, Tensor)}
    return replace(part, cut=part.cut[here], **own)
