"""Partial checkpoints of UCE and ESD read back: what they changed, in factors.

UCE changes every matrix by W A with one A for all of them; then A is found by least squares over all matrices and the
file becomes an edit. ESD trains each matrix on its own; then only factors matrix by matrix describe the file, a LoRA.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.edit import Edit
from concept_edit.export.factors import Pair, dense_pair, pairs_of
from concept_edit.export.lora import LoraOptions, WrittenLora, write_lora
from concept_edit.export.target import DTYPES
from concept_edit.memory.solve import Factors
from concept_edit.models.contract import Model, Site
from concept_edit.models.files.names import UNET_PREFIX, diffusers_name
from concept_edit.models.files.weights_files import Weights, one_file
from concept_edit.recipe import Recipe
from concept_edit.version import __version__

TOLERANCE = 0.05
"""Share of the change that one edit may miss for the file to count as one edit."""


@dataclass(frozen=True)
class ImportedDump:
    """What a partial checkpoint changed."""

    path: Path
    edit: Edit | None
    """The edit that explains the file; None where no single A does (ESD and other training)."""
    ranks: Mapping[str, int]
    """Rank found, per text stream: of the edit, or the largest of any matrix."""
    residual: float
    """‖what the edit explains − ΔW‖ / ‖ΔW‖ over all matrices (Frobenius)."""
    matrices: int
    """Matrices of the file that read text."""
    left_out: tuple[str, ...]
    """Tensors of the file that read no text and are not carried over."""
    model: Model
    pairs: Mapping[str, Pair]
    """Matrix name -> factors of its change: the edit's, or each matrix's own."""

    def save_lora(self, path: str | os.PathLike[str], options: LoraOptions | None = None) -> WrittenLora:
        """Write the change as a LoRA; raises as `export_lora`."""
        about = {"imported": self.path.name, "residual": self.residual, "model": self.model.name}
        return write_lora(self.pairs, self.model, path, about, options or LoraOptions())


def import_kv_dump(
    path: str | os.PathLike[str], model: Model, *, rank: int | None = None, tolerance: float = TOLERANCE
) -> ImportedDump:
    """Read a file of edited text-side matrices, against the `model` it was made from.

    The rank is the number of directions that stand out from the rounding of the file, unless `rank` is given.

    Raises:
        ValueError: a pickled, truncated or foreign file, matrices of another width, or no change at all.
    """
    file = one_file(Path(path))
    named = _named(file, model)
    found = {site: named[site.name] for site in model.sites if site.name in named}
    if not found:
        raise ValueError(f"{path} has none of the text-side matrices of {model.name} ({model.family.title})")
    _refuse_unfit(file, model, found)
    change = _Change(file, model, found)
    fits = {stream: _fit(change, stream, rank) for stream in model.streams if change.sites(stream)}
    residual = change.residual(fits)
    edit = _edit(model, fits, found) if residual <= tolerance else None
    pairs = pairs_of(edit, model) if edit is not None else change.own_pairs(rank)
    ranks = {s: max(pairs[site.name].rank for site in change.sites(s)) if edit is None else fits[s].rank for s in fits}
    carried = set(found.values())
    left = tuple(name for name in file.where if name not in carried)
    return ImportedDump(Path(path), edit, ranks, residual, len(found), left, model, pairs)


def _refuse_unfit(file: Weights, model: Model, found: Mapping[Site, str]) -> None:
    """Refuse, by the header alone, matrices of another shape or of a kind of number that holds no weights."""
    for site, name in found.items():
        shape, wanted = file.shape(name), tuple(model.weights()[site.name].shape)
        if shape != wanted:
            raise ValueError(
                f"{name} in {file.place} has shape {shape} and {model.name} has {wanted}: the file belongs to another "
                "family or base"
            )
        if file.dtype(name) not in DTYPES.values() and file.dtype(name) != torch.float64:
            kind = str(file.dtype(name)).removeprefix("torch.")
            raise ValueError(f"{name} in {file.place} is stored as {kind}; expected float32, float16 or bfloat16")


def _named(file: Weights, model: Model) -> dict[str, str]:
    """Diffusers name -> name in the file, whatever prefix or layout the file uses."""
    naming, layers, found = {"sd3": "sd3", "flux": "flux"}.get(model.family.name, "unet"), 2, {}
    layers = getattr(model, "layers", layers)
    for name in file.where:
        bare = name.removeprefix("module.").removeprefix(f"{model.family.denoiser}.")
        if name.startswith(UNET_PREFIX):
            bare = diffusers_name(name.removeprefix(UNET_PREFIX), naming, layers) or bare
        found[bare] = name
    return found


@dataclass(frozen=True)
class _Change:
    """ΔW of every matrix, read one at a time."""

    file: Weights
    model: Model
    found: Mapping[Site, str]

    def sites(self, stream: str) -> list[Site]:
        """The matrices that read `stream`."""
        return [site for site in self.found if site.stream == stream]

    def of(self, site: Site) -> tuple[Float[Tensor, "d_out d_text"], Float[Tensor, "d_out d_text"]]:
        """W and ΔW in float64, on the columns that read text."""
        weight = self.model.matrix(site.name).detach().cpu()
        new = self.file.read([self.found[site]])[self.found[site]]
        delta = new.double() - weight.double()
        if not bool(delta.isfinite().all()):
            raise ValueError(f"{self.found[site]} in {self.file.place} holds NaN or infinite numbers")
        return weight[:, : site.columns].double(), delta[:, : site.columns]

    def each(self, stream: str) -> Iterator[tuple[Tensor, Tensor]]:
        """W and ΔW of each matrix of a stream."""
        return (self.of(site) for site in self.sites(stream))

    def residual(self, fits: Mapping[str, Factors]) -> float:
        """Share of ΔW that the factors miss."""
        missed = total = 0.0
        for stream, (left, right) in fits.items():
            for weight, delta in self.each(stream):
                missed += float((delta - (weight @ left) @ right).square().sum())
                total += float(delta.square().sum())
        if total == 0:
            raise ValueError(f"{self.file.place} changes nothing: its matrices are those of {self.model.name}")
        return math.sqrt(missed / total)

    def own_pairs(self, rank: int | None) -> dict[str, Pair]:
        """Factors of each matrix's own change, cut where its rounding begins."""
        pairs = {}
        for site in self.found:
            weight, delta = self.of(site)
            pair = dense_pair(delta)
            noise = _rounding(weight, self.file, self.found[site]) * sum(math.sqrt(n) for n in delta.shape)
            kept = pair.cut(rank or max(1, int((pair.spectrum > 1.5 * noise).sum())))
            missing = self.model.shapes[site.name][1] - delta.shape[1]
            pairs[site.name] = Pair(kept.up, torch.nn.functional.pad(kept.down, (0, missing)), kept.spectrum)
        return pairs


