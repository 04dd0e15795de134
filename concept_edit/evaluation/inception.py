"""Inception's features of pictures, with which KID and FID are the published distances (extra `[eval]`)."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.models.operators import mend_torchvision

if TYPE_CHECKING:
    from PIL.Image import Image

_FILE = "weights-inception-2015-12-05-6726825d.pth"
_WHERE = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
_BATCH = 16


class Inception:
    """torch-fidelity's InceptionV3, converted from the TensorFlow weights of Heusel et al. 2017: 2048 numbers each.

    `weights` is its file; None: where torch.hub keeps it. Nothing is fetched.

    Raises:
        ValueError: the extra is not installed, or a file that is not there or holds something else.
    """

    def __init__(self, weights: str | os.PathLike[str] | None = None) -> None:
        mend_torchvision()
        try:
            import torch_fidelity
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ValueError("Inception needs torch-fidelity: pip install 'concept-edit[eval]'") from error
        path = cached(_FILE) if weights is None else Path(weights)
        if not path.is_file():
            raise ValueError(f"Inception's weights are missing: put {_WHERE}{_FILE} at {path}")
        try:
            torch.load(path, map_location="cpu", weights_only=True)  # The package would run what a pickle says.
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"{path} does not hold Inception's weights; fetch {_WHERE}{_FILE} again") from error
        from concept_edit.demo import sha256

        self.name = f"Inception of torch-fidelity {torch_fidelity.__version__} ({sha256(path)[:12]})"

    @torch.no_grad()
    def images(self, images: Sequence[Image]) -> Float[Tensor, "images 2048"]:
        """The last pooling layer's features."""
        arrays = [torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) for image in images]
        parts = [torch.stack(arrays[i : i + _BATCH]) for i in range(0, len(arrays), _BATCH)]
        return torch.cat([self.network(part)[0] for part in parts]) if parts else torch.zeros(0, 2048)


def cached(name: str) -> Path:
    """Where torch.hub keeps a file of weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / name
