"""A folder for the hub: the edit, its LoRA, the recipe and a card that says what it does and what it does not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from concept_edit.edit import Edit
from concept_edit.export.lora import WrittenLora, export_lora
from concept_edit.export.target import free_folder
from concept_edit.files import replace_file
from concept_edit.models.contract import Model

_LIMITS = """- A linear edit of the text-side matrices. It suppresses a concept; the weights still know it.
- Whoever holds the files can take a LoRA off or undo the edit. A control for a service needs the baked checkpoint.
- Wordings that the recipe does not name, other languages and adversarial prompts can still reach the concept."""


@dataclass(frozen=True)
class Pushed:
    """What went to the hub, or would go."""

    repo: str
    folder: Path
    files: tuple[str, ...]
    url: str | None
    """Where it is; None after a dry run."""


def push(
    edit: Edit,
    model: Model,
    repo: str,
    folder: str | os.PathLike[str],
    *,
    base_model: str | None = None,
    measured: Mapping[str, str | float] | None = None,
    licence: str = "mit",
    private: bool = True,
    dry_run: bool = False,
) -> Pushed:
    """Write `folder` (edit file, LoRA, recipe, README.md as model card) and upload it as `repo` ("owner/name").

    `base_model`: hub id of the model the edit belongs to; None: the edit's own model. `measured`: figures for the card,
    e.g. {"named on images of the erased style": "3 %"}. `dry_run` writes the folder and asks no network.

    Raises:
        ValueError: a name that is no hub id, or a model with another text encoder.
        OSError: the folder holds files already, or the hub cannot be reached or refuses.
    """
    _check_repo(repo)
    edit.check(model)
    target = free_folder(folder)
    target.mkdir(exist_ok=True)
    lora = export_lora(edit, model, target / f"{repo.split('/')[1]}.safetensors", licence=licence)
    edit.save(target / "edit.safetensors")
    edit.recipe.save(target / "recipe.yaml")
    card = model_card(edit, lora, base_model or edit.model, measured or {}, licence)
    replace_file(target / "README.md", card.encode())
    url = None if dry_run else _upload(target, repo, private)
    return Pushed(repo, target, tuple(sorted(path.name for path in target.iterdir())), url)


def _check_repo(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"{repo!r} is no hub id: {error}") from error
    if repo.count("/") != 1:
        raise ValueError(f"{repo!r} is no hub id to push to; expected owner/name")


def _upload(folder: Path, repo: str, private: bool) -> str:
    from huggingface_hub import HfApi

    api = HfApi()
    url = api.create_repo(repo, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo, folder_path=folder)
    return str(url)


def model_card(
    edit: Edit, lora: WrittenLora, base_model: str, measured: Mapping[str, str | float], licence: str
) -> str:
    """The card: base model and relation, recipe, measured effect, limits."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=licence, library_name="diffusers", tags=["concept-edit", "lora", "concept-erasure"],
        base_model=base_model, base_model_relation="adapter",
    )  # fmt: skip
    rows = {"LoRA rank": lora.rank, "LoRA error, relative to the change": f"{lora.error:.1e}", **measured}
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    images = "" if measured else "\n\nThe effect on images was not measured for this card."
    return f"""---
{data.to_yaml()}
---

# Concept edit: {", ".join(edit.concepts)}

A closed-form edit of {base_model}: {len(edit.concepts)} concepts, made by concept-edit {edit.toolkit}.

- `{lora.path.name}`: LoRA for {base_model} and every checkpoint that shares its text encoder ({lora.naming} naming).
- `edit.safetensors`: the edit itself; `recipe.yaml`: what was asked.

## Recipe

```yaml
{edit.recipe.to_yaml().strip()}
```

## Measured

| what | value |
|---|---|
{table}{images}

## Limits

{_LIMITS}

Text encoder: `{edit.fingerprint}`
"""
