"""An edit baked into checkpoints: the user's own file or folder with the text-side matrices patched, nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concept_edit.edit import Edit
from concept_edit.export.changes import changes_of
from concept_edit.export.raw import Entry, entries, patched_copy
from concept_edit.export.target import check_room, free_file, free_folder
from concept_edit.models.contract import Model
from concept_edit.models.files.names import UNET_PREFIX
from concept_edit.unfinished import part_name, sweep

_LEFT_OUT = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx")
"""Files of a folder that may hold a copy of the unedited weights in another format."""


@dataclass(frozen=True)
class WrittenCheckpoint:
    """What was written."""

    path: Path
    changed: tuple[str, ...]
    """Names, in the file, of the tensors that differ from the original."""
    bytes: int
    notes: tuple[str, ...] = ()


def export_checkpoint(
    edit: Edit, model: Model, path: str | os.PathLike[str], *, strength: float = 1.0, force: bool = False
) -> WrittenCheckpoint:
    """Write `model` with the edit baked in.

    A `path` ending in `.safetensors` makes a single file, any other a diffusers folder. A single file that `model` was
    opened from is patched: only the text-side matrices differ, every other byte stays. So is a diffusers folder, shard
    by shard; pickled copies of the weights are left out, since they would be unedited. A folder or a live pipeline of a
    UNet family is written as a single file in the original layout.

    Raises:
        ValueError: a model with another text encoder, a layout that cannot be written, numbers too large.
        OSError: too little disk space, an existing file without `force`, or a path that cannot be written.
    """
    edit.check(model)
    edit.refuse_gate("written into a checkpoint")
    origin = getattr(model, "origin", None)
    single = Path(path).suffix == ".safetensors"
    target = free_file(path, force=force) if single else free_folder(path)
    change_of = changes_of(edit, model, strength)
    if single and origin is not None and origin.path.is_file():
        return _patched_file(origin.path, target, {origin.names[name]: c for name, c in change_of.items()})
    if not single and origin is not None and origin.path.is_dir():
        return _patched_folder(origin.path, target, model, change_of)
    with edit.applied(model, strength):
        return _original_file(model, target) if single else _saved_folder(model, target, tuple(change_of))


@contextmanager
def _whole_or_not(target: Path) -> Iterator[Path]:
    """A temporary name beside `target`, renamed at the end; removed after any failure, so that `target` stays."""
    part = part_name(target)
    sweep(target.parent)
    try:
        yield part
        if target.is_dir():
            target.rmdir()
        part.replace(target)
    except BaseException:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
        raise


def _patched_file(source: Path, target: Path, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> WrittenCheckpoint:
    table = entries(source)
    everything = dict(changes) | _ema(table, changes)
    check_room(target, source.stat().st_size)
    with _whole_or_not(target) as part:
        patched_copy(source, part, everything)
        _sync(part)
    return WrittenCheckpoint(target, tuple(sorted(everything)), target.stat().st_size)


def _ema(
    table: Mapping[str, Entry], changes: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[str, Callable[[Tensor], Tensor]]:
    """The averaged copies of the same matrices that training checkpoints carry; left alone they would be unedited."""
    named = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": change for name, change in changes.items()}
    return {name: change for name, change in named.items() if name in table}


def _patched_folder(
    source: Path, target: Path, model: Model, changes: Mapping[str, Callable[[Tensor], Tensor]]
) -> WrittenCheckpoint:
    """Copy a diffusers folder; patch every weight file of the denoiser that holds one of the matrices."""
    denoiser = model.family.denoiser
    found = [path for path in sorted(source.rglob("*")) if path.is_file()]
    kept = [path for path in found if _kept(path.relative_to(source))]
    left = [path for path in found if path not in kept]
    size = sum(path.stat().st_size for path in kept)
    check_room(target, size)
    changed: set[str] = set()
    with _whole_or_not(target) as part:
        for path in kept:
            copy = part / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != ".safetensors" or path.parent.name != denoiser:
                shutil.copyfile(path, copy)
                continue
            ours = {name: changes[name] for name in entries(path) if name in changes}
            changed |= set(ours)
            patched_copy(path, copy, ours)
    notes = (f"left out {', '.join(path.name for path in left)}: unedited copies",) if left else ()
    return WrittenCheckpoint(target, tuple(sorted(changed)), size, notes)


def _kept(path: Path) -> bool:
    """Not a pickle, and not a single-file copy of the whole model in the folder's root."""
    is_root_copy = path.suffix == ".safetensors" and len(path.parts) == 1
    return path.suffix not in _LEFT_OUT and not is_root_copy


def _saved_folder(model: Any, target: Path, changed: tuple[str, ...]) -> WrittenCheckpoint:
    """A live pipeline, already edited, as a diffusers folder."""
    from concept_edit.models.quiet import quiet

    parts = [part for part in model.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    size = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
    check_room(target, size)
    with _whole_or_not(target) as part, quiet():
        model.pipeline.save_pretrained(part, safe_serialization=True)
    return WrittenCheckpoint(target, changed, size)


def _original_file(model: Any, target: Path) -> WrittenCheckpoint:
    """A UNet pipeline, already edited, as one file in its family's original layout."""
    from safetensors.torch import save_file

    from concept_edit.models.files.original import original_state

    state = original_state(model.pipeline, model.family)
    size = sum(value.numel() * value.element_size() for value in state.values())
    check_room(target, size)
    with _whole_or_not(target) as part:
        save_file({name: value.cpu() for name, value in state.items()}, part, metadata={"format": "pt"})
        _sync(part)
    changed = tuple(sorted(name for name in state if name.startswith(UNET_PREFIX) and ".attn2.to_" in name))
    return WrittenCheckpoint(target, changed, size)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
