"""The manifest of a release: what an edit starts from, what it is, and what it makes of a model, with hashes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from concept_edit.answer.digests import factor_digests
from concept_edit.edit import Edit
from concept_edit.identity import digest, tensor_digest
from concept_edit.models.contract import Model
from concept_edit.reading.plain import parse_json, read_bytes
from concept_edit.reading.schemas import told

MANIFEST_FORMAT = "concept-edit manifest 1"
EDIT, MANIFEST, HISTORY, PAGE = "edit.safetensors", "manifest.json", "history.jsonl", "report.html"
_MOST = 64 << 20
"""Bytes of a manifest, which holds a whole evaluation."""


@dataclass(frozen=True)
class Decision:
    """What was decided about the edit, and by whom."""

    text: str = "not decided"
    reviewers: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
    """Concepts of which no picture is shown."""
    rollback: str = ""
    """Command that brings the original back."""


class _Part(BaseModel):
    """What a part of a manifest must have; it may have more, which its hash covers."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Decision(_Part):
    text: str
    reviewers: list[str]
    barred: list[str]


class _Base(_Part):
    name: str
    family: str
    text_encoder: str
    matrices: dict[str, str]


class _Edit(_Part):
    recipe: dict[str, Any]
    recipe_sha256: str
    factors: dict[str, str]
    text_encoder: str
    strength: float


class _Result(_Part):
    matrices: dict[str, str]
    changed: list[dict[str, Any]]


class _Manifest(_Part):
    format: Annotated[str, Field(pattern=f"^{MANIFEST_FORMAT}$")]
    parent: str | None
    decision: _Decision
    model: _Base
    edit: _Edit
    result: _Result


def describe(model: Model, edit: Edit, strength: float = 1.0) -> dict[str, Any]:
    """What an edit starts from, what it is, and what it makes of the model, as plain data with hashes."""
    edit.check(model)
    base, others = matrices_of(model), _others(model)
    deltas, weights = edit.delta(model), model.weights()
    with edit.applied(model, strength):
        result, others_after = matrices_of(model), _others(model)
    if others != others_after:
        raise ValueError("a tensor that the edit does not name changed with it; the model is shared or broken")
    streams = {site.name: site.stream for site in edit.sites(model)}
    changed = [
        {
            "name": name,
            "relative_change": float(strength * deltas[name].norm() / weights[name].float().norm()),
            "rank": edit.rank(streams[name]),
        }
        for name in base
        if base[name] != result[name]
    ]
    recipe = json.loads(edit.recipe.compact())
    return {
        "model": {"name": model.name, "family": model.family.name, "text_encoder": model.fingerprint, "matrices": base},
        "edit": {
            "recipe": recipe,
            "recipe_sha256": digest(recipe),
            "factors": factor_digests(edit),
            "text_encoder": edit.fingerprint,
            "strength": strength,
        },
        "result": {"matrices": result, "changed": changed},
        "others": {"tensors": len(others), "sha256": digest(others), "identical": True},
    }


def read_manifest(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """A manifest and its SHA-256.

    Raises:
        ValueError: not a manifest, or a damaged one; the file is named.
        OSError: the file cannot be read.
    """
    data = read_bytes(path, most=_MOST)
    try:
        found = parse_json(data, "it", most=_MOST)
    except ValueError as error:
        raise ValueError(f"{path} is no manifest: {error}") from None
    if not isinstance(found, dict) or found.get("format") != MANIFEST_FORMAT:
        raise ValueError(f"{path} is no manifest of the format {MANIFEST_FORMAT!r}")
    try:
        _Manifest.model_validate(found)
    except ValidationError as error:
        raise ValueError(f"{path} is no whole manifest: {told(error)}") from None
    return found, hashlib.sha256(data).hexdigest()


def matrices_of(model: Model) -> dict[str, str]:
    """Hash of every matrix of `model` that reads text."""
    return {site.name: tensor_digest(model.matrix(site.name)) for site in model.sites}


def _others(model: Model) -> dict[str, str]:
    """Hash of every tensor of the pipeline that does not read text."""
    ours = {weight.data_ptr() for weight in model.weights().values()}
    parts = {name: part for name, part in model.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return {
        f"{name}.{key}": tensor_digest(value)
        for name, part in sorted(parts.items())
        for key, value in part.state_dict().items()
        if value.data_ptr() not in ours
    }
