"""The command line's `export` and `import`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from concept_edit.commands.facts_files import export_facts, holds_facts
from concept_edit.commands.options import (
    NONE,
    AsJson,
    Companion,
    Device,
    Dtype,
    EditFile,
    Force,
    Naming,
    Quiet,
    named_values,
    several,
    split,
)
from concept_edit.commands.telling import print_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.edit import Edit
    from concept_edit.models.opened import OpenedModel

Kind = Literal["lora", "checkpoint", "kv", "diffusers", "hub", "adapter", "folder"]
DumpFile = Annotated[Path, typer.Argument(help="A partial checkpoint of UCE or ESD, .safetensors.", show_default=False)]
As = Annotated[
    Kind,
    typer.Option(
        "--as", help="What to write; hub: a folder with a model card; of facts: adapter (PEFT), folder, lora."
    ),
]
Models = Annotated[
    list[str], typer.Option("--model", help="demo, hub id, folder or .safetensors; repeat it for several models.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="What to write; with several models or files, a folder.")]
Rank = Annotated[int | None, typer.Option("--rank", help="LoRA rank; exact when left out.")]
Energy = Annotated[float | None, typer.Option("--energy", help="Share of the change to keep, e.g. 0.999.")]
Tolerance = Annotated[float, typer.Option("--tolerance", help="Largest relative error a LoRA may have.")]
Concepts = Annotated[list[str], several("--concepts", help="LoRA of these concepts alone, by ';'.")]
PerConcept = Annotated[bool, typer.Option("--per-concept", help="One LoRA for each concept; they add up.")]
Strength = Annotated[float, typer.Option("--strength", help="Strength baked into checkpoint, folder or K/V.")]
Sidecar = Annotated[bool, typer.Option("--sidecar", help="Also the .json that A1111 shows beside a LoRA.")]
Preview = Annotated[str | None, typer.Option("--preview", help="Paint this prompt with the edit as the LoRA's .png.")]
Repo = Annotated[str | None, typer.Option("--repo", help="With --as hub: owner/name.")]
Upload = Annotated[bool, typer.Option("--upload", help="With --as hub: upload too; else the folder is only written.")]
Keys = Annotated[
    list[str],
    several("--keys", help="For a checkpoint of a release: who must have signed, 'ada=ada.pub; b=b.pub'."),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command("export")(export_command)
    app.command("import")(import_command)


@dataclass(frozen=True)
class _Wish:
    """What one `export` asks for."""

    edit: Path
    kind: Kind
    out: Path | None
    many: bool
    naming: Literal["kohya", "peft", "comfy"]
    dtype: str | None
    rank: int | None
    energy: float | None
    tolerance: float
    concepts: tuple[str, ...]
    per_concept: bool
    strength: float
    sidecar: bool
    preview: str | None
    repo: str | None
    upload: bool
    keys: dict[str, str]
    force: bool


def export_command(
    edit: EditFile,
    *,
    kind: As,
    model: Models = ["demo"],  # noqa: B006
    out: Out = None,
    companion: Companion = None,
    naming: Naming = "kohya",
    dtype: Dtype = None,
    rank: Rank = None,
    energy: Energy = None,
    tolerance: Tolerance = 0.01,
    concepts: Concepts = NONE,
    per_concept: PerConcept = False,
    strength: Strength = 1.0,
    sidecar: Sidecar = False,
    preview: Preview = None,
    repo: Repo = None,
    upload: Upload = False,
    keys: Keys = NONE,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write an edit for other tools: a LoRA, a patched checkpoint, a K/V file, a diffusers folder, a hub folder.

    Several --model take the same edit, when they share its text encoder; one that fails does not stop the others.
    """
    import concept_edit as ce

    many = len(model) > 1 or per_concept
    wish = _Wish(
        edit, kind, out, many, naming, dtype, rank, energy, tolerance, split(*concepts), per_concept, strength, sidecar,
        preview, repo, upload, named_values(*keys), force,
    )  # fmt: skip
    loaded, results = ce.Edit.load(edit), list[dict[str, Any]]()
    facts_edit = holds_facts(edit)
    if facts_edit and many:
        raise ValueError("facts are bound to one model, and taken apart with `without`; give one --model, no concepts")
    if not facts_edit and kind in ("adapter", "folder"):
        raise ValueError(f"--as {kind} is for facts; an edit of images is written as lora, checkpoint, kv or diffusers")
    for name in model:
        try:
            if facts_edit:
                how = {"naming": naming, "dtype": dtype, "strength": strength, "device": device, "force": force}
                done = [export_facts(loaded, kind, name, out, **how)]  # type: ignore[arg-type]
            else:
                done = _exported(loaded, ce.open_model(name, device=device, companion=companion), wish)
            results += [{"model": name, **facts} for facts in done]
        except (ValueError, OSError) as error:
            if len(model) == 1:
                raise
            results.append({"model": name, "failed": str(error)})
        if not as_json:
            _tell(results, name, quiet)
    if as_json:
        print_json({"written": results})
    failed = sum("failed" in facts for facts in results)
    if failed:
        typer.echo(f"error: {failed} of {len(model)} models failed", err=True)
        raise typer.Exit(2)


def _tell(results: Sequence[dict[str, Any]], name: str, quiet: bool) -> None:
    for facts in results:
        if facts["model"] != name:
            continue
        if "failed" in facts:
            typer.echo(f"{name}: {facts['failed']}", err=True)
        elif not quiet:
            typer.echo(_sentence(facts))
            for note in facts.get("notes", ()):
                typer.echo(f"note: {note}", err=True)


