"""Image models behind one contract: Stable Diffusion 1.x to 3.5, FLUX.1, and those whose encoder is a language model.

`open_model` takes the embedded model, a hub id, a folder, a single file or a live pipeline. A model opened for a solve
holds its text encoders, tokenizers and text-side matrices only; the rest is loaded when the first image is asked for.
"""

from concept_edit.models.contract import Encoded, Model, Site
from concept_edit.models.families import FAMILIES, Family
from concept_edit.models.open import open_model

__all__ = ["FAMILIES", "Encoded", "Family", "Model", "Site", "open_model"]
