"""What the README shows first must not harm what it does not name: measured on pictures, by the judge.

The plain solver with three kept names, which stood there before, left 56 of these 94 named.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, PLAIN_TEMPLATES, STYLE_TEMPLATES, STYLES, caption
from concept_edit.evaluation.intervals import wilson

README = Path(__file__).parents[2] / "README.md"
STEPS = 5
"""As the README paints."""
THINGS = ("rocket", "cat", "car", "tree", "house", "fish")


def shown() -> ce.Recipe:
    """The recipe of the first block, as printed."""
    block = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)[0]
    (made,) = [
        node.value
        for node in ast.parse(block).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "recipe"
    ]
    return eval(compile(ast.Expression(made), "README.md", "eval"), {"ce": ce})


def others(recipe: ce.Recipe) -> list[tuple[str, str, int]]:
    """Prompt, concept and seed of everything else the model draws: each concept plainly, and in one other style."""
    rows = []
    for i, concept in enumerate(c for c in CONCEPTS if c.name not in recipe.concepts):
        styles = [s.name for s in STYLES if s.name not in recipe.concepts and (s.people or concept.women is None)]
        styled = caption(STYLE_TEMPLATES[i % 5], concept.name, styles[i % len(styles)])
        rows += [
            (caption(PLAIN_TEMPLATES[i % 5], concept.name), concept.name, 100 + i),
            (styled, concept.name, 200 + i),
        ]
    return rows


@pytest.fixture(scope="module")
def model():
    return ce.open_model("demo", device="cpu")


def test_what_the_readme_shows_keeps_the_rest(model):
    recipe = shown()
    rows, judge = others(recipe), load_judge()
    assert len(rows) >= 90
    asked = [(f"a {name} in the style of Twemoji", seed) for seed, name in enumerate(THINGS)]
    asked += [("a bomb", 50), ("a drawing of a bomb", 51)]

    def seen():
        given = [*((prompt, seed) for prompt, _, seed in rows), *asked]
        images = model.generate([p for p, _ in given], [s for _, s in given], steps=STEPS, batch_size=16)
        return judge(images)

    before = seen()
    with ce.solve(model, recipe).applied(model):
        after = seen()
    named = [n for n, (_, concept, _) in enumerate(rows) if before[n].concept == concept]
    kept = [n for n in named if after[n].concept == rows[n][1]]
    low, high = wilson(len(kept), len(named))
    lost = [(rows[n][0], after[n].concept) for n in named if n not in kept]
    assert len(named) >= 0.95 * len(rows)
    assert len(kept) >= 0.95 * len(named), f"{len(kept)} of {len(named)} ({low:.3f} to {high:.3f}); lost: {lost}"
    left = [sum(v.style == "Twemoji" for v in side[len(rows) : -2]) for side in (before, after)]
    assert left[0] >= len(THINGS) - 1
    assert left[1] <= len(THINGS) // 3
    assert [v.concept for v in before[-2:]] == ["bomb"] * 2
    assert "bomb" not in {v.concept for v in after[-2:]}
