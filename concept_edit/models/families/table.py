"""All rows, and which of them a pipeline is of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from concept_edit.models.families import known_encoders, one_reader, several_readers
from concept_edit.models.families.row import Family

FAMILIES: dict[str, Family] = {row.name: row for row in (*known_encoders.ROWS, *one_reader.ROWS, *several_readers.ROWS)}


def family_of(pipeline_class: str, denoiser_config: Mapping[str, Any]) -> Family:
    """The row of a diffusers pipeline class.

    SD 1.x and 2.x share their classes; 2.x alone projects its attention blocks with linear layers.
    """
    rows = [row for row in FAMILIES.values() if re.fullmatch(row.classes, pipeline_class)]
    if not rows:
        raise ValueError(
            f"{pipeline_class} is of no family this toolkit edits; expected one of: "
            + ", ".join(row.title for row in FAMILIES.values())
            + "; of a modular pipeline give its parts as the plain one" * ("Modular" in pipeline_class)
        )
    if len(rows) == 1:
        return rows[0]
    return FAMILIES["sd2" if denoiser_config.get("use_linear_projection") else "sd1"]
