"""CLIPs of other makers as the two towers that score and label; read from files, never fetched."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from concept_edit.models.operators import mend_torchvision

if TYPE_CHECKING:
    from PIL.Image import Image

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""How open_clip calls weights on the hub."""


class TransformersClip:
    """A CLIP in transformers' format: a folder, or a hub id that is in the local cache."""

    def __init__(self, source: str | os.PathLike[str], *, device: str = "cpu") -> None:
        mend_torchvision()
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

        try:
            model: Any = CLIPModel.from_pretrained(source, local_files_only=True)
            self.tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
            self.processor = CLIPImageProcessor.from_pretrained(source, local_files_only=True)
        except OSError as error:
            raise ValueError(f"there is no CLIP at {source}; fetch it first: hf download {source}") from error
        self.model = model.to(device).eval()
        self.device = device
        self.name = f"CLIP {Path(source).name} ({getattr(self.model.config, '_commit_hash', None) or 'local'})"

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Float[Tensor, "prompts d_joint"]:
        """Unit vectors of prompts."""
        length = self.model.config.text_config.max_position_embeddings
        given = self.tokenizer(list(prompts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        found = self.model.get_text_features(**given.to(self.device))
        return F.normalize(_vector(found), dim=-1).cpu()

    @torch.no_grad()
    def images(self, images: Sequence[Image]) -> Float[Tensor, "images d_joint"]:
        """Unit vectors of pictures."""
        given = self.processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
        return F.normalize(_vector(self.model.get_image_features(given["pixel_values"].to(self.device))), dim=-1).cpu()


class OpenClip:
    """A model of open_clip (extra `[clip]`); `pretrained` is a file, or a tag whose weights are in the local cache.

    Raises:
        ValueError: the extra is not installed, an architecture or a tag that open_clip does not know, weights that are
            not there or do not fit.
    """

    def __init__(self, architecture: str, pretrained: str | os.PathLike[str], *, device: str = "cpu") -> None:
        package = _open_clip()
        if architecture not in package.list_models():
            raise ValueError(f"open_clip knows no model {architecture!r}; `open_clip.list_models()` names them")
        path, about = _weights(package, architecture, str(pretrained))
        seen = {"image_mean": about.get("mean"), "image_std": about.get("std")}
        seen |= {"image_interpolation": about.get("interpolation"), "image_resize_mode": about.get("resize_mode")}
        try:
            made = package.create_model_and_transforms(
                architecture, pretrained=str(path), device=device, force_quick_gelu=about.get("quick_gelu", False),
                **seen,
            )  # fmt: skip
            self.tokenizer = package.get_tokenizer(architecture)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path.name} holds no weights of open_clip's {architecture} ({_first(error)})") from error
        self.model, self.transform, self.device = made[0].eval(), made[2], device
        self.name = f"open_clip {package.__version__} {architecture} {_called(str(pretrained), path)}"

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Float[Tensor, "prompts d_joint"]:
        """Unit vectors of prompts."""
        return F.normalize(self.model.encode_text(self.tokenizer(list(prompts)).to(self.device)), dim=-1).float().cpu()

    @torch.no_grad()
    def images(self, images: Sequence[Image]) -> Float[Tensor, "images d_joint"]:
        """Unit vectors of pictures."""
        pixels = torch.stack([self.transform(image.convert("RGB")) for image in images]).to(self.device)
        return F.normalize(self.model.encode_image(pixels), dim=-1).float().cpu()


def _open_clip() -> Any:
    mend_torchvision()
    try:
        import open_clip
    except ImportError as error:
        raise ValueError("open_clip is not installed; pip install 'concept-edit[clip]'") from error
    return open_clip


def _weights(package: Any, architecture: str, pretrained: str) -> tuple[Path, Mapping[str, Any]]:
    """The file of weights, and how its pictures are prepared."""
    if Path(pretrained).is_file():
        return Path(pretrained), {}
    about = package.get_pretrained_cfg(architecture, pretrained)
    if not about:
        known = ", ".join(package.list_pretrained_tags_by_model(architecture)) or "none"
        raise ValueError(f"{pretrained} is neither a file nor a tag of open_clip's {architecture} (it knows {known})")
    from huggingface_hub import try_to_load_from_cache

    repository = about.get("hf_hub", "").strip("/")
    found = [try_to_load_from_cache(repository, name) for name in _HUB_FILES] if repository else []
    path = next((Path(name) for name in found if isinstance(name, str)), None)
    if path is None:
        told = f"fetch {_HUB_FILES[0]}: hf download {repository}" if repository else "give the file of its weights"
        raise ValueError(f"the weights of open_clip's {architecture} {pretrained} are not in the local cache; {told}")
    return path, about


def _called(pretrained: str, path: Path) -> str:
    """A tag as it is; a file by its name and what is in it."""
    from concept_edit.demo import sha256

    return pretrained if path != Path(pretrained) else f"{path.name} ({sha256(path)[:12]})"


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _vector(found: Any) -> Tensor:
    return found if isinstance(found, Tensor) else found.pooler_output
