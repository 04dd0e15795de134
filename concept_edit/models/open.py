"""One door for every kind of model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.models.files.folder import open_folder
from concept_edit.models.files.hub import hub_folder, is_hub_id
from concept_edit.models.files.live import is_pipeline, open_live
from concept_edit.models.files.single_file import open_single_file
from concept_edit.models.files.weights_files import GGUF, PICKLED
from concept_edit.models.opened import OpenedModel
from concept_edit.models.operators import mend_torchvision
from concept_edit.models.placement import Placement, placement
from concept_edit.reading.plain import one_sentence

if TYPE_CHECKING:
    import torch


def open_model(
    source: Any,
    *,
    device: str = "auto",
    dtype: torch.dtype | str | None = None,
    companion: str | Path | None = None,
) -> OpenedModel:
    """Open a text-to-image model for editing.

    `source`: "demo" (the embedded model), "demo-flow" (the embedded Z-Image; extra `[flow]`), a hub id, a diffusers
    folder, a single `.safetensors` file in its family's original layout (of ComfyUI's split files the denoiser's, with
    its text encoder in `text_encoders/` beside its own folder), or a live diffusers pipeline (which stays on its device
    and in its dtype).
    `device`: "auto" (cuda where there is one, else mps, else cpu), "cpu", "cuda", "cuda:1" or "mps". It paints there;
    what a solve reads is encoded in float32 on the CPU, so that an edit has the same bits on every device.
    `dtype`: "float32", "float16", "bfloat16"; None keeps the file's, but opens half precision in float32 on the CPU,
    where half is slow and less exact (language models as encoders stay as they are: they are large).
    `companion`: a diffusers folder or hub id that has what a single file lacks: text encoders, tokenizers, autoencoder,
    or the configuration of an unusual architecture.
    Raises ValueError naming what is wrong with the source and what to do.
    """
    mend_torchvision()
    if is_pipeline(source):
        with one_sentence(f"This {type(source).__name__}", "opened"):
            return open_live(source)
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"{type(source).__name__} is no model; give a name, a path or a diffusers pipeline.")
    place = placement(device, dtype)
    with one_sentence(source, "opened"):
        return _opened(source, place, companion)


def _opened(source: str | os.PathLike[str], place: Placement, companion: str | Path | None) -> OpenedModel:
    path = Path(source)
    if str(source) == "demo":
        from concept_edit import demo

        return open_folder(Path(demo.folder()), place, name="demo")
    if str(source) == "demo-flow":
        from concept_edit.demo import flow

        return open_live(flow.shipped(place), name="demo-flow", defaults=flow.DEFAULTS)
    if path.is_dir():
        return open_folder(path, place, name=str(source))
    if path.is_file() or path.suffix in (".safetensors", GGUF, *PICKLED):
        return open_single_file(path, place, companion=None if companion is None else _folder(companion))
    return open_folder(_folder(source), place, name=str(source))


def _folder(source: str | os.PathLike[str]) -> Path:
    if Path(source).is_dir():
        return Path(source)
    if not is_hub_id(str(source)):
        raise ValueError(
            f"{source} is neither 'demo' or 'demo-flow', nor a hub id (owner/name), nor a folder or file that exists."
        )
    return hub_folder(str(source))
