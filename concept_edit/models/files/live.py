"""A diffusers pipeline that is already in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from concept_edit.models.encode import OpenTower
from concept_edit.models.families import Family, Tower, family_of
from concept_edit.models.files.asked import refuse_two
from concept_edit.models.files.folder import channels_of, layers_of
from concept_edit.models.opened import OpenedModel
from concept_edit.models.probe import told
from concept_edit.models.route import OpenRoute


def is_pipeline(source: Any) -> bool:
    """Whether `source` looks like a diffusers pipeline (told without importing diffusers)."""
    return hasattr(source, "components") and hasattr(source, "set_progress_bar_config")


def open_live(pipeline: Any, *, name: str = "", defaults: Mapping[str, Any] | None = None) -> OpenedModel:
    """Wrap a live pipeline; it stays where it is, in the dtype it has.

    `name` is the pipeline's own where none is given, and so are the options it paints with (`defaults`).
    """
    kind = type(pipeline).__name__
    denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    try:
        family = family_of(kind, getattr(denoiser, "config", {}))
    except ValueError as error:
        raise ValueError(f"{error}; {told(pipeline)}") from error
    if getattr(pipeline, family.denoiser, None) is None:
        raise ValueError(f"This {kind} has no {family.denoiser}; give a complete {family.title} pipeline.")
    refuse_two(kind, family, getattr(pipeline, f"{family.denoiser}_2", None))
    config = getattr(denoiser, "config", {})
    about: dict[str, Any] = {"layers": layers_of(config), "channels": channels_of(config)}
    towers = _towers(pipeline, family)
    route = None if family.route is None else OpenRoute(family, pipeline, getattr(pipeline, family.denoiser))
    known = name or _name(pipeline, kind)
    return OpenedModel(known, family, towers, pipeline=pipeline, defaults=defaults, route=route, **about)


def _name(pipeline: Any, kind: str) -> str:
    return str(getattr(pipeline.config, "_name_or_path", None) or pipeline.config.get("_name_or_path") or kind)


def _towers(pipeline: Any, family: Family) -> list[OpenTower]:
    towers = []
    for spec in family.towers:
        encoder, tokenizer = getattr(pipeline, spec.encoder, None), getattr(pipeline, spec.tokenizer, None)
        if encoder is not None and tokenizer is not None:
            _refuse_foreign(spec, encoder, family)
            towers.append(OpenTower(spec, encoder, tokenizer))
        elif not spec.optional:
            missing = spec.encoder if encoder is None else spec.tokenizer
            raise ValueError(
                f"This {type(pipeline).__name__} has no {missing}; {family.title} needs it to read prompts."
            )
    return towers


_OWN = {"clip": "projection_dim", "clip_projection": "projection_dim", "t5": "d_model"}
"""What the configuration of such an encoder has, and those of language models have not."""


def _refuse_foreign(spec: Tower, encoder: Any, family: Family) -> None:
    if spec.kind in _OWN and not hasattr(encoder.config, _OWN[spec.kind]):
        raise ValueError(
            f"The {spec.encoder} of this {family.title} is a {type(encoder).__name__}, where "
            f"{'T5' if spec.kind == 't5' else 'CLIP'} was expected; give it the text encoder that it was trained with."
        )
