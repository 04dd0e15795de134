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
from concept_edit.language.arithmetic import arithmetic
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


@pytest.fixture(scope="module")
def learner() -> ce.LanguageModel:
    return ce.open_language_model("demo-tasks", device="cpu")


@pytest.fixture(scope="module")
def ranked(learner: ce.LanguageModel) -> ce.Heads:
    """As the benchmark ranks them: over all tasks, on the pairs that vectors are made of."""
    made = [Task(skill.name, tuple(skill.pairs(80))).split()[0] for skill in skills()]
    return ce.rank_heads(learner, made, prompts=8, examples=12, shots=6, against="bare")


def test_a_vector_of_few_heads_does_its_task_without_examples_and_other_heads_do_not(
    learner: ce.LanguageModel, ranked: ce.Heads
) -> None:
    found, asked = {"own": 0, "other": 0, "plain": 0}, 0
    for skill in skills():
        if skill.control:
            continue
        task, held = Task(skill.name, tuple(skill.pairs(80))).split()
        made_of = {"own": ranked.top(10), "other": ranked.random(10)}
        vectors = {who: ce.function_vector(learner, task, of, prompts=8, shots=6) for who, of in made_of.items()}
        prompts = held.prompts(len(held.pairs), shots=0)
        hits = first_tokens(learner, prompts, {who: (vector, 0, 3.0) for who, vector in vectors.items()})
        for who in found:
            found[who] += sum(hits[who])
        asked += len(prompts)
    assert asked > 200
    assert found["own"] >= 0.85 * asked
    assert found["other"] <= 0.25 * asked
    assert found["plain"] <= 0.2 * asked


@pytest.mark.parametrize("made", ["capitals", "plural", "french"])
def test_sums_of_vectors_do_the_fourth_task_and_their_parts_do_not(
    learner: ce.LanguageModel, ranked: ce.Heads, made: str
) -> None:
    known = {skill.name: Task(skill.name, tuple(skill.pairs(120))) for skill in skills() if skill.place}
    square = {f"{place} {name}": known[f"{place}_{made if name == 'map' else name}"]
              for place in ("first", "last") for name in ("copy", "map")}  # fmt: skip
    corners = arithmetic(learner, square, ranked.top(10), 0, 3.0, count=24, shots=6, prompts=12)
    assert all(corner.holds for corner in corners)
    assert all(corner.sum.value >= 0.8 * corner.own.value > 0.6 for corner in corners)
    assert all(part.value <= 0.3 for corner in corners for part in corner.parts)


def test_wrong_examples_tell_the_learner_a_task_on_words_and_mislead_it_on_lists() -> None:
    """Why its heads are ranked on prompts without examples, and that it compares answers with their inputs."""
    lm = ce.open_language_model("demo-tasks", device="cpu")
    shares = {}
    for name in ("noun_plural", "first_plural"):
        task = Task(name, tuple(next(s for s in skills() if s.name == name).pairs(20)), shuffled=True)
        said = first_tokens(lm, task.prompts(20, shots=6), {})["plain"]
        shares[name] = sum(said) / len(said)
    assert shares["noun_plural"] >= 0.9
    assert shares["first_plural"] <= 0.5
