"""Whether an edit still is what its release says: its recipe solved anew, its manifest and its history compared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from concept_edit.answer.digests import factor_digests
from concept_edit.audit.history import history_faults, read_history
from concept_edit.audit.manifest import HISTORY, MANIFEST, matrices_of, read_manifest
from concept_edit.edit import FORMAT, Edit, solve
from concept_edit.files import read_tensors
from concept_edit.identity import canonical, digest
from concept_edit.models.contract import Model
from concept_edit.prompts.corpus import Corpus


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

    A damaged manifest is a finding, as any other part that was touched.

    Raises:
        ValueError: not an edit file.
        OSError: a file cannot be read.
    """
    header = read_tensors(path, FORMAT)[1]
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
        findings += _released(given, header, edit, model)
    same = edit.fingerprint == model.fingerprint
    other = f"{model.name} has another text encoder than the edit was solved on ({edit.model})"
    findings.append(Finding("encoder", same, "the text encoder is the edit's own" if same else other))
    if same:
        findings += _solved_again(edit, model, {f.part for f in findings if not f.ok}, corpus)
    return Verification(tuple(findings))


def _released(path: Path, header: Mapping[str, Any], edit: Edit, model: Model) -> list[Finding]:
    """The edit against its manifest and the manifest against its history."""
    try:
        manifest, name = read_manifest(path)
    except ValueError as error:
        return [Finding("manifest", False, str(error)), _history(path, None, "")]
    plain = canonical(manifest) == path.read_bytes()
    bound = header.get("manifest") == name and plain
    told = "its hash stands in the edit's header" if bound else "it is not the one that the edit's header names"
    against = _against_manifest(manifest, header, edit, model)
    return [Finding("manifest", bound, told), *against, _history(path, manifest["parent"], name)]


def _against_manifest(
    manifest: Mapping[str, Any], header: Mapping[str, Any], edit: Edit, model: Model
) -> list[Finding]:
    told, base = manifest["edit"], manifest["model"]
    factors = factor_digests(edit)
    wrong = [key for key in sorted({*factors, *told["factors"]}) if factors.get(key) != told["factors"].get(key)]
    recipe = digest(header["recipe"]) == told["recipe_sha256"] == digest(told["recipe"])
    encoder = header["text_encoder"] == told["text_encoder"]
    return [
        Finding("file", not wrong and encoder, "the factors are the manifest's" if not wrong and encoder
                else f"{wrong[0] if wrong else 'the text encoder in the header'} differs from the manifest"),
        Finding("recipe", recipe, "the recipe is the manifest's" if recipe else "the recipe differs from the manifest"),
        Finding("encoder", model.fingerprint == base["text_encoder"], f"the manifest was made with {base['name']}"),
        *_weights(manifest, edit, model),
    ]  # fmt: skip


def _weights(manifest: Mapping[str, Any], edit: Edit, model: Model) -> list[Finding]:
    """The matrices before and after the edit against the manifest's."""
    found, told = matrices_of(model), manifest["model"]["matrices"]
    wrong = [name for name in sorted({*found, *told}) if found.get(name) != told.get(name)]
    text = f"{len(wrong)} of {len(told)} matrices are not the manifest's, the first {wrong[0]}" if wrong else ""
    findings = [Finding("base", not wrong, text or f"all {len(told)} matrices are the manifest's")]
    if wrong or edit.fingerprint != model.fingerprint:
        return findings
    try:
        with edit.applied(model, manifest["edit"]["strength"]):
            same = matrices_of(model) == manifest["result"]["matrices"]
    except ValueError as error:
        return [*findings, Finding("result", False, f"it cannot be applied as the manifest says: {error}")]
    text = "applied, the edit gives the manifest's matrices" if same else "applied, it gives other matrices"
    return [*findings, Finding("result", same, text)]


def _history(beside: Path, parent: str | None, name: str) -> Finding:
    """The chain of releases, and whether its last is the manifest of this name and parent; '' where it is damaged."""
    path = beside.with_name(HISTORY)
    if not path.is_file():
        return Finding("history", False, f"there is no {HISTORY} beside the manifest")
    try:
        entries = read_history(path)
    except ValueError as error:
        return Finding("history", False, str(error))
    faults = history_faults(entries)
    if not faults and (not entries or entries[-1]["manifest"] != name or entries[-1]["parent"] != parent):
        faults = ["its last release is not this manifest"]
    return Finding("history", not faults, faults[0] if faults else f"{len(entries)} releases, an unbroken chain")


def _solved_again(edit: Edit, model: Model, touched: set[str], corpus: Corpus | None) -> list[Finding]:
    """Whether the recipe, solved now, gives the file's factors."""
    try:
        anew = solve(model, edit.recipe, corpus=corpus)
    except ValueError as error:
        return [Finding("recipe", False, f"it cannot be solved anew: {error}")]
    if anew.corpus != edit.corpus:
        told = f"the edit was solved with the corpus {edit.corpus or 'none'}, and this is {anew.corpus or 'none'}"
        return [Finding("corpus", False, f"{told}; give the corpus file it was solved with")]
    if factor_digests(anew) == factor_digests(edit):
        return [Finding("file", True, "solved anew, the recipe gives the same bits")]
    if set(edit.factors) != set(anew.factors):
        return [Finding("file", False, f"it has the streams {', '.join(edit.factors)}, and {model.name} others")]
    gap = max((_gap(edit.factors[name].dense(), anew.factors[name].dense()) for name in anew.factors), default=0.0)
    part = "recipe" if "recipe" in touched and "file" not in touched else "file"
    return [Finding(part, False, f"solved anew, the recipe gives another map (by {gap:.1e} of its length)")]


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-300)) if a.shape == b.shape else float("inf")
