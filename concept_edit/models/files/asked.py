"""Folders of pipelines whose encoder is a language model: encoder, tokenizer and the way to the reader, nothing else.

The encoder keeps the precision of its file also on the CPU: in float32 it would take twice the room.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from concept_edit.models.encode import OpenTower
from concept_edit.models.families import Family, readers_of
from concept_edit.models.files.plain_json import read_json
from concept_edit.models.files.weights_files import Weights, part, variant_of
from concept_edit.models.matrices import Matrices
from concept_edit.models.opened import OpenedModel, Origin
from concept_edit.models.placement import Placement
from concept_edit.models.quiet import quiet
from concept_edit.models.route import OpenRoute

_UNUSED = (
    *("vae", "scheduler", "image_encoder", "feature_extractor", "text_processor", "pe", "pe_tokenizer"),
    *("unconditional_transformer", "prompt_enhancer_head"),
)


def open_asked(
    folder: Path, family: Family, config: Mapping[str, Any], place: Placement, *, name: str, defaults: Mapping[str, Any]
) -> OpenedModel:
    """Open a diffusers folder of a family with a `Route`."""
    refuse_two(family.pipeline, family, _listed(folder, f"{family.denoiser}_2"))
    weights = part(folder / family.denoiser)
    names = list(readers_of(family, weights.where))
    weights.refuse_packed(name for name in weights.where if name in names or _on_the_way(family, name))
    for spec in family.towers:
        encoder = part(folder / spec.encoder)
        encoder.refuse_packed(encoder.where)
    dtype = place.kept(weights.dtype(names[0]) if names else torch.float32)
    matrices = Matrices(weights, {key: key for key in names}, place.device, dtype)
    shell = _pipeline(folder, family, place, dtype, {family.denoiser: None, **absent(family)})
    setattr(shell, family.denoiser, SimpleNamespace(dtype=dtype))  # which some pipelines ask for while they encode
    denoiser = first_modules(family, config, weights, place, dtype)
    return OpenedModel(
        name,
        family,
        [OpenTower(spec, _frozen(shell, spec.encoder), getattr(shell, spec.tokenizer)) for spec in family.towers],
        matrices=matrices,
        load=lambda: _pipeline(folder, family, place, dtype, _shared(shell, family)),
        defaults=defaults,
        origin=Origin(folder, matrices.names),
        route=OpenRoute(family, shell, denoiser),
    )


def refuse_two(kind: str, family: Family, second: Any) -> None:
    """Refuse a pipeline of two denoisers that take turns: edited in one alone it would be half edited.

    Raises:
        ValueError: saying how to edit both.
    """
    if second is not None:
        one, two = family.denoiser, f"{family.denoiser}_2"
        raise ValueError(
            f"This {kind} paints with two denoisers in turn, {one} and {two}, and an edit of one is half an edit: open "
            f"each by itself, {kind}(**{{**pipe.components, '{two}': None}}) and the same with '{one}': pipe.{two}, "
            "and apply or export the edit for both. Their weights are shared, so pipe itself paints with both edits."
        )


def _listed(folder: Path, name: str) -> object:
    """What the folder's index has of a component; None where it has none."""
    entry = read_json(folder / "model_index.json").get(name)
    return entry[0] if isinstance(entry, list) and entry else None


def _frozen(shell: Any, name: str) -> Any:
    encoder = getattr(shell, name, None)
    if encoder is None:
        raise ValueError(f"this folder has no {name}, which reads the prompts; is it complete?")
    return encoder.eval().requires_grad_(False)


def absent(family: Family) -> dict[str, None]:
    """The parts that a prompt does not pass."""
    import inspect

    import diffusers

    taken = inspect.signature(getattr(diffusers, family.pipeline).__init__).parameters
    kept = {"vae"} if family.route is not None and family.route.vae else set()
    return {name: None for name in _UNUSED if name in taken and name not in kept}


def _shared(shell: Any, family: Family) -> dict[str, Any]:
    parts = [name for spec in family.towers for name in (spec.encoder, spec.tokenizer)]
    return {name: getattr(shell, name) for name in parts}


def _pipeline(folder: Path, family: Family, place: Placement, dtype: torch.dtype, given: dict[str, Any]) -> Any:
    import diffusers

    first = family.denoiser if family.denoiser not in given else family.towers[0].encoder
    variant = variant_of(next(iter(part(folder / first).where.values())))
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "dtype": dtype, "variant": variant}
    try:
        with quiet():
            pipeline = getattr(diffusers, family.pipeline).from_pretrained(folder, **options, **given)
    except (OSError, ImportError, RuntimeError) as error:
        raise ValueError(f"{folder} cannot be opened as {family.title} ({str(error).splitlines()[0]})") from error
    return pipeline.to(place.device)


def _on_the_way(family: Family, name: str) -> bool:
    """Whether a tensor of the denoiser belongs to a module that rows pass on their way to a reader, or to that."""
    assert family.route is not None
    return name.startswith(tuple(f"{module}." for module in family.route.modules))


def first_modules(
    family: Family, config: Mapping[str, Any], weights: Weights, place: Placement, dtype: torch.dtype
) -> torch.nn.Module:
    """The denoiser with the modules of its route in memory and all others without data.

    Raises:
        ValueError: weights that are missing or of another shape than the configuration says.
    """
    import diffusers
    from accelerate import init_empty_weights
    from accelerate.utils import set_module_tensor_to_device

    with init_empty_weights():
        denoiser = getattr(diffusers, family.denoiser_class).from_config(dict(config))
    readers = readers_of(family, weights.where)
    needed = [
        n
        for n, _ in denoiser.named_parameters()
        if _on_the_way(family, n) and n.removesuffix(".bias") + ".weight" not in readers and n not in readers
    ]
    for name, value in weights.read(needed).items():
        if value.shape != denoiser.get_parameter(name).shape:
            raise ValueError(f"{name} in {weights.place} has the shape {tuple(value.shape)}; is it another model's?")
        exact = any(part in (getattr(denoiser, "_keep_in_fp32_modules", None) or ()) for part in name.split("."))
        set_module_tensor_to_device(denoiser, name, place.device, value.to(torch.float32 if exact else dtype))
    return denoiser.eval()
