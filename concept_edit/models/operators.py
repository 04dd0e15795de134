"""A torchvision whose compiled operators do not fit torch, as a CUDA build beside a CPU build: made to import."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.library import Library

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def mend_torchvision() -> None:
    """Let such a torchvision be imported, and with it open_clip, LPIPS and every pipeline of diffusers.

    On import it describes two operators that its library should have declared, and fails with "operator
    torchvision::nms does not exist". Their schemas are declared instead; the operators themselves stay missing, and
    nothing here uses them. Does nothing where torchvision is absent, already imported, or whole.
    """
    spec = None if "torchvision" in sys.modules else find_spec("torchvision")
    if spec is not None and spec.origin is not None and not _loads(Path(spec.origin).parent):
        _declared()


def _loads(folder: Path) -> bool:
    """Whether torchvision's library can be loaded into this torch; torchvision itself would load it next."""
    import torch

    try:
        for path in sorted(folder.glob("_C*.so")) + sorted(folder.glob("_C*.pyd")):
            torch.ops.load_library(str(path))
            return True
    except OSError:
        return False
    return False


@cache
def _declared() -> Library:
    """The schemas, which live as long as this object."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    return library
