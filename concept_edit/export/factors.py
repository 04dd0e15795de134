"""An edit as one pair of low-rank factors per matrix: exact, or the best of a smaller rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.edit import Edit
from concept_edit.memory.solve import thin_svd
from concept_edit.models.contract import Model


@dataclass(frozen=True)
class Pair:
    """ΔW = up @ down of one matrix, balanced: both sides carry the root of the singular values. float64."""

    up: Float[Tensor, "d_out rank"]
    down: Float[Tensor, "rank d_in"]
    spectrum: Float[Tensor, " rank"]
    """Singular values of ΔW, falling."""

    @property
    def rank(self) -> int:
        """Columns of `up`."""
        return len(self.spectrum)

    def cut(self, rank: int) -> Pair:
        """The nearest pair of at most `rank` (Eckart and Young)."""
        return Pair(self.up[:, :rank], self.down[:rank], self.spectrum[:rank])

    def padded(self, rank: int) -> Pair:
        """The same ΔW at a larger rank, with zeros."""
        more = rank - self.rank
        pad = torch.nn.functional.pad
        return Pair(pad(self.up, (0, more)), pad(self.down, (0, 0, 0, more)), pad(self.spectrum, (0, more)))


def pairs_of(edit: Edit, model: Model, concepts: Sequence[str] | None = None) -> dict[str, Pair]:
    """Matrix name -> exact factors of the edit's change, of the given concepts alone if any.

    Raises:
        ValueError: a model with another text encoder, a concept the edit does not change, a compressed edit.
    """
    edit.check(model)
    edit.refuse_gate("written as a LoRA")
    chosen = {name: _chosen(edit, name, concepts) for name in edit.factors}
    pairs = {}
    for site in edit.sites(model):
        left, right = chosen[site.stream]
        matrix = model.matrix(site.name).detach().cpu()
        pair = balanced(matrix[:, : site.columns].double() @ left, right)
        missing = matrix.shape[1] - pair.down.shape[1]
        pairs[site.name] = Pair(pair.up, torch.nn.functional.pad(pair.down, (0, missing)), pair.spectrum)
    if not pairs:
        raise ValueError(
            f"the edit changes no matrix of {model.name}; its layers are {', '.join(edit.layers) or 'all'}"
        )
    return pairs


def _chosen(edit: Edit, stream: str, concepts: Sequence[str] | None) -> tuple[Tensor, Tensor]:
    factors = edit.factors[stream]
    left, right = factors.left.double().cpu(), factors.right.double().cpu()
    if concepts is None:
        return left, right
    unknown = [concept for concept in concepts if concept not in edit.concepts]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not in this edit; it has {', '.join(map(repr, edit.concepts))}")
    rows = edit.rows(stream)
    if rows is None:
        raise ValueError("this edit was compressed and no longer tells its concepts apart; solve one recipe for each")
    keep = torch.tensor([row in concepts for row in rows], dtype=torch.bool)
    return left[:, keep], right[keep]


def balanced(up: Float[Tensor, "d_out rank"], down: Float[Tensor, "rank d_in"]) -> Pair:
    """The SVD of `up @ down` without forming it, its singular values split evenly between the sides."""
    u, s, vh = thin_svd(up, down)
    root = s.sqrt()
    return Pair(u * root, root[:, None] * vh, s)


def dense_pair(delta: Float[Tensor, "d_out d_in"]) -> Pair:
    """The factors of a dense ΔW, at full rank."""
    u, s, vh = torch.linalg.svd(delta.double(), full_matrices=False)
    root = s.sqrt()
    return Pair(u * root, root[:, None] * vh, s)


def exact_rank(pairs: Mapping[str, Pair]) -> int:
    """The smallest rank at which no pair loses anything that float64 can tell."""
    return max(1, *(int((pair.spectrum > 1e-12 * pair.spectrum[:1]).sum()) for pair in pairs.values()))


def energy_rank(pairs: Mapping[str, Pair], energy: float) -> int:
    """The smallest rank that keeps the share `energy` of every matrix's squared change."""
    if not 0 < energy <= 1:
        raise ValueError(f"energy {energy} is no share of the change; give a number over 0 and up to 1, e.g. 0.999")
    return max(1, *(_share_rank(pair.spectrum.square(), energy) for pair in pairs.values()))


def _share_rank(squares: Tensor, energy: float) -> int:
    total = squares.sum()
    if not bool(total > 0):
        return 1
    kept = squares.cumsum(0) >= energy * total * (1 - 1e-15)
    return int(kept.int().argmax()) + 1 if bool(kept.any()) else len(squares)


def relative_error(
    pairs: Mapping[str, Pair], written: Mapping[str, tuple[Tensor, Tensor]]
) -> Float[Tensor, " matrices"]:
    """‖written − ΔW‖ / ‖ΔW‖ of each matrix (Frobenius), for the (up, down) that a file holds."""
    errors = []
    for name, pair in pairs.items():
        up, down = (side.double() for side in written[name])
        size = pair.spectrum.norm()
        gap = balanced(torch.cat([up, pair.up], dim=1), torch.cat([down, -pair.down])).spectrum.norm()
        errors.append(gap / size if bool(size > 0) else gap)
    return torch.stack(errors)
