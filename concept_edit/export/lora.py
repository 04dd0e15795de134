"""An edit as a LoRA that other tools load: exact, since the edit is of low rank already.

W' = W + strength · (alpha / rank) · up @ down. One rank for all matrices and alpha = rank: loaders disagree about
anything else. Families whose files have one naming (SD3, FLUX.1) are written in it whatever naming is asked.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from concept_edit.edit import Edit
from concept_edit.export.factors import Pair, energy_rank, exact_rank, pairs_of, relative_error
from concept_edit.export.programs import loads, native_path
from concept_edit.export.target import check_room, free_file, free_folder, precision
from concept_edit.files import replace_file
from concept_edit.models.contract import Model
from concept_edit.models.families import Family
from concept_edit.models.files.names import original_name
from concept_edit.unfinished import part_name, sweep
from concept_edit.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

Naming = Literal["kohya", "peft", "comfy"]
TOLERANCE = 0.01
"""Relative error of the change above which a file is refused unless a larger tolerance is given."""


@dataclass(frozen=True)
class _Labels:
    """What the metadata of a family's LoRA says, and how A1111 calls the family."""

    base: str
    architecture: str
    a1111: str
    v2: bool = False
    sgm: bool = False
    kohya: bool = True


_LABELS = {
    "sd1": _Labels("sd_v1", "stable-diffusion-v1/lora", "SD1"),
    "sd2": _Labels("sd_v2", "stable-diffusion-v2-512/lora", "SD2", v2=True),
    "sdxl": _Labels("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "SDXL", sgm=True),
    "sd3": _Labels("sd3", "stable-diffusion-3-medium/lora", "SD3", kohya=False),
    "flux": _Labels("flux1", "flux-1-dev/lora", "Flux", kohya=False),
}


def _labels(family: Family) -> _Labels:
    """A family of transformers has one naming, that diffusers and ComfyUI share, and needs no label of its own."""
    return _LABELS.get(family.name) or _Labels(family.name, f"{family.name}/lora", family.title, kohya=False)


def programs_for(family: Family) -> tuple[str, ...]:
    """The programs that load a LoRA of this family, as it is written by default."""
    return loads(family.name, "kohya", kohya=_labels(family).kohya)


_READ_BY = {
    "flux": "diffusers loads this file from version 0.30.3 on (0.30.3, 0.31.0, 0.32.2, 0.33.1, 0.34.0 and 0.42.1 were "
    "tried; each needs the peft and transformers of its time)"
}
"""Which versions of a loader were found to read a family's file exactly."""


@dataclass(frozen=True)
class WrittenLora:
    """What was written, and how exact it is."""

    path: Path
    naming: str
    """`kohya`, `peft` or `transformer` (the one naming of SD3 and FLUX.1)."""
    dtype: str
    rank: int
    exact_rank: int
    """Rank of the edit; a smaller `rank` was asked for where they differ."""
    error: float
    """‖written − ΔW‖ / ‖ΔW‖ over all matrices (Frobenius), rounding included."""
    worst_error: float
    """The same of the worst matrix."""
    matrices: int
    bytes: int
    kv_bytes: int
    """Size of the same matrices written whole, in the same precision."""
    notes: tuple[str, ...]
    programs: tuple[str, ...] = ()
    """Which programs load it, for models of this family with the same text encoder."""


def export_lora(
    edit: Edit,
    model: Model,
    path: str | os.PathLike[str],
    naming: Naming = "kohya",
    dtype: str = "fp16",
    *,
    rank: int | None = None,
    energy: float | None = None,
    tolerance: float = TOLERANCE,
    concepts: Sequence[str] | None = None,
    sidecar: bool = False,
    preview: Image | None = None,
    licence: str = "",
    force: bool = False,
) -> WrittenLora:
    """Write the edit as a LoRA of `model`'s family.

    `naming`: `kohya` (A1111, Forge, ComfyUI, InvokeAI, SD.Next, diffusers), `peft` (diffusers; a `path` without
    `.safetensors` becomes a PEFT folder) or `comfy` (what ComfyUI reads of the family). `dtype`: fp32, fp16 or bf16.
    `rank` or `energy` (a share of the squared change, e.g. 0.999) cut by SVD; neither means exact. `concepts` writes
    these alone: files of single concepts add up to the whole. `sidecar` and `preview` also write the `.json` and
    `.png` that A1111 shows.

    Raises:
        ValueError: a model with another text encoder, an unknown concept, a rank or precision that loses more than
            `tolerance` of the change (relative, Frobenius), numbers too large for `dtype`.
        OSError: the file exists and `force` was not given, is a folder, or cannot be written.
    """
    options = LoraOptions(naming, dtype, rank, energy, tolerance, licence, force)
    named = tuple(edit.concepts if concepts is None else concepts)
    pairs = pairs_of(edit, model, None if concepts is None else named)
    about = {"recipe": json.loads(edit.recipe.compact()), "concepts": named, "model": edit.model}
    answer = write_lora(pairs, model, path, about | {"text_encoder": edit.fingerprint}, options)
    _write_extras(answer, model, named, preview, sidecar)
    return answer


@dataclass(frozen=True)
class LoraOptions:
    """How a LoRA file is written; the meaning of each field is told at `export_lora`."""

    naming: Naming = "kohya"
    dtype: str = "fp16"
    rank: int | None = None
    energy: float | None = None
    tolerance: float = TOLERANCE
    licence: str = ""
    force: bool = False


def write_lora(
    pairs: Mapping[str, Pair],
    model: Model,
    path: str | os.PathLike[str],
    about: Mapping[str, Any],
    options: LoraOptions,
) -> WrittenLora:
    """Write the factors of each matrix's change as a LoRA; `about` joins the file's own key in the metadata."""
    if options.naming not in ("kohya", "peft", "comfy"):
        raise ValueError(f"{options.naming!r} is no naming of a LoRA file; expected kohya, peft or comfy")
    kind, folder = precision(options.dtype), options.naming == "peft" and Path(path).suffix != ".safetensors"
    target = free_folder(path) if folder else free_file(path, force=options.force)
    full = exact_rank(pairs)
    rank = _rank(pairs, options.rank, options.energy, full)
    sides = _rounded(pairs, rank, kind)
    errors = relative_error(pairs, sides)
    _check_error(errors, rank, options)
    answer = _answer(target, model, options, (rank, full), pairs, errors)
    check_room(target, answer.bytes)
    metadata = _metadata(model, answer, about, options.licence)
    if folder:
        _write_peft_folder(target, sides, rank, model, metadata)
    else:
        _write_file(target, _named(sides, model, options.naming, rank), metadata)
    return answer


def _rank(pairs: Mapping[str, Pair], rank: int | None, energy: float | None, full: int) -> int:
    if rank is not None and energy is not None:
        raise ValueError("give rank or energy, not both")
    if rank is not None and rank < 1:
        raise ValueError(f"rank {rank} holds nothing; give 1 or more, {full} is exact")
    if energy is not None:
        return energy_rank(pairs, energy)
    return full if rank is None else min(rank, full)


def _rounded(pairs: Mapping[str, Pair], rank: int, dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
    """(up, down) of each matrix at one rank, in the file's precision."""
    sides = {}
    for name, pair in pairs.items():
        fitted = pair.cut(rank).padded(rank)
        up, down = fitted.up.to(dtype).contiguous(), fitted.down.to(dtype).contiguous()
        if not bool(up.isfinite().all() & down.isfinite().all()):
            raise ValueError(f"the change of {name} is too large for {dtype}; write fp32 or bf16")
        sides[name] = (up, down)
    return sides


def _check_error(errors: Tensor, rank: int, options: LoraOptions) -> None:
    worst = float(errors.max())
    if worst > options.tolerance:
        raise ValueError(
            f"rank {rank} in {options.dtype} loses {worst:.2%} of the change of one matrix, more than the tolerance "
            f"{options.tolerance:.2%}; raise the rank or the energy, or give a larger tolerance"
        )


def _answer(
    target: Path,
    model: Model,
    options: LoraOptions,
    ranks: tuple[int, int],
    pairs: Mapping[str, Pair],
    errors: Tensor,
) -> WrittenLora:
    size = precision(options.dtype).itemsize
    lora = sum(ranks[0] * (pair.up.shape[0] + pair.down.shape[1]) for pair in pairs.values()) * size
    whole = sum(pair.up.shape[0] * pair.down.shape[1] for pair in pairs.values()) * size
    squares = torch.stack([pair.spectrum.square().sum() for pair in pairs.values()])
    error = math.sqrt(float((errors.square() * squares).sum() / squares.sum().clamp_min(1e-300)))
    return WrittenLora(
        path=target,
        naming=options.naming if _labels(model.family).kohya else "transformer",
        dtype=options.dtype,
        rank=ranks[0],
        exact_rank=ranks[1],
        error=error,
        worst_error=float(errors.max()),
        matrices=len(pairs),
        bytes=lora,
        kv_bytes=whole,
        notes=_notes(model, options.naming, lora, whole),
        programs=loads(model.family.name, options.naming, kohya=_labels(model.family).kohya),
    )


def _notes(model: Model, naming: str, lora: int, whole: int) -> tuple[str, ...]:
    notes = []
    if lora > whole:
        notes.append(
            f"the LoRA takes {lora / 1e6:.1f} MB and the edited matrices themselves {whole / 1e6:.1f} MB: "
            "a K/V file or a checkpoint is smaller, or give a smaller rank"
        )
    if naming == "kohya" and not _labels(model.family).kohya:
        notes.append(f"{model.family.title} has one LoRA naming (transformer.), which was written")
    if naming == "peft" and _labels(model.family).kohya:
        notes.append("ComfyUI and A1111 do not read this naming; write kohya for them")
    if model.family.name in _READ_BY:
        notes.append(_READ_BY[model.family.name])
    if model.family.unedited:
        notes.append(model.family.unedited)
    return tuple(notes)


def lora_key(name: str, model: Model, naming: str) -> str:
    """The layer name a LoRA file uses for the matrix `name`, without `.lora_...`."""
    labels, path = _labels(model.family), name.removesuffix(".weight")
    native = native_path(model.family.name, path) if naming == "comfy" else None
    if native is not None:
        return f"diffusion_model.{native}"
    if naming == "peft" or not labels.kohya:
        return f"{model.family.denoiser}.{path}"
    if labels.sgm:
        path = original_name(name, "unet", getattr(model, "layers", 2)).removesuffix(".weight")
    return "lora_unet_" + path.replace(".", "_")


def _named(sides: Mapping[str, tuple[Tensor, Tensor]], model: Model, naming: str, rank: int) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    kohya = naming != "peft" and _labels(model.family).kohya
    for name, (up, down) in sides.items():
        key = lora_key(name, model, naming)
        tensors |= {f"{key}.{'lora_down' if kohya else 'lora_A'}.weight": down}
        tensors |= {f"{key}.{'lora_up' if kohya else 'lora_B'}.weight": up}
        if kohya:
            tensors[f"{key}.alpha"] = torch.tensor(float(rank))
    return tensors


def _metadata(model: Model, answer: WrittenLora, about: Mapping[str, Any], licence: str) -> dict[str, str]:
    """What A1111 sorts by, the model specification's fields, and one key of ours."""
    labels = _labels(model.family)
    ours = {"toolkit": __version__, **about, "rank": answer.rank, "exact_rank": answer.exact_rank}
    ours |= {"error": answer.error, "worst_error": answer.worst_error, "notes": answer.notes}
    fields = {
        "ss_base_model_version": labels.base,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(answer.rank),
        "ss_network_alpha": str(answer.rank),
        "ss_output_name": answer.path.stem,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": labels.architecture,
        "modelspec.title": answer.path.stem,
        "modelspec.date": datetime.now(UTC).date().isoformat(),
        "modelspec.license": licence,
        "concept_edit": json.dumps(ours, ensure_ascii=False, separators=(",", ":")),
    }
    return fields | ({"ss_v2": "True"} if labels.v2 else {})


def _write_file(target: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    from safetensors.torch import save

    replace_file(target, save(dict(tensors), metadata=dict(about)))


def _write_peft_folder(
    target: Path, sides: Mapping[str, tuple[Tensor, Tensor]], rank: int, model: Model, about: Mapping[str, str]
) -> None:
    """A folder that `PeftModel.from_pretrained(denoiser, folder)` loads; made under another name and renamed."""
    paths = {name: name.removesuffix(".weight") for name in sides}
    config = {
        "peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": sorted(paths.values()), "bias": "none",
        "lora_dropout": 0.0, "task_type": None, "inference_mode": True, "base_model_name_or_path": model.name,
    }  # fmt: skip
    tensors: dict[str, Tensor] = {}
    for name, (up, down) in sides.items():
        tensors |= {f"base_model.model.{paths[name]}.lora_A.weight": down}
        tensors |= {f"base_model.model.{paths[name]}.lora_B.weight": up}
    part = part_name(target)
    sweep(target.parent)
    part.mkdir()
    _write_file(part / "adapter_model.safetensors", tensors, {"format": "pt"} | dict(about))
    replace_file(part / "adapter_config.json", json.dumps(config, indent=2).encode())
    if target.is_dir():
        target.rmdir()
    part.rename(target)


def _write_extras(
    answer: WrittenLora, model: Model, concepts: Sequence[str], preview: Image | None, sidecar: bool
) -> None:
    """The files A1111 shows beside a LoRA: `.json` with its note, `.png` with its picture."""
    target = answer.path
    if sidecar:
        note: dict[str, Any] = {
            "description": f"Concept edit: {', '.join(concepts)}",
            "sd version": _labels(model.family).a1111,
            "activation text": "",
            "preferred weight": 1.0,
            "notes": json.dumps({key: str(value) for key, value in asdict(answer).items()}),
        }
        replace_file(target.with_suffix(".json"), json.dumps(note, indent=2, ensure_ascii=False).encode())
    if preview is not None:
        part = part_name(target.with_suffix(".png"))
        preview.save(part, format="PNG")
        part.replace(target.with_suffix(".png"))
