"""How far must a text embedding be bent to bring an erased concept back? Every method, 12 of 48 concepts erased.

    python benchmarks/revival.py

The attacker knows model and edit and may change each row of "a CONCEPT" by at most the budget, a share of the row's
length. Against a weight edit each row moves to where the edited matrices read most nearly what the original ones read
(RECE's revival, Gong et al., ECCV 2024, in closed form, its ridge raised until the budget holds); against a gate it
turns away from the nearest erased row until the gate is shut or the budget spent. Success: the judge names the concept.
One picture a concept, at a seed no setting was chosen on.
"""

from __future__ import annotations

import torch
from erase_quality import METHODS, STEPS, Cell, erased
from torch import Tensor

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.edit import Edit
from concept_edit.gate import Gate
from concept_edit.models import Model

BUDGETS = (0.0, 0.25, 0.5, 1.0)
COUNT, SEED = 12, 7301
RIDGES = torch.logspace(-4, 8, 49).tolist()
"""Relative to the mean eigenvalue of JᵀGJ."""


def bent(rows: Tensor, edit: Edit, gram: Tensor, budget: float) -> Tensor:
    """The rows as the attacker gives them to the edited model."""
    if budget == 0:
        return rows
    gate = edit.gates.get("text")
    return _past_the_gate(rows, gate, budget) if gate else _past_the_matrix(rows, edit, gram, budget)


def _past_the_matrix(rows: Tensor, edit: Edit, gram: Tensor, budget: float) -> Tensor:
    """Row by row the least squares with the smallest ridge that keeps to the budget."""
    h = rows.double()
    jacobian = torch.eye(h.shape[1], dtype=torch.float64) + edit.factors["text"].dense()
    inner = jacobian.T @ gram @ jacobian
    values, vectors = torch.linalg.eigh(inner)
    missing = ((h - h @ jacobian.T) @ gram @ jacobian) @ vectors
    best, done = torch.zeros_like(h), torch.zeros(len(h), dtype=torch.bool)
    for ridge in RIDGES:
        step = (missing / (values.clamp(min=0) + ridge * values.mean())) @ vectors.T
        fits = (step.norm(dim=1) <= budget * h.norm(dim=1)) & ~done
        best[fits], done = step[fits], done | fits
    return (h + best).to(rows.dtype)


def _past_the_gate(rows: Tensor, gate: Gate, budget: float) -> Tensor:
    """Each row turned about the mean, away from the nearest erased row, as little as shuts the gate."""
    arm = rows - gate.mean
    unit = torch.nn.functional.normalize(arm, dim=1)
    source = gate.sources[(unit @ gate.sources.T - gate.thresholds).argmax(dim=1)]
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    away = -(source - (source * unit).sum(1, keepdim=True) * unit)
    away = torch.where(away.norm(dim=1, keepdim=True) > 0.1, away, noise - (noise * unit).sum(1, keepdim=True) * unit)
    away = torch.nn.functional.normalize(away, dim=1)
    best, shut = rows.clone(), (gate(rows) - rows).norm(dim=1) == 0
    for angle in torch.linspace(0, torch.pi / 2, 46)[1:]:
        turned = gate.mean + arm.norm(dim=1, keepdim=True) * (angle.cos() * unit + angle.sin() * away)
        allowed = (turned - rows).norm(dim=1) <= budget * rows.norm(dim=1)
        move = allowed & ~shut
        best[move] = turned[move]
        shut |= move & ((gate(turned) - turned).norm(dim=1) == 0)
    return best


def success(model: Model, edit: Edit, names: list[str], budget: float) -> float:
    encoded = model.encode([f"a {name}" for name in names])["text"].rows
    weights = [weight.double() for weight in model.weights().values()]
    gram = sum(weight.T @ weight for weight in weights)
    given = torch.stack([bent(rows, edit, gram, budget) for rows in encoded])
    null = model.encode([""])["text"].rows.expand(len(names), -1, -1)
    generators = [torch.Generator().manual_seed(SEED) for _ in names]
    model.pipeline.set_progress_bar_config(disable=True)
    with edit.applied(model), torch.no_grad():
        images = model.pipeline(
            prompt_embeds=given, negative_prompt_embeds=null, generator=generators, num_inference_steps=STEPS,
            guidance_scale=1.25, height=64, width=64,
        ).images  # fmt: skip
    return sum(verdict.concept == name for verdict, name in zip(load_judge()(images), names, strict=True)) / len(names)


def main() -> None:
    model, names = ce.open_model("demo"), erased(Cell("concept", "", COUNT))
    print("| method | " + " | ".join(f"budget {budget:g}" for budget in BUDGETS) + " |\n" + "|---" * 5 + "|")
    for method, recipe in METHODS.items():
        edit = ce.solve(model, recipe(Cell("concept", method, COUNT)))
        found = [f"{success(model, edit, names, budget):.2f}" for budget in BUDGETS]
        print(f"| {method} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
