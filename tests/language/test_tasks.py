"""Tasks: what is read, how prompts are made, what shuffling does."""

from __future__ import annotations

import json

import pytest

from concept_edit.language.tasks import Task, list_tasks, permuted

PAIRS = [(f"in{i}", f"out{i}") for i in range(20)]


def test_prompts_are_the_template_and_end_before_the_answer():
    task = Task("t", [("a", "1"), ("b", "2"), ("c", "3")], "Q: {input}\nA: {output}\n\n")
    for prompt in task.prompts(6, shots=2, seed=1):
        answers = dict(task.pairs)
        assert prompt.answer == f" {answers[prompt.query]}"
        *shown, query = prompt.text.split("\n\n")
        assert query == f"Q: {prompt.query}\nA:"
        assert len(shown) == 2
        assert all(answers[s.split("\n")[0][3:]] == s.split("\n")[1][3:] for s in shown)
        assert f"Q: {prompt.query}\n" not in "".join(shown)


def test_a_prompt_does_not_begin_with_what_divides_examples():
    task = Task("t", PAIRS, "\n\nQ: {input}\nA: {output}")
    first = task.prompts(1, shots=2)[0].text
    assert first.startswith("Q: in")
    assert first.count("\n\nQ: ") == 2
    assert task.prompts(1, shots=0)[0].text.startswith("Q: in")


def test_the_same_seed_gives_the_same_prompts_and_another_gives_others():
    task = Task("t", PAIRS)
    assert task.prompts(5, seed=3) == task.prompts(5, seed=3)
    assert task.prompts(5, seed=3) != task.prompts(5, seed=4)


def test_shuffled_examples_show_no_pair_but_the_answer_stays():
    task = Task("t", PAIRS, shuffled=True)
    for prompt in task.prompts(10, shots=5):
        *shown, _ = prompt.text.split("\n\n")
        assert prompt.answer == " " + prompt.query.replace("in", "out")
        for each in shown:
            given, output = (line[3:] for line in each.split("\n"))
            assert output != given.replace("in", "out")
            assert output.startswith("out")
    one_shot = Task("t", PAIRS, shuffled=True).prompts(5, shots=1)
    assert all(p.text.split("\n")[0][5:] != p.text.split("\n")[1][6:] for p in one_shot)


def test_parts_share_no_input_and_keep_every_pair():
    task = Task("t", [*PAIRS, ("in0", "other")])
    search, held = task.split(held_out=0.25)
    assert not {a for a, _ in search.pairs} & {a for a, _ in held.pairs}
    assert sorted(search.pairs + held.pairs) == sorted(task.pairs)
    assert len({a for a, _ in held.pairs}) == 5
    asked = held.prompts(8, shots=4, shown=search)
    assert {p.query for p in asked} <= {a for a, _ in held.pairs}
    assert not any(f"Q: {a}\n" in p.text.rsplit("Q:", 1)[0] for p in asked for a, _ in held.pairs)


def test_files_of_all_forms_give_the_same_task(tmp_path):
    forms = {
        "rows.json": json.dumps([{"input": "hot", "output": "cold"}, {"input": "up", "output": ["down", "below"]}]),
        "pairs.json": json.dumps([["hot", "cold"], ["up", "down"]]),
        "map.json": json.dumps({"hot": "cold", "up": "down"}),
        "under.json": json.dumps({"examples": [{"input": "hot", "output": "cold"}, {"input": "up", "output": "down"}]}),
        "plain.csv": "hot,cold\nup,down\n",
        "named.csv": "output,input\ncold,hot\ndown,up\n",
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        loaded = Task.load(tmp_path / name)
        assert loaded.pairs == (("hot", "cold"), ("up", "down")), name
        assert loaded.name == name.split(".")[0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", '[{"x": 1}]', "holds no task"),
        ("a.csv", "alone\n", "two columns"),
        ("a.csv", "", "two columns"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        Task.load(tmp_path / name)


def test_tasks_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        Task("t", [("a", "b")])
    with pytest.raises(ValueError, match=r"needs \{input\}"):
        Task("t", PAIRS, "{output} {input}")
    with pytest.raises(ValueError, match="empty"):
        Task("t", [("a", " "), ("b", "c")])
    with pytest.raises(ValueError, match="10 examples asked"):
        Task("t", PAIRS[:4]).prompts(1)


def test_permuted_keeps_the_words_and_loses_the_rule():
    task = permuted(Task("t", PAIRS))
    assert sorted(b for _, b in task.pairs) == sorted(b for _, b in PAIRS)
    assert sum(pair in PAIRS for pair in task.pairs) < 5


def test_list_tasks_ask_for_place_and_form():
    tasks = list_tasks([("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")], count=10)
    for (text, first), (_, last) in zip(tasks["first copy"].pairs, tasks["last map"].pairs, strict=True):
        words = text.split(", ")
        assert (words[0], words[-1].upper()) == (first, last)
    assert {name: tasks[name].pairs[0][0] for name in tasks} == dict.fromkeys(tasks, tasks["first copy"].pairs[0][0])
