"""Heads and vectors of a task on the card: the mechanics on the embedded model of facts, which is always there."""

from __future__ import annotations

import pytest
from pages import result

from ui.fact import tasks
from ui.fact.tasks_layout import as_html
from ui.workshop.session import TASKS, Visit, Workshop


def test_heads_are_ranked_and_their_vector_is_tried(workshop: Workshop, visit: Visit) -> None:
    with pytest.raises(ValueError, match="no vector yet"):
        tasks.try_word(workshop, visit, "hot")
    lm = workshop.language("demo")
    found = result(tasks.find(workshop, visit, "demo", "antonym"))
    assert (len(found.effects), len(found.effects[0])) == (lm.layers, lm.heads)
    assert len(set(found.top)) == tasks.TOP
    best = max(v for row in found.effects for v in row)
    assert found.effects[found.top[0][0]][found.top[0][1]] == best
    assert set(found.hits) == {"plain", "vector", "random"}
    assert all(0 <= count <= found.n for count in found.hits.values())
    shown = as_html(found)
    assert shown.count('class="high top"') + shown.count('class="top"') == tasks.TOP
    plain, after = result(tasks.try_word(workshop, visit, "hot"))
    assert plain
    assert after
    for word in ("", "x" * 100):
        with pytest.raises(ValueError, match="write a word"):
            tasks.try_word(workshop, visit, word)


def test_other_tasks_are_refused(workshop: Workshop, visit: Visit) -> None:
    with pytest.raises(ValueError, match="is no task of this page"):
        tasks.find(workshop, visit, "demo", "../antonym")
    assert all(len(tasks.task_of(name).pairs) >= 12 for name in tasks.LABELS)


def test_the_embedded_models_vector_does_its_task(workshop: Workshop, visit: Visit) -> None:
    if TASKS not in tasks.models(workshop):
        pytest.skip("this version ships no embedded model of tasks")
    found = result(tasks.find(workshop, visit, TASKS, "past"))
    assert found.hits["vector"] > found.hits["random"]
