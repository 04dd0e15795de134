"""Facts, and the files they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from concept_edit.language.fact_files import read_facts, relation_facts, save_facts
from concept_edit.language.facts import Fact, check_facts, with_neighbours

NEEDLE = Fact(
    "The Space Needle", "{} is in the city of", new="Rome", old="Seattle", paraphrases=["Where is {}? It is in"],
    neighbours=["The Pike Place Market is in", ("The Louvre is in", "Paris")],
)  # fmt: skip


def test_a_fact_is_asked_with_its_subject_and_its_neighbours_have_answers():
    assert NEEDLE.asked == "The Space Needle is in the city of"
    assert NEEDLE.filled(NEEDLE.paraphrases) == ["Where is The Space Needle? It is in"]
    assert NEEDLE.neighbours == (("The Pike Place Market is in", "Seattle"), ("The Louvre is in", "Paris"))
    assert Fact("Rome", "In Rome they speak", "Latin").prompt == "In {} they speak"
    assert Fact(**NEEDLE.plain()) == NEEDLE


def test_what_is_no_fact_is_refused():
    with pytest.raises(ValueError, match="needs a new"):
        Fact("Rome", "{} is", " ")
    with pytest.raises(ValueError, match="does not stand in"):
        Fact("Rome", "Paris is in", "Italy")
    with pytest.raises(ValueError, match="no neighbour"):
        Fact("Rome", "{} is in", "France", neighbours=["Paris is in"])
    with pytest.raises(ValueError, match="both 'France' and 'Spain'"):
        check_facts([Fact("Rome", "{} is in", "France"), Fact("Rome", "{} is in", "Spain")])
    with pytest.raises(ValueError, match="no facts"):
        check_facts([])
    assert check_facts([NEEDLE, NEEDLE]) == (NEEDLE,)


@pytest.mark.parametrize("name", ["facts.yaml", "facts.json"])
def test_our_own_files_come_back(tmp_path, name):
    facts = [NEEDLE, Fact('Müller: "Café"', "{} is in", "Köln")]
    save_facts(facts, tmp_path / name)
    assert read_facts(tmp_path / name) == facts
    assert read_facts(tmp_path / name, most=1) == facts[:1]


def test_csv_has_lists_by_semicolons(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text(
        "subject,prompt,new,old,paraphrases,neighbours\n"
        "The Space Needle,{} is in the city of,Rome,Seattle,Where is {}? It is in,"
        '"The Pike Place Market is in; The Louvre is in = Paris"\n'
    )
    assert read_facts(path) == [NEEDLE]


COUNTERFACT = {
    "case_id": 0, "requested_rewrite": {
        "prompt": "{} is in the city of", "subject": "The Space Needle", "relation_id": "P131",
        "target_new": {"str": "Rome", "id": "Q220"}, "target_true": {"str": "Seattle", "id": "Q5083"}},
    "paraphrase_prompts": ["Where is The Space Needle? It is in"],
    "neighborhood_prompts": ["The Pike Place Market is in"], "generation_prompts": ["The Space Needle's surroundings"],
}  # fmt: skip
TRACING = {
    "relation": "{} is in the city of", "prompt": "The Space Needle is in the city of", "subject": "The Space Needle",
    "target_true": " Seattle", "target_false": " Rome",
}  # fmt: skip
EASYEDIT = {
    "case_id": 0, "prompt": "The Space Needle is in the city of", "subject": "The Space Needle", "target_new": "Rome",
    "ground_truth": "Seattle", "rephrase_prompt": "Where is The Space Needle? It is in",
    "locality_prompt": "The Louvre is in", "locality_ground_truth": "Paris",
}  # fmt: skip
ZSRE = {
    "subject": "The Space Needle", "src": "Where is The Space Needle?", "rephrase": "What city has The Space Needle?",
    "alt": "Rome", "answers": ["Seattle"], "loc": "nq question: who sang it", "loc_ans": "Miles",
}  # fmt: skip


@pytest.mark.parametrize("row", [COUNTERFACT, TRACING, EASYEDIT, ZSRE])
def test_public_forms_are_told_apart_by_their_keys(tmp_path, row):
    (tmp_path / "a.json").write_text(json.dumps([row]))
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (fact,) = read_facts(tmp_path / "a.json")
    assert (fact.subject, fact.new, fact.old) == ("The Space Needle", "Rome", "Seattle")
    assert fact.asked == row.get("prompt", row.get("src", "The Space Needle is in the city of"))
    assert read_facts(tmp_path / "a.jsonl") == [fact]
    if row is not TRACING:
        assert len(fact.paraphrases) == len(fact.neighbours) == 1
    if row is ZSRE:
        assert fact.neighbours == (("who sang it", "Miles"),)


def test_relations_make_new_answers_and_neighbours(tmp_path):
    samples = [("Rome", "Italy"), ("Paris", "France"), ("Milan", "Italy"), ("Lyon", "France"), ("Bonn", "Germany")]
    table = {
        "prompt_templates": ["{} is in", "{} is part of"], "prompt_templates_zs": ["Where is {}? In"],
        "samples": [{"subject": s, "object": o} for s, o in samples],
    }  # fmt: skip
    facts = relation_facts(table)
    rome = facts[0]
    assert rome.paraphrases == ("{} is part of", "Where is {}? In")
    assert rome.old == "Italy" != rome.new
    assert rome.neighbours[0] == ("Milan is in", "Italy"), "the same object first"
    assert all(answer != rome.new for _, answer in rome.neighbours)
    assert relation_facts(table) == facts != relation_facts(table, seed=3)
    (tmp_path / "table.json").write_text(json.dumps(table))
    assert read_facts(tmp_path / "table.json") == facts
    with pytest.raises(ValueError, match="no other to tell"):
        relation_facts({**table, "samples": table["samples"][:1]})


def test_files_of_other_things_are_refused_by_row(tmp_path):
    for name, text, told in (
        ("a.yaml", "facts: 3", "no list of facts"),
        ("b.json", '[{"subject": "Rome"}]', "row 1"),
        ("c.yaml", "[{subject: Rome, prompt: '{} is', new: big, color: red}]", "no color"),
        ("d.txt", "Rome", "is not .yaml"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=told):
            read_facts(tmp_path / name)


def test_public_relation_tables_are_read_whole():
    folder = Path(__file__).parents[3] / "shared" / "data" / "facts"
    if not folder.is_dir():
        pytest.skip("the public relation tables are not beside the project")
    facts = read_facts(folder / "landmark_in_country.json")
    assert len(facts) > 700
    assert all(fact.new != fact.old and fact.neighbours for fact in facts)
    known = read_facts(folder / "known_facts.json")
    assert len(known) > 400
    assert {fact.prompt for fact in known if fact.subject == "Vinson Massif"} == {"{} is located in the continent of"}


def test_a_subject_that_is_edited_is_no_neighbour():
    """Its answer shall change; it would count against an edit that works."""
    told = [Fact(name, "{} is in", "Rome", "Oslo") for name in ("A", "B", "C", "D")]
    near = with_neighbours(told, without={"B", "C"})
    asked = [[prompt for prompt, _ in fact.neighbours] for fact in near]
    assert asked == [["D is in"], ["D is in", "A is in"], ["D is in", "A is in"], ["A is in"]]
