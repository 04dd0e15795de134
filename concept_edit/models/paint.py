"""Prompts and seeds into images, through a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from PIL.Image import Image


def paint(
    pipeline: Any,
    pairs: Sequence[tuple[str, int]],
    *,
    negative_prompt: str | None,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
    options: Mapping[str, Any],
) -> list[Image]:
    """One image per (prompt, seed) pair; each has a CPU generator of its own, so batches do not matter."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give 1 or more.")
    images: list[Image] = []
    with torch.no_grad(), _quiet(pipeline):
        for start in range(0, len(pairs), batch_size):
            images += _batch(pipeline, pairs[start : start + batch_size], negative_prompt, options)
            if progress is not None:
                progress(len(images), len(pairs))
    return images


def _batch(
    pipeline: Any, pairs: Sequence[tuple[str, int]], negative_prompt: str | None, options: Mapping[str, Any]
) -> list[Image]:
    given = dict(options)
    if negative_prompt is not None:
        given["negative_prompt"] = [negative_prompt] * len(pairs)
    generators = [torch.Generator("cpu").manual_seed(seed) for _, seed in pairs]
    return list(pipeline(prompt=[prompt for prompt, _ in pairs], generator=generators, **given).images)


@contextmanager
def _quiet(pipeline: Any) -> Iterator[None]:
    """Hold back the pipeline's own progress bar: library code prints nothing."""
    before = getattr(pipeline, "_progress_bar_config", {})
    pipeline.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipeline.set_progress_bar_config(**before)
