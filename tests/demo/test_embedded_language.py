"""The embedded language models: what their cards promise, seen again on a sample, and a folder that was damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import concept_edit as ce
from concept_edit import demo
from concept_edit.demo.language import WEIGHTS, folder, rewrites
from concept_edit.demo.language.facts import truths
from concept_edit.demo.language.requests import sentences
from concept_edit.demo.training import language_measure as measure

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
