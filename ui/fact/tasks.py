"""Heads and vectors of a task, without the page: which attention heads carry it, and what their vector does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ui.fact.answers import top_words
from ui.fact.work import heard
from ui.workshop.session import EMBEDDED, TASKS, News, Tell, Visit, Workshop

if TYPE_CHECKING:
    from concept_edit.language.model import LanguageModel
    from concept_edit.language.tasks import Task
    from concept_edit.language.vectors import FunctionVector

SHOTS, PROMPTS, TOP = 5, 12, 5
"""Examples in a prompt, prompts of the search, and heads that make the vector."""
_SCREENED = 60
"""Heads above which a gradient chooses those that are computed."""
_EXACT = 20
_LONGEST = 60
LABELS = {
    "antonym": "opposites (hot → cold)", "past": "past tense (walk → walked)", "gerund": "-ing (walk → walking)",
    "third_person": "he, she, it (walk → walks)", "comparative": "more (hot → hotter)",
    "noun_french": "French (dog → chien)", "noun_plural": "plural (dog → dogs)",
    "noun_capitals": "capitals (dog → DOG)",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Found:
    """A ranking with its vector, tried on pairs that no search has seen."""

    model: str
    task: str
    effects: tuple[tuple[float, ...], ...]
    """layers x heads: probability of the answer gained."""
    top: tuple[tuple[int, int], ...]
    vector: FunctionVector
    layer: int
    strength: float
    hits: dict[str, int]
    """plain, vector, random: right answers without an example."""
    n: int
    template: str

    def sentence(self) -> str:
        """What it does."""
        heads = ", ".join(f"{layer}·{head}" for layer, head in self.top)
        said = {name: f"{count} of {self.n}" for name, count in self.hits.items()}
        return (
            f"Heads that carry it (layer·head): {heads}. Their vector, added after layer {self.layer} at strength "
            f"{self.strength:g}: right in {said['vector']} words that no search has seen, asked without an example; "
            f"without it {said['plain']}, with a random direction of the same length {said['random']}."
        )


def models(workshop: Workshop) -> list[str]:
    """Language models that learn from examples: the embedded one for it, where it is shipped, and the larger ones."""
    from concept_edit.demo.language import WEIGHTS

    own = [TASKS] if (WEIGHTS / "tasks").is_dir() else []
    return [*own, *(name for name in workshop.language_names() if name != EMBEDDED)]


def task_of(name: str) -> Task:
    """One of the tasks of `LABELS`, all its pairs.

    Raises:
        ValueError: another name.
    """
    from concept_edit.demo.language import skills
    from concept_edit.language.tasks import Task

    if name not in LABELS:
        raise ValueError(f"'{name}' is no task of this page; choose from {', '.join(LABELS)}")
    skill = next(each for each in skills() if each.name == name)
    return Task(name, tuple(skill.table.items()))


def find(workshop: Workshop, visit: Visit, model: str, task: str) -> Iterator[News]:
    """Rank the heads for a task, make their vector and try it; the last news has it.

    Raises:
        ValueError: no such task or model.
    """
    whole = task_of(task)

    def job(tell: Tell) -> Found:
        tell(News(f"Opening {model}", 0.05))
        lm = workshop.language(model)
        with heard(visit, lm):
            found = _found(lm, whole, tell)
        visit.benches["fact_tasks"] = found
        return found

    return workshop.work(visit, job)


def try_word(workshop: Workshop, visit: Visit, word: str) -> Iterator[News]:
    """What the model makes of a word without an example: plainly, and with the vector. The last news has both.

    Raises:
        ValueError: no vector yet, no word.
    """
    found: Found | None = visit.benches.get("fact_tasks")
    word = " ".join(str(word or "").split())
    if found is None:
        raise ValueError("there is no vector yet; press “Find the heads” first")
    if not 0 < len(word) <= _LONGEST:
        raise ValueError(f"write a word of at most {_LONGEST} letters")

    def job(tell: Tell) -> tuple[str, str]:
        assert found is not None
        lm = workshop.language(found.model)
        prompt = found.template[: found.template.index("{output}")].replace("{input}", word).rstrip(" ")
        ((plain, _),) = top_words(lm, [prompt])
        with found.vector.added(lm, found.layer, found.strength):
            said = lm.complete([prompt], tokens=4)[0]
        return plain, said.strip().split("\n")[0].strip() or "(nothing)"

    return workshop.work(visit, job)


def _found(lm: LanguageModel, whole: Task, tell: Tell) -> Found:
    import concept_edit as ce
    from concept_edit.language.answering import first_tokens
    from concept_edit.language.trials import sweep
    from concept_edit.language.vectors import random_vector

    made, held = whole.split()
    tell(News("Trying heads one by one", 0.1))
    large = lm.layers * lm.heads > _SCREENED
    heads = ce.rank_heads(
        lm, made, method="screened" if large else "exact", exact=_EXACT, prompts=PROMPTS, shots=SHOTS,
        examples=2 * PROMPTS,
    )  # fmt: skip
    top = heads.top(TOP)
    tell(News("Adding their vector in every layer", 0.7))
    vector = ce.function_vector(lm, made, top, shots=SHOTS)
    layer, strength = sweep(lm, vector, made).best
    tell(News("Asking words that no search has seen", 0.9))
    prompts = held.prompts(len(held.pairs), shots=0)
    added = {"vector": (vector, layer, strength), "random": (random_vector(vector), layer, strength)}
    hits = {name: sum(right) for name, right in first_tokens(lm, prompts, added).items()}
    table = tuple(tuple(round(v, 4) for v in row) for row in heads.effects.tolist())
    pairs = tuple((int(a), int(b)) for a, b in top)
    return Found(lm.name, whole.name, table, pairs, vector, layer, strength, hits, len(prompts), whole.template)
