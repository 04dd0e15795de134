"""What a single file lacks (tokenizer, text encoder, configuration) may be picked beside it: its companion.

A model's name on the page is a file's name, or `FILE + COMPANION`, so that what one visitor picks is another model than
what the others have open.
"""

from __future__ import annotations

from pathlib import Path

from ui.workshop.visit import EMBEDDED

_FILE, _PLUS = ".safetensors", " + "


def joined(file: str, companion: str) -> str:
    """The name of a file that is opened with a companion; '' leaves it to `open_model`."""
    return f"{file}{_PLUS}{companion}" if companion else file


def parted(name: str) -> tuple[str, str]:
    """File and companion of a model's name; a plus inside a file's own name parts nothing."""
    file, both, companion = name.partition(_FILE + _PLUS)
    return (file + _FILE, companion) if both else (name, "")


def offered(folder: Path | None) -> list[str]:
    """The companions that are here: the embedded model, and the diffusers folders of the checkpoint folder."""
    found = [] if folder is None else sorted(path.parent.name for path in folder.glob("*/model_index.json"))
    return [EMBEDDED, *found]


def source_of(folder: Path | None, companion: str) -> str | Path:
    """What `open_model` takes as the companion.

    Raises:
        ValueError: neither one of `offered` nor a hub id.
    """
    from concept_edit import demo
    from concept_edit.models.files.hub import is_hub_id

    if companion == EMBEDDED:
        return demo.folder()
    if folder is not None and companion in offered(folder):
        return folder / companion
    if is_hub_id(companion) and not companion.startswith(".") and not Path(companion).exists():
        return companion
    raise ValueError(
        f"{companion!r} is neither a folder of this server nor a hub id (owner/name); choose one from the list"
    )
