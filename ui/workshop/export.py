"""What the Export tab does: one file each, written into the visitor's own folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ui.workshop.edit import fitting_version, title
from ui.workshop.session import News, Tell, Visit, Workshop

if TYPE_CHECKING:
    from concept_edit.export.sizes import Sizes
    from concept_edit.models.opened import OpenedModel
    from ui.workshop.versions import Version


@dataclass(frozen=True)
class Kind:
    """One file of the tab."""

    label: str
    about: str
    ending: str
    """Of the file's name."""


KINDS = {
    "lora": Kind(
        "LoRA", "For A1111, Forge, ComfyUI, InvokeAI and diffusers; opt-in, so no safeguard.", "-lora.safetensors"
    ),
    "checkpoint": Kind("Checkpoint", "The whole model with the edit baked in, where it must hold.", ".safetensors"),
    "kv": Kind("K/V matrices", "Only the changed matrices, whole, as UCE and ESD publish them.", "-kv.safetensors"),
    "edit": Kind("Edit file", "This toolkit's own: small and exact, and it can be taken apart.", "-edit.safetensors"),
    "recipe": Kind("Recipe", "What was asked, as YAML, to solve again anywhere.", ".yaml"),
    "report": Kind("Report", "What the Audit tab measured, as one HTML page.", "-report.html"),
}  # fmt: skip


def write(workshop: Workshop, visit: Visit, kind: str, version: Version | None = None) -> Iterator[News]:
    """Write one file of a version, by default the workbench's that holds; the last news carries its path.

    Raises:
        ValueError: nothing solved yet, no report yet, an unknown kind, or as the library's export.
    """
    if kind not in KINDS:
        raise ValueError(f"'{kind}' is no file of an edit; choose from {', '.join(KINDS)}")
    chosen = version or visit.edits.current
    if chosen is None:
        raise ValueError("there is no edit to export yet; solve one first")

    def job(tell: Tell) -> Path:
        tell(News(f"Writing the {KINDS[kind].label}"))
        model = workshop.model(chosen.model if version is not None else visit.model)
        fitting_version(chosen, model)
        target = visit.folder / f"{slug(chosen)}{KINDS[kind].ending}"
        _WRITERS[kind](visit, chosen, model, target)
        return target

    return workshop.work(visit, job)


def sizes(workshop: Workshop, visit: Visit, version: Version | None = None) -> dict[str, int]:
    """Bytes of each file beforehand; none where nothing was solved, the recipe alone for a gate."""
    from concept_edit.export.sizes import expected_sizes

    version = version or visit.edits.current
    if version is None:
        return {}
    if version.edit.gates:
        return {"recipe": len(version.edit.recipe.to_yaml().encode())}
    found: Sizes = expected_sizes(version.edit, workshop.model(version.model))
    known = {"lora": found.lora, "kv": found.kv, "checkpoint": found.checkpoint, "edit": found.edit}
    return known | {"recipe": len(version.edit.recipe.to_yaml().encode())}


def in_words(size: int) -> str:
    """'3.1 MB'."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{max(1, round(size / 1e3))} kB"


def slug(version: Version) -> str:
    """A file name from what the version does: letters, digits and hyphens only."""
    return re.sub(r"[^a-z0-9]+", "-", title(version.edit.recipe).lower()).strip("-")[:48] or "edit"


def _lora(visit: Visit, version: Version, model: OpenedModel, target: Path) -> None:
    import concept_edit as ce

    ce.export_lora(version.edit, model, target, force=True)


def _checkpoint(visit: Visit, version: Version, model: OpenedModel, target: Path) -> None:
    import concept_edit as ce

    ce.export_checkpoint(version.edit, model, target, strength=version.strength, force=True)


def _kv(visit: Visit, version: Version, model: OpenedModel, target: Path) -> None:
    import concept_edit as ce

    ce.export_kv(version.edit, model, target, strength=version.strength, force=True)


def _edit(visit: Visit, version: Version, model: OpenedModel, target: Path) -> None:
    version.edit.save(target, statistics=True)


def _recipe(visit: Visit, version: Version, model: OpenedModel, target: Path) -> None:
    version.edit.recipe.save(target)


def _report(visit: Visit, version: Version, model: OpenedModel, target: Path) -> None:
    report = getattr(visit.audit, "report", None)
    if report is None:
        raise ValueError("there is no report yet; run the Audit tab on this edit first")
    if visit.audit.of.edit is not version.edit:
        raise ValueError("the report is about another version of the history; run the Audit tab on this one first")
    report.save(target)


_WRITERS: dict[str, Callable[[Visit, Version, OpenedModel, Path], None]] = {
    "lora": _lora,
    "checkpoint": _checkpoint,
    "kv": _kv,
    "edit": _edit,
    "recipe": _recipe,
    "report": _report,
}
