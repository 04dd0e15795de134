"""Function vectors: what a task's heads say together, as one direction that can be added to a hidden state.

    vector = ce.function_vector(lm, task, heads.top(10))
    with vector.added(lm, layer=9):
        lm.complete(["Q: fast\\nA:"])
    (a + b - c).save("vector.safetensors")

Todd et al. 2024 (2310.15213), equation 5: v = Σ W_O[head] ā[head]; an output projection's bias, which belongs to no
head, is not in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.files import read_tensors, write_tensors
from concept_edit.language.tasks import Task
from concept_edit.search.head_effects import mean_heads
from concept_edit.search.hooks import Place, changed

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel

FORMAT = "concept-edit vector 1"


@dataclass(frozen=True, eq=False)
class FunctionVector:
    """A direction in a model's hidden state. Made by `function_vector`, by arithmetic, or by `FunctionVector.load`."""

    direction: Float[Tensor, " d_model"]
    """float32, on the CPU."""
    name: str
    """The task, or the sum it is: `a + b - c`."""
    model: str
    fingerprint: str
    """Of the model it belongs to."""
    heads: tuple[tuple[int, int], ...] = ()
    """(layer, head) that it was made of; empty for a sum of others."""

    @property
    def norm(self) -> float:
        """Euclidean."""
        return float(self.direction.norm())

    def cosine(self, other: FunctionVector) -> float:
        """Of the angle to another vector of the same model."""
        self._of_one_model(other)
        return float(torch.nn.functional.cosine_similarity(self.direction, other.direction, dim=0))

    def __add__(self, other: FunctionVector) -> FunctionVector:
        self._of_one_model(other)
        return self._made(self.direction + other.direction, f"{self.name} + {other._inner}")

    def __sub__(self, other: FunctionVector) -> FunctionVector:
        self._of_one_model(other)
        return self._made(self.direction - other.direction, f"{self.name} - {other._inner}")

    def __mul__(self, factor: float) -> FunctionVector:
        return self._made(self.direction * factor, f"{factor:g} {self._inner}")

    __rmul__ = __mul__

    def __neg__(self) -> FunctionVector:
        return self._made(-self.direction, f"-{self._inner}")

    @contextmanager
    def added(self, lm: LanguageModel, layer: int, strength: float = 1.0) -> Iterator[None]:
        """Inside the block, `strength` times the vector is added to the output of block `layer`, at the last token of
        each prompt. What follows a prompt is not touched: neither what the model says, token by token, nor the answer
        that is scored with it, however long. A text without an answer is a prompt to its end. Afterwards the model is
        as before, to the bit. Blocks nest.

        Raises:
            ValueError: another model, no such layer, or a vector that changes nothing.
        """
        self._belongs_to(lm)
        site = lm.site("hidden", layer)
        if strength == 0:
            yield
            return
        ends = _Ends(lm)
        direction = strength * self.direction

        def add(value: Tensor) -> Tensor:
            columns = ends.columns(value)
            if columns is not None:
                rows = torch.arange(len(value), device=value.device)
                value[rows, columns] += direction.to(value)
            return value

        with ends, changed(lm.model, {Place(site.module): add}, idle=True):
            yield

    @torch.no_grad()
    def decoded(self, lm: LanguageModel, count: int = 10) -> list[tuple[str, float]]:
        """The tokens that the vector alone says, through the model's last norm and unembedding, with probabilities."""
        self._belongs_to(lm)
        last = Place(lm.site("hidden", lm.layers - 1).module)
        with changed(lm.model, {last: lambda value: self.direction.to(value).expand_as(value).clone()}):
            logits = lm.logits(lm.encode(["a"]))[0, -1]
        found = logits.float().softmax(-1).topk(count)
        return [(lm.tokenizer.decode([int(i)]), float(p)) for i, p in zip(found.indices, found.values, strict=True)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write safetensors; the file is bound to the model."""
        told: dict[str, Any] = {"format": FORMAT, "name": self.name, "model": self.model}
        told |= {"fingerprint": self.fingerprint, "heads": [list(head) for head in self.heads]}
        write_tensors(path, {"direction": self.direction.contiguous()}, told)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FunctionVector:
        """Read what `save` wrote.

        Raises:
            ValueError: another file.
        """
        tensors, told = read_tensors(path, FORMAT)
        heads = tuple((int(a), int(b)) for a, b in told["heads"])
        return cls(tensors["direction"], told["name"], told["model"], told["fingerprint"], heads)

    @property
    def _inner(self) -> str:
        return f"({self.name})" if " + " in self.name or " - " in self.name else self.name

    def _made(self, direction: Tensor, name: str) -> FunctionVector:
        return replace(self, direction=direction, name=name, heads=())

    def _of_one_model(self, other: FunctionVector) -> None:
        if other.fingerprint != self.fingerprint:
            raise ValueError(f"{self.name} is a vector of {self.model}, {other.name} one of {other.model}")

    def _belongs_to(self, lm: LanguageModel) -> None:
        if lm.fingerprint != self.fingerprint:
            raise ValueError(f"{self.name} was made on {self.model}; the weights of {lm.name} are not the same")


def function_vector(
    lm: LanguageModel,
    task: Task,
    heads: Sequence[tuple[int, int]],
    *,
    prompts: int = 40,
    shots: int = 10,
    seed: int = 0,
) -> FunctionVector:
    """The vector of a task: the mean output of `heads` over `prompts` with examples, through the output projections.

    Raises:
        ValueError: no heads, heads the model does not have, or too few pairs.
    """
    return from_means(lm, mean_heads(lm, task.prompts(prompts, shots=shots, seed=seed)), heads, task.name)


def from_means(
    lm: LanguageModel, means: Float[Tensor, "layers heads d_head"], heads: Sequence[tuple[int, int]], name: str
) -> FunctionVector:
    """The vector of some heads' means.

    Raises:
        ValueError: no heads, or heads the model does not have.
    """
    chosen = tuple(dict.fromkeys((int(layer), int(head)) for layer, head in heads))
    wrong = [at for at in chosen if not (0 <= at[0] < lm.layers and 0 <= at[1] < lm.heads)]
    if not chosen or wrong:
        raise ValueError(
            f"a vector is made of (layer, head) of {lm.layers} layers with {lm.heads} heads; got {wrong or 'none'}"
        )
    width, total = means.shape[-1], torch.zeros(lm.width)
    for layer, head in chosen:
        columns = lm.matrix(lm.site("head", layer))[:, head * width : (head + 1) * width]
        total += columns.float().cpu() @ means[layer, head].float().cpu()
    return FunctionVector(total, name, lm.name, lm.fingerprint, chosen)


def random_vector(like: FunctionVector, *, seed: int = 0) -> FunctionVector:
    """The control: a direction by chance, of the same norm."""
    drawn = torch.randn(like.direction.shape, generator=torch.Generator().manual_seed(seed))
    return like._made(drawn / drawn.norm() * like.norm, f"random as {like.name}")


class _Ends:
    """Watches what goes into a model, to know in which column each prompt ends; None while it continues one."""

    def __init__(self, lm: LanguageModel):
        self._lm = lm
        self._columns: Tensor | None = None
        self._continues = False
        self._handle: Any = None

    def __enter__(self) -> _Ends:
        self._handle = self._lm.model.register_forward_pre_hook(self._look, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def columns(self, value: Tensor) -> Tensor | None:
        """Of each row of a hidden state, or None where no prompt ends in this pass."""
        if self._continues:
            return None
        if self._columns is not None and len(self._columns) == len(value):
            return self._columns.to(value.device)
        return torch.full((len(value),), value.shape[1] - 1, device=value.device)

    def _look(self, _: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        past = named.get("cache", named.get("past_key_values"))
        length = getattr(past, "get_seq_length", lambda: 0)()
        rows = next((named[k] for k in ("inputs_embeds", "input_ids") if named.get(k) is not None), None)
        rows = given[0] if rows is None and given else rows
        self._continues = bool(length) and rows is not None and rows.shape[1] == 1
        mask = named.get("attention_mask")
        self._columns = torch.tensor(self._lm.prompt_ends) if self._lm.prompt_ends else None
        if self._columns is None and isinstance(mask, Tensor) and mask.ndim == 2 and not length:
            places = torch.arange(mask.shape[1], device=mask.device)
            self._columns = (places * (mask != 0)).argmax(dim=1)
