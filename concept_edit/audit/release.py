"""Who may rely on an edit: a release folder with the edit, its manifest, its history and a page to read.

    release = write_release(model, edit, "release", report=report, decision="ship", rollback="...")
    verify("release/edit.safetensors", model).table()

The manifest says what the edit was solved from and what it makes of the model, down to hashes of single matrices. Its
own hash stands in the edit file's header, so that neither can be changed alone; signatures hold both (`signing`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from concept_edit.answer.digests import factor_digests
from concept_edit.edit import FORMAT, Edit, solve
from concept_edit.files import read_tensors, replace_file, write_tensors
from concept_edit.identity import canonical, digest, tensor_digest
from concept_edit.models.contract import Model
from concept_edit.prompts.corpus import Corpus
from concept_edit.version import __version__

if TYPE_CHECKING:
    from concept_edit.diagnose import Diagnosis
    from concept_edit.evaluation import Report

MANIFEST_FORMAT = "concept-edit manifest 1"
EDIT, MANIFEST, HISTORY, PAGE = "edit.safetensors", "manifest.json", "history.jsonl", "report.html"
BYPASSES = (
    "Whoever holds the weights can undo the edit: the map is invertible, and the original weights are public.",
    "Optimised prompts and embeddings bring back much of what closed-form edits suppress (published attacks reach "
    "most prompts); only the wordings measured here are known.",
    "A picture given as a starting point (image to image, inpainting, adapters, LoRA files) carries the concept past "
    "the text side, which alone is edited.",
    "A LoRA of this edit is opt-in and no safeguard; a baked checkpoint is.",
)
"""What is known to get around any edit of this kind."""


@dataclass(frozen=True)
class Release:
    """What was written."""

    folder: Path
    manifest: str
    """SHA-256 of `manifest.json`, hex: the name of this release."""


@dataclass(frozen=True)
class Decision:
    """What was decided about the edit, and by whom."""

    text: str = "not decided"
    reviewers: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
    """Concepts of which no picture is shown."""
    rollback: str = ""
    """Command that brings the original back."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    part: str
    """`file`, `manifest`, `recipe`, `encoder`, `base`, `result`, `history` or `signatures`."""
    ok: bool
    text: str


@dataclass(frozen=True)
class Verification:
    """The outcome of `verify`."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was touched."""
        return all(finding.ok for finding in self.findings)

    @property
    def touched(self) -> tuple[str, ...]:
        """The parts that are not what they were."""
        return tuple(dict.fromkeys(finding.part for finding in self.findings if not finding.ok))

    def table(self) -> str:
        """One line per check."""
        return "\n".join(f"{'ok     ' if f.ok else 'TOUCHED'}  {f.part:<10}  {f.text}" for f in self.findings)


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
    from concept_edit.audit.page import audit_page

    replace_file(root / PAGE, audit_page(manifest, name, report, diagnosis).encode())
    return Release(root, name)


def describe(model: Model, edit: Edit, strength: float = 1.0) -> dict[str, Any]:
    """What an edit starts from, what it is, and what it makes of the model, as plain data with hashes."""
    edit.check(model)
    base, others = _matrices(model), _others(model)
    deltas, weights = edit.delta(model), model.weights()
    with edit.applied(model, strength):
        result, others_after = _matrices(model), _others(model)
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


def verify(
    path: str | os.PathLike[str],
    model: Model,
    *,
    manifest: str | os.PathLike[str] | None = None,
    corpus: Corpus | None = None,
) -> Verification:
    """Solve the recipe of an edit file anew and compare bit for bit; say which part was touched, if any.

    `manifest` is the file beside the edit by default. Without one the edit is compared with its own recipe only.
    `corpus` is the one that a guarded or gated edit was solved with, where it was not the model's own.
    Bits agree on the same kind of machine; elsewhere the greatest difference is said.

    Raises:
        ValueError: not an edit file, or not a manifest.
        OSError: a file cannot be read.
    """
    tensors, header = read_tensors(path, FORMAT)
    edit = Edit.load(path)
    beside = Path(path).with_name(MANIFEST)
    given = Path(manifest) if manifest is not None else beside if beside.is_file() else None
    findings: list[Finding] = []
    if given is None:
        named = header.get("manifest")
        findings.append(
            Finding("manifest", named is None, "there is none" + (" beside the file that names one" if named else ""))
        )
    else:
        findings += _against_manifest(given, header, tensors, edit, model)
        findings += _history(given)
    same = edit.fingerprint == model.fingerprint
    other = f"{model.name} has another text encoder than the edit was solved on ({edit.model})"
    findings.append(Finding("encoder", same, "the text encoder is the edit's own" if same else other))
    if same:
        findings += _solved_again(edit, model, {f.part for f in findings if not f.ok}, corpus)
    return Verification(tuple(findings))


