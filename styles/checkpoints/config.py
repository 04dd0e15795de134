"""The configuration of a generator as a stranger's file stores it: types and bounds, before anything is built of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from styles.checkpoints.stored import UnsafeFileError
from styles.layers import GeneratorConfig
from styles.reading import checked, parse_json

MAX_RESOLUTION = 2048
Width = Annotated[int, Field(ge=1, le=65536)]


class _StoredConfig(BaseModel):
    """The fields of `GeneratorConfig`; all must be there."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    resolution: Annotated[int, Field(ge=4, le=MAX_RESOLUTION)]
    channels: Annotated[list[Width], Field(min_length=1, max_length=10)]
    z_dim: Annotated[int, Field(ge=0, le=65536)]
    w_dim: Width
    c_dim: Annotated[int, Field(ge=0, le=65536)]
    mapping_layers: Annotated[int, Field(ge=1, le=64)]
    mapping_width: Width | None
    mapping_lr: Annotated[float, Field(gt=0)]
    architecture: Literal["skip", "orig"]
    clamp: Annotated[float, Field(gt=0)] | None
    rgb: Annotated[int, Field(ge=1, le=64)]


def stored_config(text: str, name: str) -> GeneratorConfig:
    """The configuration in the header of a file that messages call `name`.

    Raises:
        UnsafeFileError: not JSON, a field that is missing, unknown, of another type or out of bounds.
    """
    try:
        found = checked(_StoredConfig, parse_json(text, "it"), "it")
        return GeneratorConfig(**{**found.model_dump(), "channels": tuple(found.channels)})
    except ValueError as error:
        raise UnsafeFileError(f"the configuration in {name} is damaged: {error}") from None
