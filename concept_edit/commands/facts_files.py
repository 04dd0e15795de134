"""Edit files of facts under the common verbs `show` and `export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.reading.kinds import FACTS
from concept_edit.reading.tensor_file import format_of, read_arrays

if TYPE_CHECKING:
    from concept_edit.language.edit import FactEdit


def holds_facts(path: Path) -> bool:
    """Whether it is an edit file of facts."""
    return format_of(path) == FACTS


def outline(path: Path) -> dict[str, Any]:
    """What can be told of it without torch."""
    arrays, header = read_arrays(path, FACTS)
    matrices = {}
    for name in header["matrices"]:
        left, right = arrays[f"{name}:left"].shape, arrays[f"{name}:right"].shape
        matrices[name] = {"out": left[0], "in": right[1], "rank": left[1]}
    told = {"out": str(path), "bytes": path.stat().st_size, "facts": header["facts"], "method": header["method"]}
    told |= {"layers": list(header["layers"]), "matrices": matrices, "model": header["model"]}
    return told | {"fingerprint": header["fingerprint"], "toolkit": header["toolkit"], "notes": list(header["notes"])}


def sentences(told: dict[str, Any]) -> str:
    """The outline as lines to read."""
    n, layers = len(told["facts"]), told["layers"]
    where = f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
    ranks = ", ".join(f"{name} rank {m['rank']}" for name, m in told["matrices"].items())
    lines = [f"{told['out']}: {n} fact{'s' * (n != 1)}, {told['method']} in {where}; {told['bytes'] / 1000:.1f} kB"]
    lines += [f"solved on {told['model']} ({told['fingerprint']}) by version {told['toolkit']}", f"{ranks}", ""]
    for fact in told["facts"]:
        asked = fact["prompt"].replace("{}", fact["subject"])
        lines.append(f"- {asked} {fact['new']}" + (f" (was {fact['old']})" if fact.get("old") else ""))
    return "\n".join([*lines, *(f"note: {note}" for note in told["notes"])])


def export_facts(
    edit: FactEdit,
    kind: str,
    model: str,
    out: Path | None,
    *,
    naming: str,
    dtype: str | None,
    strength: float,
    device: str,
    force: bool,
) -> dict[str, Any]:
    """Write it for other programs: of a language model `adapter` or `folder`, of a text encoder also `lora`.

    Raises:
        ValueError: a kind that does not suit the model, or another model.
        OSError: the target is there, or cannot be written.
    """
    import concept_edit as ce
    from concept_edit.export.encoder import export_encoder_lora

    kinds = ("adapter", "folder") if edit.tower is None else ("adapter", "folder", "lora")
    if kind not in kinds:
        whose = "a language model" if edit.tower is None else "a text encoder"
        raise ValueError(f"facts of {whose} are written --as {', '.join(kinds)}; {kind!r} is for edits of images")
    opened: Any
    if edit.tower is None:
        opened = ce.open_language_model(model, device=device)
    else:
        opened = ce.open_text_encoder(ce.open_model(model, device=device), edit.tower)
    if kind == "lora":
        if naming == "comfy":
            raise ValueError("a text encoder's LoRA is named kohya (which ComfyUI reads), or peft for diffusers")
        target, own = out or Path("facts-lora.safetensors"), "diffusers" if naming == "peft" else naming
        return asdict(
            export_encoder_lora(edit, opened, target, own, dtype or "fp32", strength=strength, force=force)  # type: ignore[arg-type]
        )
    write = ce.export_adapter if kind == "adapter" else ce.export_language_model
    return asdict(write(edit, opened, out or Path(f"facts-{kind}"), strength=strength))
