"""Whether a model folder's configurations can be those of its weights: asked of headers, before anything is allocated.

A configuration is a stranger's. One that names a width of a million makes a library allocate terabytes, one that names
a negative width or a word ends somewhere deep inside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concept_edit.models.files.weights_files import Weights, part
from concept_edit.reading.plain import read_object, short

_LAYERS = frozenset({
    "num_hidden_layers", "num_layers", "num_decoder_layers", "num_single_layers", "layers_per_block",
    "transformer_layers_per_block",
})  # fmt: skip
_SIZES = _LAYERS | {
    "hidden_size", "intermediate_size", "d_model", "d_ff", "d_kv", "head_dim", "vocab_size", "projection_dim",
    "num_attention_heads", "num_key_value_heads", "num_heads", "attention_head_dim", "max_position_embeddings",
    "relative_attention_num_buckets", "cross_attention_dim", "joint_attention_dim", "pooled_projection_dim",
    "caption_projection_dim", "block_out_channels", "in_channels", "out_channels", "latent_channels", "sample_size",
    "patch_size", "norm_num_groups", "addition_time_embed_dim", "projection_class_embeddings_input_dim",
    "pos_embed_max_size", "num_train_timesteps",
}  # fmt: skip
_MOST, _MOST_LAYERS, _MOST_LISTED = 1 << 20, 1024, 64
_PACKED = 4
"""Quantised files store several numbers as one."""
_CONFIGS = ("config.json", "scheduler_config.json")


def check_folder(folder: Path) -> None:
    """Refuse a diffusers folder with a configuration that no weights could have, or that its own cannot.

    Raises:
        ValueError: a size that is no whole number from 0 up, or too large; the file and the key are named.
    """
    for name in _CONFIGS:
        for path in sorted(folder.glob(f"*/{name}")):
            check_part(path)


def check_part(path: Path) -> None:
    """As `check_folder`, for one configuration file and the weights beside it."""
    config = read_object(path, finite=False)
    for name, value in _sizes(config):
        _refuse_size(path, name, value)
    if any(path.parent.glob("*.safetensors")):
        room = _PACKED * stored_numbers(part(path.parent))
        for asked, what in _least(config):
            if asked > room:
                raise ValueError(
                    f"{path} asks for {asked:,} numbers ({what}), and the weights beside it hold {room // _PACKED:,}; "
                    "is it another model's? Fetch it again."
                )


def stored_numbers(weights: Weights) -> int:
    """How many numbers weights hold, by their header."""
    return sum(math.prod(weights.shape(name)) for name in weights.where)


def refuse_larger(outline: Any, weights: Weights, path: Path) -> None:
    """Refuse a module without data, built from the configuration at `path`, that is larger than its weights.

    Raises:
        ValueError: with both sizes.
    """
    asked, there = sum(value.numel() for value in outline.parameters()), stored_numbers(weights)
    if asked > _PACKED * there:
        raise ValueError(
            f"{path} describes {asked:,} numbers, and the weights beside it hold {there:,}; fetch it again."
        )


def _sizes(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every size in a configuration and in those within it."""
    for name, value in config.items():
        if name in _SIZES:
            yield name, value
        elif isinstance(value, dict):
            yield from _sizes(value)


def _refuse_size(path: Path, name: str, value: Any) -> None:
    listed = value if isinstance(value, list) else [value]
    if len(listed) > _MOST_LISTED:
        raise ValueError(f"{path}: {name} lists {len(listed)} numbers, more than any model has levels; fetch it again.")
    for number in listed:
        if isinstance(number, list):
            _refuse_size(path, name, number)
        elif number is not None and (type(number) is not int or number < 0):
            raise ValueError(f"{path}: {name} is {short(value)}; expected a whole number from 0 up. Fetch it again.")
        elif number is not None and number > (_MOST_LAYERS if name in _LAYERS else _MOST):
            raise ValueError(f"{path}: {name} is {short(value)}, more than any model has; fetch it again.")


def _least(config: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Numbers that the weights of a transformer have at least, by its configuration, and of how many what."""
    width = _number(config, "hidden_size", "d_model")
    inner, layers = _number(config, "intermediate_size", "d_ff"), _number(config, "num_hidden_layers", "num_layers")
    yield width * _number(config, "vocab_size"), "vocabulary times width"
    yield width * inner * layers, "width times inner width times layers"
    channels = config.get("block_out_channels")
    widest = max((n for n in channels if isinstance(n, int)), default=0) if isinstance(channels, list) else 0
    yield 9 * widest * widest, "a convolution of the widest level"
    yield widest * _number(config, "cross_attention_dim"), "channels times the width of a text row"
    for inside in config.values():
        if isinstance(inside, dict):
            yield from _least(inside)


def _number(config: Mapping[str, Any], *names: str) -> int:
    return next((config[name] for name in names if isinstance(config.get(name), int)), 0)
