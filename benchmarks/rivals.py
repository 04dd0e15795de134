"""Other closed forms of erasing concepts, written anew from their papers' formulas, to be measured beside ours.

    uce     Gandikota et al., "Unified Concept Editing in Diffusion Models", WACV 2024, equation 7: `solve_problem`
    rece    Gong et al., "Reliable and Efficient Concept Erasure of Text-to-Image Diffusion Models", ECCV 2024
    ace     Wang et al., "ACE: Concept Editing in Diffusion Models without Performance Degradation", 2025: its null
            space of what is kept; its further projections, made for unsafe words, are left out
    speed   Li et al., "SPEED: Scalable, Precise, and Efficient Concept Erasure for Diffusion Models", 2025

Rows are embeddings, as in `concept_edit.memory.solve`: sources C, goals T, weights S, kept P, ridge λ; D = T − C. Maps
A turn every matrix W into W (I + A). Everything in float64. None of the authors' code was read for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.memory.solve import Problem, solve_problem

Map = Float[Tensor, "d_text d_text"]
Matrix = Float[Tensor, "d_out d_text"]


def uce(problem: Problem) -> Map:
    """A = Dᵀ S C (λI + Cᵀ S C + Pᵀ P)⁻¹."""
    return solve_problem(problem).dense()


def rece(problem: Problem, gram: Map, *, rounds: int = 2, ridge: float = 0.1) -> Map:
    """UCE, then rounds of the adversary: what the edited matrices read most nearly as the concept was read goes too.

    The revived row minimises Σ ‖W (I + A) c' − W c‖² + r ‖c'‖² over all matrices, c' = (JᵀGJ + rI)⁻¹ JᵀG c with
    J = I + A and G = Σ WᵀW. It is sent to the goal of c, and all is solved again. `ridge` is r over G's mean
    eigenvalue.
    """
    asked, change = problem, uce(problem)
    whole = torch.eye(problem.width, dtype=torch.float64)
    for _ in range(rounds):
        moved = whole + change
        inner = moved.T @ gram @ moved + ridge * gram.diagonal().mean() * whole
        revived = torch.linalg.solve(inner, moved.T @ gram @ problem.sources.double().T).T
        asked = replace(
            asked,
            sources=torch.cat([asked.sources.double(), revived]),
            goals=torch.cat([asked.goals, problem.goals]),
            weights=torch.cat([asked.weights, problem.weights]),
        )
        change = uce(asked)
    return change


def free_of(rows: Float[Tensor, "rows d_text"], threshold: float) -> Map:
    """Π: onto the eigenvectors of Σ k kᵀ whose eigenvalue is at most `threshold` of the largest."""
    values, vectors = torch.linalg.eigh(rows.double().T @ rows.double())
    free = vectors[:, values <= threshold * values[-1]]
    return free @ free.T


def ace(problem: Problem, *, threshold: float) -> Map:
    """A = Dᵀ S C Π (Cᵀ S C Π + λI)⁻¹: kept rows do not move but for what lies under the threshold."""
    roots = problem.weights.double().sqrt()[:, None]
    sources, ways = roots * problem.sources.double(), roots * (problem.goals - problem.sources).double()
    free = free_of(problem.kept, threshold)
    inner = sources.T @ sources @ free + problem.ridge * torch.eye(problem.width, dtype=torch.float64)
    return torch.linalg.solve(inner, ways.T @ sources @ free, left=False)


@dataclass(frozen=True)
class Speed:
    """SPEED's settings."""

    threshold: float
    """Eigenvalues of the kept rows' moment, of the largest, that count as none."""
    filtered: bool = True
    """Influence-based prior filtering: only kept rows that the erasing alone would move more than the mean."""
    copies: int = 10
    """Directed prior augmentation: copies of each kept row, moved where the matrix reads least."""
    directions: int = 1
    """How many of the matrix's smallest singular directions the copies move along."""
    seed: int = 0


def speed(matrix: Matrix, problem: Problem, fixed: Float[Tensor, "fixed d_text"], settings: Speed) -> Matrix:
    """The change of one matrix: min ‖(W + X) C − W T‖² + λ ‖X‖² over X = X Π with X e = 0 for the fixed rows e.

    X = W Dᵀ S C Π (I − N E (Eᵀ N E)⁺ Eᵀ) N, N = Π (Π Cᵀ S C Π + λI)⁻¹: the paper's closed form with its invariant
    equality constraints, E the first row and the empty prompt's.
    """
    weight, roots = matrix.detach().double(), problem.weights.double().sqrt()[:, None]
    sources, ways = roots * problem.sources.double(), roots * (problem.goals - problem.sources).double()
    kept = problem.kept.double()
    if settings.filtered:
        kept = _influenced(kept, weight, replace(problem, kept=problem.kept[:0], kept_weights=problem.kept_weights[:0]))
    free = free_of(_augmented(kept, weight, settings), settings.threshold)
    whole = torch.eye(problem.width, dtype=torch.float64)
    inner = free @ torch.linalg.inv(free @ sources.T @ sources @ free + problem.ridge * whole)
    ends = fixed.double().T
    held = whole - inner @ ends @ torch.linalg.pinv(ends.T @ inner @ ends, hermitian=True) @ ends.T
    return weight @ ways.T @ sources @ free @ held @ inner


def _influenced(kept: Tensor, weight: Tensor, alone: Problem) -> Tensor:
    """The kept rows that erasing alone moves at least as much as the mean of them."""
    moved = (kept @ (weight @ uce(alone)).T).square().sum(dim=1)
    return kept[moved >= moved.mean()]


def _augmented(kept: Tensor, weight: Tensor, settings: Speed) -> Tensor:
    """The kept rows, and copies of each with noise along the matrix's smallest right singular directions."""
    _, _, directions = torch.linalg.svd(weight, full_matrices=True)
    least = directions[len(directions) - settings.directions :]
    draw = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(settings.copies, *kept.shape, generator=draw, dtype=torch.float64)
    return torch.cat([kept, (kept + noise @ least.T @ least).flatten(0, 1)])
