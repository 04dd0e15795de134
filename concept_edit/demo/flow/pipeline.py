"""The parts of `demo-flow` as one pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

from concept_edit import demo
from concept_edit.demo.flow.encoder import load_encoder, load_tokenizer

WEIGHTS = demo.WEIGHTS.parent / "flow_weights"
SIDE = 64
"""Pixels of a picture's side."""


def pipeline(*, verify: bool = True) -> ZImagePipeline:
    """The shipped model, in float32 on the CPU.

    Raises:
        ValueError: SmolLM2 is not installed, or a file is missing or damaged.
    """
    if verify:
        demo.verify_checksums(WEIGHTS)
    transformer = ZImageTransformer2DModel.from_pretrained(WEIGHTS / "transformer", torch_dtype=torch.float32)
    return assembled(transformer)


def assembled(transformer: ZImageTransformer2DModel) -> ZImagePipeline:
    """A transformer with the parts that are not trained."""
    made = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=2.0),
        vae=AutoencoderKL.from_pretrained(Path(demo.folder()) / "vae", shift_factor=0.0, torch_dtype=torch.float32),
        text_encoder=load_encoder(),
        tokenizer=load_tokenizer(),
        transformer=transformer.eval(),
    )
    made.set_progress_bar_config(disable=True)
    return made


def untrained(**changes: Any) -> ZImageTransformer2DModel:
    """The transformer's shape, with fresh weights."""
    shape: dict[str, Any] = {
        "in_channels": 16, "dim": 256, "n_layers": 3, "n_refiner_layers": 1, "n_heads": 8, "n_kv_heads": 8,
        "cap_feat_dim": 576, "axes_dims": [8, 12, 12], "axes_lens": [256, 32, 32],
    }  # fmt: skip
    return ZImageTransformer2DModel(**shape | changes)
