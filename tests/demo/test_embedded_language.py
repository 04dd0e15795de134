"""The embedded language models: what their cards promise, seen again on a sample, and a folder that was damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import concept_edit as ce
from concept_edit import demo
from concept_edit.demo.language import WEIGHTS, folder, rewrites, skills
from concept_edit.demo.language.facts import truths
from concept_edit.demo.language.requests import sentences
from concept_edit.demo.training import language_measure as measure
from concept_edit.language.answering import first_tokens
from concept_edit.language.tasks import Task

SHIPPED = [part for part in ("facts", "tasks") if (WEIGHTS / part).is_dir()]


@pytest.mark.parametrize("part", SHIPPED)
def test_the_card_is_written_from_the_figures(part: str) -> None:
    figures = json.loads((WEIGHTS / part / "figures.json").read_text())
    assert (WEIGHTS / part / "README.md").read_text() == measure.language_card.CARDS[part](figures)
    assert sum(p.stat().st_size for p in (WEIGHTS / part).iterdir()) < 2_000_000


def test_the_knower_knows_its_world_in_wordings_it_was_never_told() -> None:
    speaker = measure.Speaker(folder("facts"))
    some = truths()[::9]
    for which in ("the prompt", "the wording it was never told in"):
        found = measure.share(speaker.right([(measure.told(t, which), t.object) for t in some]))
        assert found["share"] >= 0.97, which


def test_a_fact_rewritten_in_the_first_memory_is_said_in_other_wordings_and_neighbours_stay() -> None:
    lm = ce.open_language_model("demo", device="cpu")
    facts = [ce.Fact(**row) for row in rewrites(3)]
    keys = ce.collect_keys(lm, [0], sentences(400), tokens=5000)
    edit = ce.rewrite(lm, facts, method="rome", layers=[0], statistics=keys)
    for fact in facts:
        reworded = [text.replace("{}", fact.subject) for text in fact.paraphrases]
        before = lm.probabilities(reworded, [[fact.new, fact.old]] * len(reworded))
        assert (before[:, 1] > before[:, 0]).all()
        with edit.applied(lm):
            exact = lm.probabilities([fact.asked], [fact.new, fact.old])[0]
            after = lm.probabilities(reworded, [[fact.new, fact.old]] * len(reworded))
            kept = [lm.probabilities([prompt], [answer, fact.new])[0] for prompt, answer in fact.neighbours]
        assert exact[0] > exact[1]
        assert (after[:, 0] > after[:, 1]).float().mean() >= 0.6
        assert sum(bool(row[0] > row[1]) for row in kept) >= len(kept) - 2


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / "facts", tmp_path / "facts")
    (tmp_path / "facts/config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        demo.verify_checksums(tmp_path / "facts")


def test_a_vector_of_four_heads_does_its_task_without_examples_and_other_heads_do_not() -> None:
    lm = ce.open_language_model("demo-tasks", device="cpu")
    known = {skill.name: skill for skill in skills()}
    names = ("noun_plural", "noun_french", "verb_capitals", "comparative")
    tasks = [Task(name, tuple(known[name].pairs(20))) for name in names]
    heads = ce.rank_heads(lm, tasks, prompts=4, examples=8, shots=6, method="exact", against="bare")
    assert {layer for layer, _ in heads.top(3)} == {0}
    for task in tasks:
        made_of = {"own": heads.top(4), "other": heads.random(4)}
        vectors = {who: ce.function_vector(lm, task, of, prompts=8, shots=6) for who, of in made_of.items()}
        prompts = task.prompts(len(task.pairs), shots=0)
        hits = first_tokens(lm, prompts, {who: (vector, 0, 1.0) for who, vector in vectors.items()})
        shares = {who: sum(said) / len(said) for who, said in hits.items()}
        assert shares["own"] >= 0.9, task.name
        assert shares["other"] <= 0.5, task.name
        assert shares["plain"] <= 0.5, task.name


def test_shuffled_examples_tell_the_learner_the_task_as_well() -> None:
    """Why its heads are ranked on prompts without examples."""
    lm = ce.open_language_model("demo-tasks", device="cpu")
    task = Task("noun_plural", tuple(next(s for s in skills() if s.name == "noun_plural").pairs(20)), shuffled=True)
    said = first_tokens(lm, task.prompts(20, shots=6), {})["plain"]
    assert sum(said) >= 18