def _rounding(weight: Tensor, file: Weights, name: str) -> float:
    """Standard deviation of the file's rounding, per number."""
    return float(torch.finfo(file.dtype(name)).eps * weight.square().mean().sqrt() / math.sqrt(12))


def _fit(change: _Change, stream: str, rank: int | None) -> Factors:
    """The A of least rank with W A = ΔW for all matrices of a stream, by least squares.

    With G = Σ WᵀW = Q Λ Qᵀ, B = Λ^(-1/2) Qᵀ Σ WᵀΔW has the noise of the file in every entry alike, so its singular
    values above the noise's own count the rank.
    """
    width = change.model.streams[stream]
    gram, cross = (torch.zeros(width, width, dtype=torch.float64) for _ in range(2))
    rows, size, rounding = 0, 0.0, 0.0
    for site in change.sites(stream):
        weight, delta = change.of(site)
        gram += weight.T @ weight
        cross += weight.T @ delta
        rows, size = rows + len(weight), size + float(delta.square().sum())
        rounding = max(rounding, _rounding(weight, change.file, change.found[site]))
    values, vectors = torch.linalg.eigh(gram)
    known = values > 1e-10 * values[-1]
    root, basis = values[known].sqrt(), vectors[:, known]
    u, s, vh = torch.linalg.svd((basis.T @ cross) / root[:, None], full_matrices=False)
    noise = max(rounding, _leftover(size, s, rows - len(root), width))
    standing = int((s > 1.5 * noise * (math.sqrt(len(root)) + math.sqrt(width))).sum())
    kept = rank or max(1, standing)
    half = s[:kept].sqrt()
    left = basis @ ((u[:, :kept] * half) / root[:, None])
    return Factors(left, half[:, None] * vh[:kept])


def _leftover(size: float, s: Tensor, freedom: int, width: int) -> float:
    """Standard deviation of what no A explains, per number; 0 where the matrices leave no freedom to tell."""
    unexplained = max(0.0, size - float(s.square().sum()))
    if freedom <= 0 or unexplained <= 1e-12 * size:
        return 0.0
    return math.sqrt(unexplained / (freedom * width))


def _edit(model: Model, fits: Mapping[str, Factors], found: Mapping[Site, str]) -> Edit:
    everything = len(found) == len(model.sites)
    recipe = Recipe(method="uce", layers=() if everything else tuple(sorted(site.name for site in found)))
    factors = {stream: factor.float() for stream, factor in fits.items()}
    counts: dict[str, tuple[int, ...] | None] = dict.fromkeys(factors)
    return Edit(recipe, factors, counts, model.name, model.fingerprint, None, __version__)
