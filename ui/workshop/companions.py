"""What a single file lacks (tokenizer, text encoder, configuration) may be picked beside it: its companion.

A model's name on the page is a file's name, or `FILE + COMPANION`, so that what one visitor picks is another model than
what the others have open.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ui.workshop.visit import EMBEDDED

if TYPE_CHECKING:
    from ui.workshop.session import Settings

_PLUS = " + "


def joined(file: str, companion: str) -> str:
    """The name of a file that is opened with a companion; '' leaves it to `open_model`."""
    return f"{file}{_PLUS}{companion}" if companion else file


def parted(name: str) -> tuple[str, str]:
    """File and companion of a model's name."""
    file, _, companion = name.partition(_PLUS)
    return file, companion


def offered(settings: Settings) -> list[str]:
    """The companions that are here: the embedded model, and the diffusers folders of the checkpoint folder."""
    folder = settings.checkpoint_folder
    found = [] if folder is None else sorted(path.parent.name for path in folder.glob("*/model_index.json"))
    return [EMBEDDED, *found]


def source_of(settings: Settings, companion: str) -> str | Path:
    """What `open_model` takes as the companion.

    Raises:
        ValueError: neither one of `offered` nor a hub id.
    """
    from concept_edit import demo
    from concept_edit.models.files.hub import is_hub_id

    if companion == EMBEDDED:
        return demo.folder()
    if companion in offered(settings) and settings.checkpoint_folder is not None:
        return settings.checkpoint_folder / companion
    if is_hub_id(companion) and not companion.startswith(".") and not Path(companion).exists():
        return companion
    raise ValueError(
        f"{companion!r} is neither a folder of this server nor a hub id (owner/name); choose one from the list"
    )