def read_manifest(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """A manifest and its SHA-256.

    Raises:
        ValueError: not a manifest; the file is named.
    """
    data = Path(path).read_bytes()
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{path} is no manifest: it is not JSON ({error})") from error
    if not isinstance(found, dict) or found.get("format") != MANIFEST_FORMAT:
        raise ValueError(f"{path} is no manifest of the format {MANIFEST_FORMAT!r}")
    return found, hashlib.sha256(data).hexdigest()


def read_history(path: Path) -> list[dict[str, Any]]:
    """The releases of a folder, oldest first; empty where there was none.

    Raises:
        ValueError: a line that is no release.
    """
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [], 1):
        try:
            entry = json.loads(line)
            entries.append({"manifest": entry["manifest"], "parent": entry["parent"], "when": entry["when"]})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: no release ({error})") from error
    return entries


def history_faults(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where a chain of releases is broken."""
    parents = [None, *(entry["manifest"] for entry in entries)]
    return [
        f"release {number} names another parent than release {number - 1}"
        for number, (entry, parent) in enumerate(zip(entries, parents, strict=False), 1)
        if entry["parent"] != parent
    ]


def _write_edit(edit: Edit, path: Path, manifest: str) -> None:
    """The edit file with the manifest's hash in its header, renamed into place when whole."""
    part = path.with_name(f".{path.name}.unbound")
    try:
        edit.save(part)
        tensors, header = read_tensors(part, FORMAT)
        write_tensors(path, tensors, header | {"manifest": manifest})
    finally:
        part.unlink(missing_ok=True)


def _matrices(model: Model) -> dict[str, str]:
    return {name: tensor_digest(weight) for name, weight in model.weights().items()}


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


def _against_manifest(
    path: Path, header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], edit: Edit, model: Model
) -> list[Finding]:
    manifest, name = read_manifest(path)
    told, base = manifest["edit"], manifest["model"]
    factors = factor_digests(edit)
    wrong = [key for key in sorted({*factors, *told["factors"]}) if factors.get(key) != told["factors"].get(key)]
    bound = header.get("manifest") == name
    recipe = digest(header["recipe"]) == told["recipe_sha256"] == digest(told["recipe"])
    encoder = header["text_encoder"] == told["text_encoder"]
    plain = canonical(manifest) == path.read_bytes()
    return [
        Finding("manifest", bound and plain, "its hash stands in the edit's header" if bound and plain
                else "it is not the one that the edit's header names"),
        Finding("file", not wrong and encoder, "the factors are the manifest's" if not wrong and encoder
                else f"{wrong[0] if wrong else 'the text encoder in the header'} differs from the manifest"),
        Finding("recipe", recipe, "the recipe is the manifest's" if recipe else "the recipe differs from the manifest"),
        Finding("encoder", model.fingerprint == base["text_encoder"], f"the manifest was made with {base['name']}"),
        *_weights(manifest, edit, model),
    ]  # fmt: skip


def _weights(manifest: Mapping[str, Any], edit: Edit, model: Model) -> list[Finding]:
    """The matrices before and after the edit against the manifest's."""
    found, told = _matrices(model), manifest["model"]["matrices"]
    wrong = [name for name in sorted({*found, *told}) if found.get(name) != told.get(name)]
    text = f"{len(wrong)} of {len(told)} matrices are not the manifest's, the first {wrong[0]}" if wrong else ""
    findings = [Finding("base", not wrong, text or f"all {len(told)} matrices are the manifest's")]
    if wrong or edit.fingerprint != model.fingerprint:
        return findings
    with edit.applied(model, manifest["edit"]["strength"]):
        same = _matrices(model) == manifest["result"]["matrices"]
    text = "applied, the edit gives the manifest's matrices" if same else "applied, it gives other matrices"
    return [*findings, Finding("result", same, text)]


def _history(manifest: Path) -> list[Finding]:
    path = manifest.with_name(HISTORY)
    if not path.is_file():
        return [Finding("history", False, f"there is no {HISTORY} beside the manifest")]
    try:
        entries = read_history(path)
    except ValueError as error:
        return [Finding("history", False, str(error))]
    found, name = read_manifest(manifest)
    faults = history_faults(entries)
    if not faults and (not entries or entries[-1]["manifest"] != name or entries[-1]["parent"] != found["parent"]):
        faults = ["its last release is not this manifest"]
    return [Finding("history", not faults, faults[0] if faults else f"{len(entries)} releases, an unbroken chain")]


def _solved_again(edit: Edit, model: Model, touched: set[str], corpus: Corpus | None) -> list[Finding]:
    """Whether the recipe, solved now, gives the file's factors."""
    anew = solve(model, edit.recipe, corpus=corpus)
    if anew.corpus != edit.corpus:
        told = f"the edit was solved with the corpus {edit.corpus or 'none'}, and this is {anew.corpus or 'none'}"
        return [Finding("corpus", False, f"{told}; give the corpus file it was solved with")]
    if factor_digests(anew) == factor_digests(edit):
        return [Finding("file", True, "solved anew, the recipe gives the same bits")]
    gap = max((_gap(edit.factors[name].dense(), anew.factors[name].dense()) for name in anew.factors), default=0.0)
    part = "recipe" if "recipe" in touched and "file" not in touched else "file"
    return [Finding(part, False, f"solved anew, the recipe gives another map (by {gap:.1e} of its length)")]


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-300)) if a.shape == b.shape else float("inf")


def _finite(plain: Any) -> Any:
    """JSON has no NaN and no infinity: unknown is null."""
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not abs(plain) < float("inf") else plain
