"""One door for every kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.models.live import is_pipeline, open_live
from concept_edit.models.opened import OpenedModel

if TYPE_CHECKING:
    import torch


def open_model(source: Any, *, device: str = "cpu", dtype: torch.dtype | str | None = None) -> OpenedModel:
    """Open a text-to-image model for editing.

    `source`: "demo" (the embedded model), a hub id, a diffusers folder, a single `.safetensors` file in its family's
    original layout, or a live diffusers pipeline (which stays on its device and in its dtype).
    `device`: "cpu", "cuda", "cuda:1", "mps". `dtype`: "float32", "float16", "bfloat16"; None keeps the file's, but
    opens half precision in float32 on the CPU, where half is slow and less exact.
    Raises ValueError naming what is wrong with the source and what to do.
    """
    if is_pipeline(source):
        return open_live(source)
    from concept_edit.models.folder import open_folder
    from concept_edit.models.placement import placement

    place = placement(device, dtype)
    if isinstance(source, str) and source == "demo":
        from concept_edit import demo

        return open_folder(Path(demo.folder()), place, name="demo")
    path = Path(source)
    if path.is_dir():
        return open_folder(path, place, name=str(source))
    raise ValueError(f"{source} is neither 'demo', a diffusers folder nor a live pipeline.")
