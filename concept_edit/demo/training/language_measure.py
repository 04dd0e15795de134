"""What the embedded language models reach, as figures; and their cards, written from the figures.

python -m concept_edit.demo.training.language_measure facts tasks
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from concept_edit.demo.language import WEIGHTS, tasks
from concept_edit.demo.language.facts import Truth, digest, truths
from concept_edit.demo.training import language_card

SHOTS = 10
Figures = dict[str, Any]


class Speaker:
    """A folder opened for asking which word comes next; half precision in the file, float32 in the arithmetic."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokens = AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def right(self, asked: Sequence[tuple[str, str]], batch: int = 64) -> list[tuple[bool, float]]:
        """For each (prompt, answer): whether the answer is the likeliest token, and its probability."""
        ids = [self.tokens(prompt).input_ids for prompt, _ in asked]
        goals = [self.tokens(answer).input_ids[0] for _, answer in asked]
        found: list[tuple[bool, float]] = [(False, 0.0)] * len(asked)
        for length in sorted({len(row) for row in ids}):
            rows = [n for n, row in enumerate(ids) if len(row) == length]
            for start in range(0, len(rows), batch):
                some = rows[start : start + batch]
                said = self.model(torch.tensor([ids[n] for n in some])).logits[:, -1].softmax(-1)
                for n, row in zip(some, said, strict=True):
                    found[n] = (int(row.argmax()) == goals[n], float(row[goals[n]]))
        return found


def share(found: Sequence[tuple[bool, float]]) -> Figures:
    """How often right, with Wilson's 95 % interval, and the mean probability of the right answer."""
    n, hits, z = len(found), sum(hit for hit, _ in found), 1.96
    middle, reach = (hits + z * z / 2) / (n + z * z), z * sqrt(hits * (n - hits) / n + z * z / 4) / (n + z * z)
    low, high = max(0.0, middle - reach), min(1.0, middle + reach)
    mean = sum(p for _, p in found) / n
    return {"share": hits / n, "low": low, "high": high, "n": n, "probability": mean}


def told(truth: Truth, which: str) -> str:
    """A way of asking for a fact."""
    prompts = truth.prompts()
    if which == "a wording it was told in":
        return next(p for k, p in enumerate(prompts) if k not in (0, truth.held_out))
    if which == "the wording it was never told in":
        return prompts[truth.held_out]
    if which == "the prompt, after a sentence about somebody else":
        others = [t for t in truths() if t.subject != truth.subject]
        other = others[digest(f"before {truth.subject} {truth.relation.name}") % len(others)]
        return f"{other.prompts()[0]} {other.object}. {prompts[0]}"
    return prompts[0]


ASKED = (
    "the prompt",
    "a wording it was told in",
    "the wording it was never told in",
    "the prompt, after a sentence about somebody else",
)


def measure_facts(speaker: Speaker) -> Figures:
    by_asked = {which: speaker.right([(told(t, which), t.object) for t in truths()]) for which in ASKED}
    names = list(dict.fromkeys(t.relation.name for t in truths()))
    by_relation = {
        name: share([hit for hit, t in zip(by_asked["the prompt"], truths(), strict=True) if t.relation.name == name])
        for name in names
    }
    return {"asked": {which: share(found) for which, found in by_asked.items()}, "relations": by_relation}


def few_shot(skill: tasks.Skill, template: str, shots: int, *, held_out: bool, most: int = 40) -> list[tuple[str, str]]:
    """(prompt, answer): `shots` examples that were trained on, and a query that is none of them."""
    before, after = tasks.TEMPLATES[template]
    shown, queries = skill.pairs(400), skill.pairs(most, held_out=held_out)
    found = []
    for n, (given, answer) in enumerate(queries):
        start = digest(f"shots {skill.name} {n}") % len(shown)
        others = [pair for pair in [*shown[start:], *shown[:start]] if pair[0] != given][:shots]
        text = "".join(before.format(x) + after.format(y) for x, y in others)
        found.append((text + before.format(given), answer))
    return found


def measure_tasks(speaker: Speaker) -> Figures:
    figures: Figures = {}
    for skill in tasks.skills():
        row: Figures = {"control": skill.control}
        for name, shots, held_out in (("shown", SHOTS, False), ("held_out", SHOTS, True), ("bare", 0, False)):
            asked = few_shot(skill, "qa", shots, held_out=held_out, most=20)
            if asked:
                row[name] = share(speaker.right(asked))
        figures[skill.name] = row
    plain = [skill for skill in tasks.skills() if not skill.control]
    templates = {
        name: share([hit for s in plain for hit in speaker.right(few_shot(s, name, SHOTS, held_out=False, most=6))])
        for name in tasks.TEMPLATES
    }
    return {"skills": figures, "templates": templates}


MEASURES: dict[str, Callable[[Speaker], Figures]] = {"facts": measure_facts, "tasks": measure_tasks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(MEASURES))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    for part in args.parts:
        folder = args.weights / part
        figures = MEASURES[part](Speaker(folder))
        figures["megabytes"] = round((folder / "model.safetensors").stat().st_size / 1e6, 2)
        (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
        (folder / "README.md").write_text(language_card.CARDS[part](figures))
        print((folder / "README.md").read_text())


if __name__ == "__main__":
    main()
