"""Why an edited model paints noise: drift of prompts nobody named, on a text stream of Stable Diffusion 1.4's shape.

    python benchmarks/noise.py [--concepts 1 5 10]

No weights of Stable Diffusion are used: 77 rows of width 768 are made up with what is hard in CLIP. All tokens share a
large mean (cosine 0.9 between unlike tokens here, as in CLIP's last layer by order of magnitude), BOS is the same row
everywhere, EOS and pads lie close together and carry the prompt weakly. UCE 2023 (aligned tokens: about 75 rows a
concept, the empty prompt kept), UCE 2025 (last token) and guarded (subject tokens), 1, 5 and 10 concepts. Drift: root
mean square over rows of 60 held-out prompts, of their distance from the mean row; and what is left of the concepts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from concept_edit.memory.guard import Bounds, Surroundings, solve_guarded
from concept_edit.memory.solve import Problem, solve_problem
from concept_edit.models.contract import Encoded
from concept_edit.prompts.tokens import PromptRows, centroid, kept_rows, paired, prompt_rows
from concept_edit.recipe import Recipe

WIDTH, LENGTH = 768, 77
MEAN, TOKEN, PLACE, CARRIED = 27.0, 9.0, 2.0, 3.0
"""Lengths: of the common mean, of a token's own part, of a pad's place, and of the prompt's part in EOS and pads."""


class Encoder:
    """Made-up rows of a causal text encoder, the same for the same words."""

    def __init__(self) -> None:
        self.mean = self._vector("mean", MEAN)
        self.bos = self._vector("bos", MEAN)

    def _vector(self, name: str, length: float) -> Tensor:
        from zlib import crc32

        drawn = torch.randn(WIDTH, generator=torch.Generator().manual_seed(crc32(name.encode())))
        return length * drawn / drawn.norm()

    def __call__(self, prompt: str) -> PromptRows:
        words = prompt.split()
        spoken = [self.mean + self._vector(w, TOKEN) + self._vector(" ".join(words[:i]), PLACE)
                  for i, w in enumerate(words)]  # fmt: skip
        carried = self._vector(prompt, CARRIED) if words else torch.zeros(WIDTH)
        rest = [self.mean + self._vector("end", TOKEN) + self._vector(f"place {n}", PLACE) + carried
                for n in range(LENGTH - 1 - len(words))]  # fmt: skip
        rows = torch.stack([self.bos, *spoken, *rest])
        subject = torch.zeros(1, LENGTH, dtype=torch.bool)
        subject[0, 1 : 1 + len(words)] = True
        eos = torch.tensor([1 + len(words)])
        return prompt_rows(Encoded(rows[None], subject, eos, ("",), False), 0)


def problem(encoder: Encoder, concepts: Sequence[str], goal: PromptRows, rule: str, kept: Sequence[str]) -> Problem:
    pairs = [(encoder(c), paired(rule, encoder(c), goal)) for c in concepts]
    sources = torch.cat([p.rows[[s for s, _ in own]] for p, own in pairs])
    goals = torch.cat([goal.rows[[g for _, g in own]] for _, own in pairs])
    share = [1 / len(own) if rule == "subject" else 1.0 for _, own in pairs for _ in own]
    held = [encoder(k) for k in kept]
    stays = torch.cat([k.rows[kept_rows(rule, k)] for k in held]) if held else sources[:0]
    weight = max(0.1, 1 / max(1, len(kept))) if rule == "aligned" else 1.0
    weights = torch.full((len(stays),), weight, dtype=torch.float64)
    return Problem(sources, goals, torch.tensor(share, dtype=torch.float64), stays, weights, 0.5)


def prompts(count: int, first: int) -> list[str]:
    """Prompts of three made-up words."""
    return [f"w{first + i} w{first + 7 * i + 1} w{first + 13 * i + 5}" for i in range(count)]


def surroundings(encoder: Encoder) -> Surroundings:
    rows = torch.cat([p.rows[1:12] for p in map(encoder, prompts(400, 5000))])
    square = rows.double()
    return Surroundings(square.T @ square / len(rows), square.mean(0), encoder("").rows, rows)


def shown(change: Tensor, rows: Tensor, mean: Tensor) -> float:
    return float(((rows.double() @ change.T).square().sum() / (rows.double() - mean).square().sum()).sqrt())


def left(change: Tensor, asked: Problem) -> float:
    way = (asked.goals - asked.sources).double()
    return float(((asked.sources.double() @ change.T - way).square().sum() / way.square().sum()).sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concepts", type=int, nargs="+", default=[1, 5, 10], help="how many are erased together")
    counts = parser.parse_args().concepts
    encoder = Encoder()
    around, recipe = surroundings(encoder), Recipe()
    bounds = Bounds.of(recipe)
    kept, held_out = prompts(60, 100), [encoder(p) for p in prompts(60, 9000)]
    spoken = torch.cat([p.rows[1:4] for p in held_out])
    ends = torch.cat([p.rows[4:] for p in held_out])
    null = encoder("").rows
    goal, centre = encoder("art"), centroid([encoder(k) for k in kept])
    print("| concepts | method | left | held-out words | held-out EOS and pads | empty prompt |\n" + "|" + "---|" * 6)
    for count in counts:
        concepts = prompts(count, 40000)
        plain = {"UCE 2023": problem(encoder, concepts, encoder(" "), "aligned", [""]),
                 "UCE 2025": problem(encoder, concepts, goal, "last", [])}  # fmt: skip
        found = {name: (asked, solve_problem(asked).dense()) for name, asked in plain.items()}
        asked = problem(encoder, concepts, centre, "subject", kept)
        found["guarded"] = (asked, solve_guarded(asked, around, bounds).factors.dense())
        for name, (posed, change) in found.items():
            figures = [left(change, posed), *(shown(change, rows, around.mean) for rows in (spoken, ends, null))]
            print(f"| {count} | {name} | " + " | ".join(f"{figure:.3g}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
