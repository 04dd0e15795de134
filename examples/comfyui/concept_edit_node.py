# SPDX-License-Identifier: MIT
"""A ComfyUI node that applies an edit or gate file of concept-edit to a CONDITIONING.

Put this file into `ComfyUI/custom_nodes/` and edit files into `ComfyUI/models/concept_edits/`; the node is called
"Concept Edit". Place it between "CLIP Text Encode" and the sampler, on both the positive and the negative prompt.

Every matrix that reads the text sees h + strength · left (right h) in place of h, which is what the edit does to the
weights: exact where the matrix reads the rows themselves (SD 1.x, SD 2.x, SDXL, SD 3.x, FLUX.1). Where the model has a
norm between the text encoder and that matrix, edits are solved behind the norm, and this node does not fit: use the
exported LoRA there. A gate (method `gated`) acts on rows anyway; this is the place for it.
"""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from safetensors import safe_open

FORMAT = "concept-edit 1"
WIDTH, EDGE, SHUT = 0.02, 0.01, 1e-3
"""How soft a gate opens, in cosine and in shares of a way; opened less than the last it is shut."""
FOLDER = "concept_edits"


def read_edit(path: str) -> dict[str, dict[str, torch.Tensor]]:
    """Stream (`text`, `pooled`) -> its tensors: `left` and `right` of an edit, `gate.*` of a gate.

    Raises:
        ValueError: not an edit file.
    """
    with safe_open(path, "pt") as file:
        said = json.loads((file.metadata() or {}).get("concept_edit", "{}")).get("format")
        if said != FORMAT:
            raise ValueError(
                f"{path} is not an edit file of concept-edit ({said!r}); solve one with concept-edit erase"
            )
        found: dict[str, dict[str, torch.Tensor]] = {}
        for name in file.keys():  # noqa: SIM118
            stream, _, part = name.partition(".")
            if stream != "statistics":
                found.setdefault(stream, {})[part] = file.get_tensor(name).float()
    return found


def moved(rows: torch.Tensor, parts: dict[str, torch.Tensor], strength: float) -> torch.Tensor:
    """Rows (... x d_text) after the edit, in their own dtype.

    Raises:
        ValueError: rows of another width than the edit was solved for.
    """
    width = len(parts["gate.mean"]) if "gate.mean" in parts else parts["left"].shape[0]
    if rows.shape[-1] != width:
        raise ValueError(f"the edit is for text rows of width {width}, these have {rows.shape[-1]}: another model's")
    held = {name: part.to(rows.device) for name, part in parts.items()}
    h = rows.reshape(-1, rows.shape[-2] if rows.ndim > 2 else 1, width).float()
    after = gated(h, held, strength) if "gate.ways" in held else h + strength * (h @ held["right"].T) @ held["left"].T
    return after.reshape(rows.shape).to(rows.dtype)


def gated(h: torch.Tensor, parts: dict[str, torch.Tensor], strength: float) -> torch.Tensor:
    """Prompts x tokens x d_text after a gate.

    h + strength ρ (t − c) for the erased row c that h is nearest to, ρ the opening; then by the gate's map, which also
    moves the other rows of a prompt that was let through.
    """
    if not len(parts["gate.thresholds"]):
        return h
    told = h - parts["gate.mean"]
    if "gate.pressed" in parts:
        told = told - (told @ parts["gate.pressed"]) @ parts["gate.pressed"].T
    near = torch.nn.functional.normalize(told, dim=-1) @ parts["gate.sources"].T
    over, which = (near - parts["gate.thresholds"]).max(dim=-1)
    opened = opening(over / WIDTH)[..., None]
    moves = opened * parts["gate.ways"][which]
    if "gate.right" in parts and parts["gate.right"].shape[0]:
        way = (h @ parts["gate.right"].T) @ parts["gate.left"].T
        share = way.norm(dim=-1, keepdim=True) / parts["gate.reach"][0]
        lack = parts["gate.lack"] * over.clamp(max=0)[..., None] if "gate.lack" in parts else 0.0
        told = opening((share + lack - parts["gate.reach"][1]) / EDGE)
        length = told / share.clamp(SHUT, 1)
        if h.shape[1] > 1:
            length = length + (1 - told) * torch.maximum(opened, told).amax(dim=1, keepdim=True)
        moves = moves + (1 - opened) * length * way
    return h + strength * moves


def opening(over: torch.Tensor) -> torch.Tensor:
    """The sigmoid, 0 where it is hardly open."""
    opened = torch.sigmoid(over)
    return torch.where(opened > SHUT, opened, torch.zeros_like(opened))


def applied(conditioning: list[Any], edit: dict[str, dict[str, torch.Tensor]], strength: float) -> list[Any]:
    """A CONDITIONING with its rows and pooled vector moved; the given one is left as it is.

    Raises:
        ValueError: as `moved`.
    """
    found = []
    for rows, more in conditioning:
        told = dict(more)
        if "pooled" in edit and told.get("pooled_output") is not None:
            told["pooled_output"] = moved(told["pooled_output"], edit["pooled"], strength)
        found.append([moved(rows, edit["text"], strength) if "text" in edit else rows, told])
    return found


def files() -> list[str]:
    """Edit files in ComfyUI's models folder."""
    import folder_paths

    place = os.path.join(folder_paths.models_dir, FOLDER)
    os.makedirs(place, exist_ok=True)
    folder_paths.add_model_folder_path(FOLDER, place)
    return [name for name in folder_paths.get_filename_list(FOLDER) if name.endswith(".safetensors")]


class ConceptEdit:
    """CONDITIONING in, CONDITIONING out."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "apply"
    CATEGORY = "conditioning"
    DESCRIPTION = (
        "Applies an edit, slider or gate file of concept-edit to a prompt. Exact on SD 1.x, 2.x, XL, 3.x and FLUX.1; "
        "not for models with a norm before the text is read (Z-Image, Qwen-Image): use the exported LoRA there."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """What the node asks for."""
        slider = {"default": 1.0, "min": -5.0, "max": 5.0, "step": 0.05}
        return {"required": {"conditioning": ("CONDITIONING",), "edit": (files(),), "strength": ("FLOAT", slider)}}

    def apply(self, conditioning: list[Any], edit: str, strength: float) -> tuple[list[Any]]:
        """The node's work."""
        import folder_paths

        path = folder_paths.get_full_path(FOLDER, edit)
        return (applied(conditioning, read_edit(path), strength),)


NODE_CLASS_MAPPINGS = {"ConceptEdit": ConceptEdit}
NODE_DISPLAY_NAME_MAPPINGS = {"ConceptEdit": "Concept Edit"}
