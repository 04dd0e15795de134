"""The embedded CLIP: cosine between a picture and a prompt, the CLIP score of Hessel et al. (2021) before scaling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from concept_edit.demo.judge import as_pictures
from concept_edit.models.operators import mend_torchvision

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import CLIPModel


class ClipScore:
    """Both towers. The text tower's weights are the pipeline's own text encoder; `vision` holds the rest."""

    def __init__(self, pipeline: Path, vision: Path) -> None:
        mend_torchvision()
        from transformers import CLIPTokenizer

        self.tokenizer = CLIPTokenizer.from_pretrained(pipeline / "tokenizer", local_files_only=True)
        self.clip = joined(pipeline / "text_encoder", vision).eval()

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Float[Tensor, "prompts d_joint"]:
        """Unit vectors of prompts."""
        tokens = self.tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        return F.normalize(self.clip.get_text_features(**tokens).pooler_output, dim=-1)

    @torch.no_grad()
    def images(self, images: Sequence[Image]) -> Float[Tensor, "images d_joint"]:
        """Unit vectors of pictures of any size."""
        return F.normalize(self.clip.get_image_features(pixel_values=as_pictures(images)).pooler_output, dim=-1)

    def __call__(self, prompts: Sequence[str], images: Sequence[Image]) -> Float[Tensor, " pairs"]:
        """Cosine of each prompt with its picture."""
        return (self.texts(prompts) * self.images(images)).sum(dim=-1)


def joined(text_encoder: Path, vision: Path) -> CLIPModel:
    """One CLIPModel from the pipeline's text encoder and the file with the image tower and both projections."""
    from safetensors.torch import load_file
    from transformers import CLIPConfig, CLIPModel

    model = CLIPModel(CLIPConfig.from_pretrained(vision, local_files_only=True))
    state = load_file(vision / "image_tower.safetensors")
    for name, value in load_file(text_encoder / "model.safetensors").items():
        state["text_model." + name.removeprefix("text_model.")] = value
    missing, foreign = model.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
    missing = [name for name in missing if not name.endswith("position_ids")]
    if missing or foreign:
        raise ValueError(f"{vision} and {text_encoder} do not make one CLIP: {(missing + foreign)[0]}.")
    return model
