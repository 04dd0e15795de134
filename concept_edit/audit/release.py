"""Who may rely on an edit: a release folder with the edit, its manifest, its history and a page to read.

    release = write_release(model, edit, "release", report=report, decision="ship", rollback="...")
    verify("release/edit.safetensors", model).table()

The manifest says what the edit was solved from and what it makes of the model, down to hashes of single matrices. Its
own hash stands in the edit file's header, so that neither can be changed alone; signatures hold both (`signing`).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.audit.history import history_faults, read_history
from concept_edit.audit.manifest import (
    EDIT,
    HISTORY,
    MANIFEST,
    MANIFEST_FORMAT,
    PAGE,
    Decision,
    describe,
    read_manifest,
)
from concept_edit.audit.page import audit_page
from concept_edit.audit.verification import Finding, Verification, verify
from concept_edit.edit import FORMAT, Edit
from concept_edit.files import read_tensors, replace_file, write_tensors
from concept_edit.identity import canonical
from concept_edit.models.contract import Model
from concept_edit.unfinished import part_name
from concept_edit.version import __version__

if TYPE_CHECKING:
    from concept_edit.diagnose import Diagnosis
    from concept_edit.evaluation import Report

__all__ = [
    "EDIT",
    "HISTORY",
    "MANIFEST",
    "PAGE",
    "Decision",
    "Finding",
    "Release",
    "Verification",
    "describe",
    "history_faults",
    "read_history",
    "read_manifest",
    "verify",
    "write_release",
]


@dataclass(frozen=True)
class Release:
    """What was written."""

    folder: Path
    manifest: str
    """SHA-256 of `manifest.json`, hex: the name of this release."""


def write_release(
    model: Model,
    edit: Edit,
    folder: str | os.PathLike[str],
    *,
    report: Report | None = None,
    diagnosis: Diagnosis | None = None,
    decision: Decision | None = None,
    strength: float = 1.0,
) -> Release:
    """Write edit, manifest, history and page into `folder`; a second release there has the first as its parent.

    The whole pipeline is loaded, since the manifest says that every tensor the edit does not change stays.

    Raises:
        ValueError: an edit of another text encoder, a history that was touched.
        OSError: the folder cannot be written.
    """
    root, decided = Path(folder), decision or Decision()
    root.mkdir(parents=True, exist_ok=True)
    known = read_history(root / HISTORY)
    broken = history_faults(known)
    if broken:
        raise ValueError(f"{root / HISTORY} was touched ({broken[0]}); release into a new folder")
    manifest = {
        "format": MANIFEST_FORMAT,
        "toolkit": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parent": known[-1]["manifest"] if known else None,
        "decision": {"text": decided.text, "reviewers": decided.reviewers, "barred": decided.barred},
        "rollback": decided.rollback,
        "evaluation": None if report is None else report.as_dict(),
        "diagnosis": None if diagnosis is None else _finite(diagnosis.as_dict()),
        **describe(model, edit, strength),
    }
    data = canonical(manifest)
    name = hashlib.sha256(data).hexdigest()
    _write_edit(edit, root / EDIT, name)
    replace_file(root / MANIFEST, data)
    line = {"manifest": name, "parent": manifest["parent"], "when": manifest["created"]}
    replace_file(root / HISTORY, b"".join(canonical(entry) for entry in (*known, line)))
    replace_file(root / PAGE, audit_page(manifest, name, report, diagnosis).encode())
    return Release(root, name)


def _write_edit(edit: Edit, path: Path, manifest: str) -> None:
    """The edit file with the manifest's hash in its header, renamed into place when whole."""
    part = part_name(path.with_name(f"{path.name}.unbound"))
    try:
        edit.save(part)
        tensors, header = read_tensors(part, FORMAT)
        write_tensors(path, tensors, header | {"manifest": manifest})
    finally:
        part.unlink(missing_ok=True)


def _finite(plain: Any) -> Any:
    """JSON has no NaN and no infinity: unknown is null."""
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not abs(plain) < float("inf") else plain
