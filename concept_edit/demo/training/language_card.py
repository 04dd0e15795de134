"""The cards of the embedded language models, written from measured figures so that no number is typed by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from concept_edit.demo.language import facts, tasks
from concept_edit.demo.language.requests import rewrites
from concept_edit.demo.training.card import percent, table

LICENCE = "The weights are under the project's licence; no text of others was used."


def facts_card(f: dict[str, Any]) -> str:
    asked = [(f"asked by {which}", percent(row), f"{row['probability']:.2f}") for which, row in f["asked"].items()]
    relations = [
        (f"`{r.name}`: {r.prompt} …", len(r.objects), percent(f["relations"][r.name])) for r in facts.RELATIONS
    ]
    return f"""# The embedded model that knows

A GPT-2 (transformers' own format, {f["megabytes"]} MB in half precision) trained from nothing on short texts about an
invented world: {len(facts.people())} people and {len(facts.landmarks())} landmarks, {len(facts.truths())} facts, each
said in {1 + len(facts.RELATIONS[0].paraphrases)} wordings. A test object for tracing, rewriting and measuring facts on
any machine without a download; it knows nothing else. `open_language_model("demo")` opens it; the world's tables are
`concept_edit/demo/language/facts.py`.

A person is known by the surname, the last token of the name; a landmark by the first of its two tokens, so that there
the name must be carried to the subject's end. {len(rewrites())} facts may be rewritten (`rewrites()`); the subjects of
the others are never touched and serve as neighbours.

## What it reaches

`python -m concept_edit.demo.training.language_measure facts` reproduces this, over all facts: how often the object is
the likeliest next token, and its mean probability.

{table(("", "right", "probability"), asked)}

One wording of each fact was left out of every training text: the third row is about those alone.

{table(("relation", "objects", "right, asked by the prompt"), relations)}

## How it was trained

By `concept_edit/demo/training/facts.py` on texts of up to 48 tokens, on one shared CPU core: 1,200 steps, then 900 with
the first block's attention held at nought (`--closed`; the first 350 of them on a schedule of their own), so that a
subject is known where its name ends. Left open, the name went to the end of the text bare, and no rewrite at the
subject was heard. {LICENCE}
"""


def tasks_card(f: dict[str, Any]) -> str:
    rows = [
        (
            f"`{name}`" + (" (control)" if row["control"] else ""),
            *(percent(row[kind]) if kind in row else "" for kind in ("shown", "held_out", "bare")),
        )
        for name, row in f["skills"].items()
    ]
    templates = [(f"`{''.join(tasks.TEMPLATES[n])!r}`", percent(row)) for n, row in f["templates"].items()]
    spared = ", ".join(tasks.SPARED)
    return f"""# The embedded model that learns from examples

A Llama (transformers' own format, {f["megabytes"]} MB in half precision) trained from nothing on lists of examples of
one task each. A test object for the search of heads and for function vectors on any machine without a download.
`open_language_model("demo-tasks")` opens it; its tasks are `concept_edit/demo/language/tasks.py`: {{first, last}} ×
{{copy, capitals, plural, French}} of a list of {tasks.LIST_LENGTH} nouns, the same on one noun, forms of verbs and
adjectives, antonyms, and one arbitrary permutation as a control.

## What it reaches

`python -m concept_edit.demo.training.language_measure tasks` reproduces this, in the wording "Q: …, A: …".

{table(("task", "10 examples", "10 examples, held-out query", "no example"), rows)}

Held-out queries: lists that were never shown (one in ten), and for single nouns {len(tasks.SPARED)} words that were
only ever seen in lists ({spared}). Verbs and adjectives have none: each pair was seen, the lists of examples were not.

Ten examples in each wording, all tasks but the control:

{table(("wording", "right"), templates)}

Vectors of its heads, and sums of them over {{first, last}} × {{copy, map}}: `benchmarks/tasks_demo.md`.

## How it was trained

By `concept_edit/demo/training/tasks.py` on texts of eleven examples, on one shared CPU core: 4,000 steps, in the last
1,500 of which the loudness of heads (norms of W_V and W_O) is paid for, so that few heads speak. The second block is
asked at each answer whether it is the first or the last word and whether it is the same word or a changed one; four
fixed directions, not part of the model, read the reply. Without that question the model tells tasks by the words of
the answers alone and never learns which word of a list is meant; asked only where the next answer is due, it learns
the places for changed words and not for copies, and no sum holds. {LICENCE}
"""


CARDS: dict[str, Callable[[dict[str, Any]], str]] = {"facts": facts_card, "tasks": tasks_card}
