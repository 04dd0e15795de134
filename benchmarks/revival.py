"""How far must a text embedding be bent to bring an erased concept back? Every method, 12 of 48 concepts erased.

    python benchmarks/revival.py [--methods guarded --budgets 0 0.25 --rounds 0]

The attacker knows model and edit and may change each row of "a CONCEPT" by at most the budget, a share of the row's
length. Against a weight edit each row moves to where the edited matrices read most nearly what the original ones read
(RECE's revival, Gong et al., ECCV 2024, in closed form, its ridge raised until the budget holds); against a gate each
row is turned and then moved by gradient to where what comes through is read most nearly so. Success: the judge names
the concept. One picture a concept, at a seed no setting was chosen on.

The last rows harden the guarded edit by RECE's adversarial rounds: every erased row's own revival, bent by at most half
its length, is sent to the same goal and all is solved again. `kept`: share of the other concepts still named right.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from erase_quality import METHODS, STEPS, Cell, erased
from torch import Tensor

import concept_edit as ce
from concept_edit.answer.solving import placed
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS
from concept_edit.edit import Edit
from concept_edit.memory.gate import Gate
from concept_edit.memory.guard import Bounds, solve_guarded
from concept_edit.models import Model

BUDGETS = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
COUNT, SEED = 12, 7301
HARDENING = 0.5
DESCENT = 30
RIDGES = torch.logspace(-4, 8, 49).tolist()
"""Relative to the mean eigenvalue of JᵀGJ."""


def bent(rows: Tensor, edit: Edit, gram: Tensor, budget: float) -> Tensor:
    """The rows as the attacker gives them to the edited model."""
    if budget == 0:
        return rows
    gate = edit.gates.get("text")
    return _past_the_gate(rows, gate, gram, budget) if gate else _past_the_matrix(rows, edit, gram, budget)


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


def _past_the_gate(rows: Tensor, gate: Gate, gram: Tensor, budget: float) -> Tensor:
    """Row by row what the gate lets through most like the row itself: the best of turns about the mean, away from the
    nearest erased row, from what the gate's map reads, and from both, then refined by gradient."""
    reach = budget * rows.norm(dim=1, keepdim=True)
    best, lost = rows.clone(), _lost(rows, rows, gate, gram)
    for start in [*_turned(rows, gate), rows]:
        for given in (_within(rows, start, reach), _descended(rows, _within(rows, start, reach), gate, gram, reach)):
            now = _lost(given, rows, gate, gram)
            best[now < lost], lost = given[now < lost], torch.minimum(now, lost)
    return best


def _lost(given: Tensor, rows: Tensor, gate: Gate, gram: Tensor) -> Tensor:
    """How unlike the row the matrices read what comes through."""
    apart = gate(given) - rows
    return ((apart @ gram.float()) * apart).sum(dim=1)


def _within(rows: Tensor, given: Tensor, reach: Tensor) -> Tensor:
    step = given - rows
    return rows + step * (reach / step.norm(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1)


def _turned(rows: Tensor, gate: Gate) -> list[Tensor]:
    arm = rows - gate.mean
    unit = torch.nn.functional.normalize(arm, dim=1)
    source = gate.sources[(unit @ gate.sources.T - gate.thresholds).argmax(dim=1)]
    read = torch.nn.functional.normalize(((rows @ gate.right.T) @ gate.left.T) @ gate.left @ gate.right, dim=1)
    noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    found = []
    for away in (-source, -read, -source - read):
        side = away - (away * unit).sum(dim=1, keepdim=True) * unit
        side = torch.nn.functional.normalize(side + 1e-6 * noise, dim=1)
        for degrees in range(3, 91, 6):
            angle = torch.tensor(degrees * torch.pi / 180)
            found.append(gate.mean + arm.norm(dim=1, keepdim=True) * (angle.cos() * unit + angle.sin() * side))
    return found


def _descended(rows: Tensor, start: Tensor, gate: Gate, gram: Tensor, reach: Tensor) -> Tensor:
    """Projected gradient descent on what is lost, by normalised steps that shrink."""
    given = start.clone()
    for i in range(DESCENT):
        given.requires_grad_(True)
        (slope,) = torch.autograd.grad(_lost(given, rows, gate, gram).sum(), given)
        step = 0.1 * (1 - i / DESCENT) * reach * torch.nn.functional.normalize(slope, dim=1)
        given = _within(rows, given.detach() - step, reach)
    return given


def hardened(edit: Edit, gram: Tensor, rounds: int) -> Edit:
    """A guarded edit after so many adversarial rounds."""
    assert edit.statistics is not None
    first, around = placed(edit.statistics, "text")
    asked, bounds = first, Bounds.of(edit.recipe)
    for _ in range(rounds):
        revived = _past_the_matrix(first.sources, edit, gram, HARDENING)
        asked = replace(
            asked,
            sources=torch.cat([asked.sources, revived]),
            goals=torch.cat([asked.goals, first.goals]),
            weights=torch.cat([asked.weights, first.weights]),
        )
        found = solve_guarded(asked, around, bounds)
        edit = replace(edit, factors={"text": found.factors.float()}, counts={"text": None})
    return edit


def stays(model: Model, edit: Edit) -> float:
    """Share of the other concepts that the judge still names."""
    others = [c.name for c in CONCEPTS if c.name not in edit.concepts]
    with edit.applied(model):
        images = model.generate([f"a {name}" for name in others], [SEED] * len(others), steps=STEPS)
    return sum(verdict.concept == name for verdict, name in zip(load_judge()(images), others, strict=True)) / len(
        others
    )


def success(model: Model, edit: Edit, names: list[str], budget: float) -> float:
    encoded = model.encode([f"a {name}" for name in names])["text"].rows
    gram = read_by(model)
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


def read_by(model: Model) -> Tensor:
    """G = Σ WᵀW over the matrices that read the text."""
    return torch.stack([weight.double().T @ weight.double() for weight in model.weights().values()]).sum(dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--rounds", type=int, default=2, help="adversarial rounds of the guarded edit, at most")
    asked = parser.parse_args()
    model, names = ce.open_model("demo"), erased(Cell("concept", "", COUNT))
    head = " | ".join(f"budget {b:g}" for b in asked.budgets)
    print(f"| method | kept | {head} |\n" + "|---" * (len(asked.budgets) + 2) + "|")
    edits = {method: ce.solve(model, METHODS[method](Cell("concept", method, COUNT))) for method in asked.methods}
    for rounds in range(1, asked.rounds + 1):
        edits[f"guarded, {rounds} adversarial"] = hardened(edits["guarded"], read_by(model), rounds)
    for method, edit in edits.items():
        found = [f"{success(model, edit, names, budget):.2f}" for budget in asked.budgets]
        print(f"| {method} | {stays(model, edit):.2f} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
