"""The page of a release: everything a moderation team needs to decide, in one file that asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from concept_edit.evaluation.page import listing, page, paragraph, section, table, verbatim
from concept_edit.evaluation.report import report_sections
from concept_edit.recipe import Recipe

if TYPE_CHECKING:
    from concept_edit.diagnose import Diagnosis
    from concept_edit.evaluation import Report

BYPASSES = (
    "Whoever holds the weights can undo the edit: the map is invertible, and the original weights are public.",
    "Optimised prompts and embeddings bring back much of what closed-form edits suppress (published attacks reach "
    "most prompts); only the wordings measured here are known.",
    "A picture given as a starting point (image to image, inpainting, adapters, LoRA files) carries the concept past "
    "the text side, which alone is edited.",
    "A LoRA of this edit is opt-in and no safeguard; a baked checkpoint is.",
)
"""What is known to get around any edit of this kind."""


def audit_page(manifest: Mapping[str, Any], name: str, report: Report | None, diagnosis: Diagnosis | None) -> str:
    """The page of the release whose manifest has the hash `name`."""
    measured = (
        report_sections(report) if report is not None else [section("Measured", paragraph("Nothing was measured."))]
    )
    parts = [
        section("Decision", *_decision(manifest)),
        section("Identity", table(("what", "value"), _identity(manifest, name))),
        section("Recipe, verbatim", verbatim(Recipe.stored(manifest["edit"]["recipe"]).to_yaml())),
        section("Changed matrices", *_changed(manifest)),
        section("Diagnosis, without pictures", _diagnosis(diagnosis)),
        *measured,
        section("Known bypasses", listing(BYPASSES)),
        section("Rollback", *_rollback(manifest)),
    ]
    return page(f"Audit of an edit of {manifest['model']['name']}", parts)


def _decision(manifest: Mapping[str, Any]) -> Sequence[str]:
    decision = manifest["decision"]
    people = ", ".join(decision["reviewers"]) or "nobody yet"
    return (
        paragraph(decision["text"]),
        paragraph(f"Reviewed by: {people}."),
        paragraph("Signatures lie in the folder signatures/ and are checked by: concept-edit verify edit.safetensors"),
    )


def _identity(manifest: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    model, edit = manifest["model"], manifest["edit"]
    return [
        ("this manifest (SHA-256)", name),
        ("parent manifest", manifest["parent"] or "none, the first release"),
        ("made", f"{manifest['created']}, toolkit {manifest['toolkit']}"),
        ("model", f"{model['name']} ({model['family']})"),
        ("text encoder", model["text_encoder"]),
        ("recipe (SHA-256)", edit["recipe_sha256"]),
        *((f"factor {key}", value) for key, value in edit["factors"].items()),
        ("strength", f"{edit['strength']:g}"),
    ]


def _changed(manifest: Mapping[str, Any]) -> Sequence[str]:
    before, after = manifest["model"]["matrices"], manifest["result"]["matrices"]
    rows = [
        (c["name"], f"{c['relative_change']:.4f}", str(c["rank"]), before[c["name"]][:16], after[c["name"]][:16])
        for c in manifest["result"]["changed"]
    ]
    still = [name for name in before if before[name] == after[name]]
    others = manifest["others"]
    proof = (
        f"All {others['tensors']} other tensors of the pipeline, and {len(still)} that read text, are identical "
        f"before and after: SHA-256 over their hashes {others['sha256']}."
    )
    head = ("matrix", "‖ΔW‖ / ‖W‖", "rank", "hash before", "hash after")
    return table(head, rows), paragraph(proof)


def _diagnosis(diagnosis: Diagnosis | None) -> str:
    if diagnosis is None:
        return ""
    rows = [(c.name, c.stream, c.subject, f"{c.value:.3g}", c.verdict) for c in diagnosis.checks]
    return table(("check", "stream", "worst at", "value", "verdict"), rows)


def _rollback(manifest: Mapping[str, Any]) -> Sequence[str]:
    command = manifest["rollback"]
    told = "The edit is a file: a pipeline that does not load it is the original." if not command else ""
    return (paragraph(told) if told else "", verbatim(command) if command else "")