def _sentence(facts: dict[str, Any]) -> str:
    parts = [f"{facts['model']} -> {facts['path']}"]
    if "exact_rank" in facts:
        parts.append(f"rank {facts['rank']} of {facts['exact_rank']}, error {facts['error']:.1e}")
    if "matrices" in facts and "exact_rank" not in facts and not isinstance(facts["matrices"], int):
        parts.append(f"{len(facts['matrices'])} matrices, rank {facts['rank']}")
    if "changed" in facts:
        parts.append(f"{len(facts['changed'])} matrices changed")
    if "bytes" in facts:
        parts.append(f"{facts['bytes'] / 1e6:.2f} MB")
    return "; ".join(parts)


def _exported(edit: Edit, model: OpenedModel, wish: _Wish) -> list[dict[str, Any]]:
    from concept_edit.audit.signing import require_release
    from concept_edit.export import export_checkpoint, export_kv

    if wish.kind == "lora":
        return _loras(edit, model, wish)
    if wish.kind == "hub":
        return [_hub(edit, model, wish)]
    target = _target(wish, model, "" if wish.kind == "diffusers" else ".safetensors")
    if wish.kind == "kv":
        dump = export_kv(edit, model, target, wish.dtype or "fp32", strength=wish.strength, force=wish.force)
        return [asdict(dump)]
    require_release(wish.edit, model, wish.keys)
    return [asdict(export_checkpoint(edit, model, target, strength=wish.strength, force=wish.force))]


def _loras(edit: Edit, model: OpenedModel, wish: _Wish) -> list[dict[str, Any]]:
    from concept_edit.export import export_lora

    chosen = wish.concepts or edit.concepts
    groups: list[tuple[str, ...] | None] = [(name,) for name in chosen] if wish.per_concept else [wish.concepts or None]
    written = []
    for group in groups:
        label = group[0] if wish.per_concept and group else ""
        done = export_lora(
            edit,
            model,
            _target(wish, model, ".safetensors", label),
            wish.naming,
            wish.dtype or "fp16",
            rank=wish.rank,
            energy=wish.energy,
            tolerance=wish.tolerance,
            concepts=group,
            sidecar=wish.sidecar,
            preview=_preview(edit, model, wish.preview),
            force=wish.force,
        )
        written.append(asdict(done))
    return written


def _preview(edit: Edit, model: OpenedModel, prompt: str | None) -> Image | None:
    if prompt is None:
        return None
    with edit.applied(model):
        return model.generate(prompt, 0)[0]


def _hub(edit: Edit, model: OpenedModel, wish: _Wish) -> dict[str, Any]:
    from concept_edit.export import push

    if wish.repo is None:
        raise ValueError("--as hub needs --repo owner/name")
    folder = wish.out or Path(wish.repo.split("/")[-1])
    done = push(edit, model, wish.repo, folder, dry_run=not wish.upload)
    return {"path": done.folder, "files": done.files, "url": done.url}


def _target(wish: _Wish, model: OpenedModel, suffix: str, label: str = "") -> Path:
    """One file or folder: `--out` itself, or a name of model, edit and concept inside it when there are several."""
    pieces = [Path(model.name).stem if wish.kind != "lora" or wish.many else "", wish.edit.stem, label]
    name = "-".join(piece.replace(" ", "_").replace("/", "_") for piece in pieces if piece)
    if not wish.many:
        return wish.out or Path(f"{name}-{wish.kind}{suffix}")
    folder = wish.out or Path()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}{suffix}"


def import_command(
    dump: DumpFile,
    *,
    kind: Annotated[Literal["edit", "lora"], typer.Option("--as", help="What to write.")] = "edit",
    model: Annotated[str, typer.Option("--model", help="The model the file was made from, unedited.")] = "demo",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")] = None,
    companion: Companion = None,
    naming: Naming = "kohya",
    dtype: Dtype = None,
    rank: Rank = None,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Share of the change that one edit may miss.")] = 0.05,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read a K/V file of UCE or ESD into an edit, or into a LoRA, and say the rank found and what is missed."""
    import concept_edit as ce
    from concept_edit.export import import_kv_dump
    from concept_edit.export.lora import LoraOptions
    from concept_edit.export.target import free_file

    target = out or Path(f"{dump.stem}-{kind}.safetensors")
    if not (kind == "lora" and naming == "peft"):
        free_file(target, force=force)
    found = import_kv_dump(
        dump, ce.open_model(model, device=device, companion=companion), rank=rank, tolerance=tolerance
    )
    facts: dict[str, Any] = {"path": target, "ranks": dict(found.ranks), "residual": found.residual}
    facts |= {"matrices": found.matrices, "left_out": list(found.left_out), "one_edit": found.edit is not None}
    if kind == "lora":
        facts |= asdict(found.save_lora(target, LoraOptions(naming, dtype or "fp16", force=force)))
    elif found.edit is None:
        raise ValueError(
            f"no single edit explains {dump}: the best misses {found.residual:.0%} of the change, as files trained "
            "matrix by matrix (ESD) do; import it with --as lora"
        )
    else:
        found.edit.save(target)
    if as_json:
        print_json(facts)
    elif not quiet:
        ranks = ", ".join(f"{stream} rank {number}" for stream, number in found.ranks.items())
        typer.echo(f"{target}: {found.matrices} matrices; {ranks}; one edit misses {found.residual:.2%} of the change")
        if found.left_out:
            typer.echo(f"note: {len(found.left_out)} tensors that read no text were left out", err=True)
