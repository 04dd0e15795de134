"""Prompts and seeds into images, through a diffusers pipeline."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from PIL.Image import Image


_SEEDS = 2**63
"""torch's generators take seeds below this."""


def pairs_of(prompts: str | Sequence[str], seeds: int | Sequence[int]) -> list[tuple[str, int]]:
    """Prompts and seeds side by side; a single one of either is repeated.

    Raises:
        ValueError: no prompt or no seed, a prompt that is no text, a seed that is no whole number from 0 up, or
            lengths that differ.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    numbers = [_seed(seed) for seed in ([seeds] if isinstance(seeds, (int, float)) else seeds)]
    if not texts or not numbers:
        raise ValueError(f"{len(texts)} prompts and {len(numbers)} seeds were given; give at least one of each.")
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no prompt; give a text.")
    count = max(len(texts), len(numbers))
    texts = texts * count if len(texts) == 1 else texts
    numbers = numbers * count if len(numbers) == 1 else numbers
    if not len(texts) == len(numbers) == count:
        raise ValueError(
            f"{len(texts)} prompts and {len(numbers)} seeds do not pair up; give as many of each, or one of either."
        )
    return list(zip(texts, numbers, strict=True))


def _seed(given: object) -> int:
    try:
        seed = operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        seed = -1
    if isinstance(given, bool) or not 0 <= seed < _SEEDS:
        raise ValueError(f"{given!r} is no seed; expected a whole number from 0 to 2^63 - 1.")
    return seed


def check_options(steps: int | None, guidance_scale: float | None) -> None:
    """Refuse a number of steps below 1 and a guidance scale that is negative or no number."""
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"{steps!r} steps; expected a whole number from 1 up, such as 20.")
    if guidance_scale is not None and not (math.isfinite(guidance_scale) and guidance_scale >= 0):
        raise ValueError(f"guidance scale {guidance_scale!r}; expected a number from 0 up, such as 7.5.")


def paint(
    pipeline: Any,
    pairs: Sequence[tuple[str, int]],
    *,
    negative_prompt: str | None,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
    options: Mapping[str, Any],
) -> list[Image]:
    """One image per (prompt, seed) pair; each has a CPU generator of its own, so batches do not matter.

    Of a video that is its first frame; what is transparent is laid on white."""
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
    answer = pipeline(prompt=[prompt for prompt, _ in pairs], generator=generators, **given)
    made = answer.images if hasattr(answer, "images") else answer[0]
    return [_opaque(each[0] if isinstance(each, list) else each) for each in made]


def _opaque(image: Image) -> Image:
    """A picture with transparency laid on white, as a viewer shows it."""
    from PIL import Image

    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


@contextmanager
def _quiet(pipeline: Any) -> Iterator[None]:
    """Hold back the pipeline's own progress bar: library code prints nothing."""
    before = getattr(pipeline, "_progress_bar_config", {})
    pipeline.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipeline.set_progress_bar_config(**before)
