"""Hub ids: the local cache first, the network only when the model is not there."""

from __future__ import annotations

import re
from pathlib import Path


def is_hub_id(source: str) -> bool:
    """Whether `source` has the form owner/name."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None


def cached(repo: str) -> Path | None:
    """The folder of a hub model in the local cache, None when it is not there. Never asks the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def hub_folder(repo: str) -> Path:
    """The folder of a hub model, fetched when it is not cached. Runs no code of the repository."""
    folder = cached(repo)
    if folder is not None and (folder / "model_index.json").is_file():
        return folder
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(repo, use_safetensors=True))
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"{repo} is not in the hub cache and cannot be fetched ({reason}); check the name, or fetch it where there "
            f"is a network: hf download {repo}"
        ) from error
