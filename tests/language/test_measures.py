"""CounterFact's measures against the formulas, on tiny models."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import concept_edit as ce
from concept_edit.language.facts import Fact
from concept_edit.language.measures import harmonic
from concept_edit.language.rewrite import rewrite_each
from concept_edit.language.said import entropy, likeness
from concept_edit.language.scores import as_html, as_json, as_markdown, as_text
from concept_edit.language.values import Search
from tests.language.models import LINES, opened

FACTS = (
    Fact("The Space Needle", "{} is in the city of", "Rome", "Seattle", paraphrases=["Where is {}? It is in"],
         neighbours=["The Louvre is in", ("The Thames is in", "London")], essence=["The Space Needle is a tower."],
         generation=["{} is"], references=["Rome is old."]),
    Fact("Miles Davis", "{} plays the", "piano", "trumpet"),
)  # fmt: skip


@pytest.fixture(scope="module")
def lm():
    return opened()


def test_rows_are_the_formulas(lm):
    first, second = ce.measure_facts(lm, FACTS).rows
    new, old = lm.probabilities([FACTS[0].asked], ["Rome", "Seattle"])[0].tolist()
    assert first.values["EM"] == pytest.approx(new - old, rel=1e-4)
    assert first.values["ES"] == float(new > old)
    near = lm.probabilities(["The Louvre is in", "The Thames is in"], [["Seattle", "Rome"], ["London", "Rome"]])
    assert first.values["NM"] == pytest.approx(float((near[:, 0] - near[:, 1]).mean()), rel=1e-4)
    assert first.values["NS"] == float((near[:, 0] > near[:, 1]).float().mean())
    logs = lm.logits(lm.encode(["The Space Needle is a tower."])).log_softmax(-1)[0]
    ids = lm.encode(["The Space Needle is a tower."]).ids[0]
    loss = -logs[torch.arange(len(ids) - 1), ids[1:]].mean()
    assert first.values["essence"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert math.isnan(second.values["PS"])
    assert "GE" not in first.values


def test_scores_are_means_over_the_facts_that_have_them(lm):
    scores = ce.measure_facts(lm, FACTS, generate=6)
    assert (scores["EM"].n, scores["PM"].n, scores["S"].n, scores["GE"].n) == (2, 1, 1, 1)
    rows = [row.values["EM"] for row in scores.rows]
    assert scores["EM"].value == pytest.approx(100 * sum(rows) / 2)
    assert scores["EM"].low <= scores["EM"].value <= scores["EM"].high
    assert 0 <= scores["RS"].value <= 100
    with pytest.raises(ValueError, match="was not measured"):
        _ = ce.measure_facts(lm, FACTS)["GE"]


def test_an_edit_moves_what_it_should(lm):
    keys = ce.collect_keys(lm, [1], LINES, shrinkage=0.1)
    search = Search(steps=10, contexts=0, clamp=20, kl=0, decay=0)
    edits = rewrite_each(lm, FACTS, 1, keys, search=search)
    before, alone = ce.measure_facts(lm, FACTS), ce.measure_facts(lm, FACTS, edits)
    assert alone["EM"].value > before["EM"].value
    joint = ce.rewrite(lm, FACTS, "rome", [1], keys, search=search)
    assert ce.measure_facts(lm, FACTS, joint)["EM"].value > before["EM"].value
    nothing = ce.measure_facts(lm, FACTS, joint, strength=0.0)
    assert nothing["EM"].value == before["EM"].value
    with pytest.raises(ValueError, match="1 edits for 2 facts"):
        ce.measure_facts(lm, FACTS, edits[:1])
    with pytest.raises(ValueError, match="no old answer"):
        ce.measure_facts(lm, [Fact("Rome", "{} is", "big")])


def test_harmonic_means():
    assert harmonic(np.array([[1.0, 0.5, 0.25]])) == pytest.approx(3 / (1 + 2 + 4))
    assert harmonic(np.array([[1.0, 0.0, 1.0]])) == 0


def test_entropy_tells_repetition():
    assert entropy("so so so so so") == 0
    words = "one two three four five six"
    assert entropy(words) == pytest.approx((2 / 3 * math.log2(5) + 4 / 3 * math.log2(4)) / 2)
    assert entropy("a b a b a b") < entropy(words)
    assert entropy("one") == 0


def test_likeness_is_a_cosine():
    assert likeness(["Rome is old"], ["Rome is old"]) == pytest.approx(1)
    assert likeness(["Rome"], ["Paris"]) == 0
    rare, common = likeness(["the Colosseum"], ["a Colosseum"]), likeness(["the Colosseum"], ["the tower"])
    assert 0 < common < 1
    assert 0 < rare < 1


def test_one_set_of_scores_in_four_forms(lm, tmp_path):
    scores = [ce.measure_facts(lm, FACTS, label="before <edit>"), ce.measure_facts(lm, FACTS[:1], label="one")]
    text, markdown = as_text(scores), as_markdown(scores)
    assert text.splitlines()[1].startswith("before <edit>")
    assert markdown.splitlines()[1].count("---") == markdown.splitlines()[0].count("|") - 1
    page = as_html(scores)
    assert "before &lt;edit&gt;" in page
    assert "http" not in page.split("<body>")[1]
    plain = json.loads(as_json(scores))
    assert plain[0]["facts"][1]["PS"] is None
    assert plain[0]["measures"]["EM"]["n"] == 2
    for name in ("a.html", "a.json", "a.md", "a.txt"):
        scores[0].save(tmp_path / name)
    assert (tmp_path / "a.md").read_text() == scores[0].markdown()
    assert str(scores[1]) in as_text(scores[1:])
