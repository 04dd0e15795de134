"""Which layers of an unknown denoiser read the prompt: told by painting, not by names.

A few steps are taken from two prompts and two seeds. A layer whose input changes with the prompt, and neither with the
noise nor from step to step, reads nothing but the prompt: an edit of its matrix is exact at every step.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_PROMPTS = ("a cat", "the red village by the sea")
_STEPS = 2
_SHOWN = 6
_PLAINLY = {"use_resolution_binning": False, "enable_prompt_rewrite": False, "use_pe": False, "num_frames": 1}
"""What keeps pipelines from other sizes, other prompts and longer films than the given ones."""

Seen = Mapping[str, list[int]]
"""Layer -> a hash of its input at every call, in order."""


def prompt_readers(pipeline: Any, **settings: Any) -> tuple[str, ...]:
    """The linear layers of the pipeline's denoiser that read the prompt alone, as the denoiser names their weights.

    `settings` go to the pipeline, e.g. a small `height` and `width`.
    """
    cat, other = (_seen(pipeline, prompt, 0, settings) for prompt in _PROMPTS)
    noise = _seen(pipeline, _PROMPTS[0], 1, settings)
    return tuple(
        f"{name}.weight" for name in cat if cat[name] != other[name] and cat[name] == noise[name] and _still(cat[name])
    )


def _still(calls: list[int]) -> bool:
    """Whether a layer was given the same at every step."""
    each = len(calls) // _STEPS
    return all(calls[:each] == calls[step * each : (step + 1) * each] for step in range(_STEPS))


def _seen(pipeline: Any, prompt: str, seed: int, settings: Mapping[str, Any]) -> Seen:
    denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    seen: dict[str, list[int]] = defaultdict(list)

    def watch(name: str) -> Any:
        return lambda _, given: seen[name].append(_hash(given[0]))

    layers = [(name, part) for name, part in denoiser.named_modules() if isinstance(part, torch.nn.Linear)]
    hooks = [part.register_forward_pre_hook(watch(name)) for name, part in layers]
    given = {"num_inference_steps": _STEPS, "output_type": "latent", **_PLAINLY, **settings}
    taken = inspect.signature(type(pipeline).__call__).parameters
    try:
        with torch.no_grad():
            generator = torch.Generator("cpu").manual_seed(seed)
            pipeline(prompt=prompt, generator=generator, **{k: v for k, v in given.items() if k in taken})
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _hash(rows: Tensor) -> int:
    return hash(rows.detach().float().cpu().contiguous().numpy().tobytes())


def told(pipeline: Any) -> str:
    """A sentence about the readers of a pipeline of no known family."""
    try:
        found = prompt_readers(pipeline, height=256, width=256)
    except Exception as error:
        return f"its readers could not be found by painting with it ({type(error).__name__}: {error})"
    if not found:
        return "no layer of it reads the prompt alone, so that no edit of this kind is exact"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"layers that read the prompt alone: {', '.join(found[:_SHOWN])}{more}"
