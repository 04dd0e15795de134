"""What the rows of pipelines that are asked for their encoder's rows have in common."""

from __future__ import annotations

from typing import Any

from concept_edit.models.families.row import Family, Reader, Route, Tower


def asked(name: str, title: str, classes: str, denoiser_class: str, route: Route, **more: Any) -> Family:
    """A row of a transformer with one text encoder, and one pipeline that paints from text, unless `more` says
    otherwise. `classes`: without `Pipeline` at their end."""
    row: dict[str, Any] = {
        "pipeline": denoiser_class.removesuffix("Transformer2DModel") + "Pipeline",
        "denoiser": "transformer",
        "towers": (tower(),),
    }
    return Family(name, title, rf"{classes}Pipeline", denoiser_class=denoiser_class, route=route, **(row | more))


def tower(number: str = "") -> Tower:
    """A text encoder that the pipeline runs itself."""
    return Tower(f"text_encoder{number}", f"tokenizer{number}", "asked")


def reader(layer: str, stream: str = "text", role: str = "context", **more: Any) -> Reader:
    """The matrix of a layer."""
    return Reader(rf"{layer}\.weight", stream, role, **more)
