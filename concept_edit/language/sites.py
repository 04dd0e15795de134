"""Where to read and write in a language model, found by its structure and by the order its layers run in.

No table of architectures: a block is what holds an attention; its output projection is the last linear layer that runs
inside the attention, its MLP's down projection the last one that runs outside of it, both as wide as the hidden state.
So GPT-2, Llama, Qwen, Gemma, GPT-NeoX, Phi, OLMo and CLIP's text encoder are found alike, also where attention and MLP
stand side by side (GPT-NeoX, Phi), or a norm follows each (Gemma 2, OLMo 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["hidden", "memory", "mlp", "head", "attention"]
KINDS: tuple[Kind, ...] = ("hidden", "memory", "mlp", "head", "attention")


@dataclass(frozen=True)
class Site:
    """One place of one block."""

    kind: Kind
    """`hidden`: the block's output, the only one that may come as a tuple. `memory`: the keys, input of the MLP's down
    projection; `mlp`: the values, its output. `head`: input of the attention's output projection, heads side by side;
    `attention`: its output."""
    layer: int
    """Number of the block, from 0."""
    module: str
    """Name of the module under the model's root."""
    side: Literal["input", "output"]
    """Which side of the module holds it."""
    width: int


@dataclass(frozen=True)
class Structure:
    """What the finder saw."""

    sites: tuple[Site, ...]
    """Block after block, in the order of `KINDS`."""
    layers: int
    embedding: str
    """Name of the module whose output is the token embeddings."""


def find_structure(model: nn.Module, run: Callable[[], object]) -> Structure:
    """Find the sites of `model`; `run` sends a few tokens through it once, without gradients.

    Raises:
        ValueError: no blocks with attention, or one whose MLP or attention does not end in one linear layer.
    """
    listed, blocks = _blocks(model)
    order = _order(blocks, run)
    sites = [site for number, block in enumerate(blocks) for site in _sites(listed, number, block, order)]
    return Structure(tuple(sites), len(blocks), _embedding(model))


def is_linear(module: nn.Module) -> bool:
    """A matrix with an input and an output: `nn.Linear`, or GPT-2's Conv1D, which stores in x out."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def as_matrix(module: nn.Module) -> Tensor:
    """The module's weight as out x in; a view, so that writing into it changes the model."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight if isinstance(module, nn.Linear) else weight.T


def _blocks(model: nn.Module) -> tuple[str, list[nn.Module]]:
    """The longest list of modules that all hold an attention, and its name."""
    lists = [(name, list(m)) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    found = [(name, blocks) for name, blocks in lists if all(_attention(block) for block in blocks)]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no list of blocks with attention; give a causal transformer of transformers"
        )
    return max(found, key=lambda pair: len(pair[1]))


def _attention(block: nn.Module) -> str:
    """Name of the block's attention, '' for none."""
    for name, child in block.named_children():
        called = f"{name} {type(child).__name__}".lower()
        if "att" in called and any(is_linear(module) for module in child.modules()):
            return name
    return ""


def _order(blocks: list[nn.Module], run: Callable[[], object]) -> dict[nn.Module, tuple[int, int, int]]:
    """Linear layer -> its turn, and its input's and output's width."""
    seen: dict[nn.Module, tuple[int, int, int]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = (len(seen), inputs[0].shape[-1], output.shape[-1])

    linear = [module for block in blocks for module in block.modules() if is_linear(module)]
    handles = [module.register_forward_hook(note) for module in linear]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _sites(listed: str, layer: int, block: nn.Module, order: dict[nn.Module, tuple[int, int, int]]) -> list[Site]:
    prefix, attention = f"{listed}.{layer}", _attention(block)
    ran = sorted((order[m], name) for name, m in block.named_modules() if m in order)
    inside = [(turn, name) for turn, name in ran if name.startswith(f"{attention}.")]
    outside = [(turn, name) for turn, name in ran if not name.startswith(f"{attention}.")]
    for what, part in (("attention", inside), ("MLP", outside)):
        if not part:
            raise ValueError(
                f"the {what} of {prefix} ({type(block).__name__}) ends in no linear layer of its own; mixtures of "
                "experts and fused or quantised layers are not supported"
            )
    ((_, d_heads, d_model), out), ((_, d_key, same), down) = inside[-1], outside[-1]
    if d_model != same:
        raise ValueError(
            f"{prefix}.{out} writes {d_model} numbers and {prefix}.{down} {same}: these end no block alike"
        )
    out, down = f"{prefix}.{out}", f"{prefix}.{down}"
    return [
        Site("hidden", layer, prefix, "output", d_model),
        Site("memory", layer, down, "input", d_key),
        Site("mlp", layer, down, "output", d_model),
        Site("head", layer, out, "input", d_heads),
        Site("attention", layer, out, "output", d_model),
    ]


def _embedding(model: nn.Module) -> str:
    """The first embedding table with the most rows: of tokens, not of positions."""
    tables = [(name, m.num_embeddings) for name, m in model.named_modules() if isinstance(m, nn.Embedding)]
    if not tables:
        raise ValueError(f"{type(model).__name__} has no token embedding")
    return max(tables, key=lambda pair: pair[1])[0]
