"""A guarded solve in a stream as wide as FLUX.2's: 15,360 channels, 20 concepts, 500 kept, 1,024 caption tokens.

    python benchmarks/wide_streams.py

Rows are random with a few common directions; one channel in a thousand is a hundred times the rest, as language models
have them. A d x d float64 matrix would take 1.9 GB; the dense form needs five of them.
"""

from __future__ import annotations

import resource
import time

import torch

from concept_edit.memory.guard import Bounds, Surroundings, foretold, solve_guarded
from concept_edit.memory.solve import Problem

WIDTH, CONCEPTS, KEPT, TOKENS, SEEN = 15_360, 20, 500, 1024, 1024


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.where(torch.rand(WIDTH, generator=generator) < 1e-3, 100.0, 1.0)
    common = torch.randn(64, WIDTH, generator=generator)

    def rows(count: int) -> torch.Tensor:
        shared = torch.randn(count, 64, generator=generator) @ common / 8
        return (shared + torch.randn(count, WIDTH, generator=generator)) * scale

    asked = Problem(rows(CONCEPTS), rows(CONCEPTS), torch.ones(CONCEPTS), rows(KEPT), torch.ones(KEPT), 0.5)
    shrink = WIDTH / (WIDTH + TOKENS)
    tokens, even = rows(TOKENS), scale.double() / scale.double().square().mean().sqrt()
    around = Surroundings(
        tokens * ((1 - shrink) / TOKENS) ** 0.5,
        torch.zeros(WIDTH, dtype=torch.float64),
        rows(40),
        tokens,
        floor=shrink * tokens.double().square().mean(),
        scale=even,
        lens=torch.randn(SEEN, WIDTH, generator=generator) / scale,
    )
    began, spent = time.monotonic(), time.process_time()
    found = solve_guarded(asked, around, Bounds(0.22, 0.3, 0.35, 4))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(
        f"{time.process_time() - spent:.1f} s of processor time, {time.monotonic() - began:.1f} s, peak {peak:.2f} GB"
    )
    print(foretold(found))


if __name__ == "__main__":
    main()
