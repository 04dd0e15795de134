"""`concept-edit facts trace` and `concept-edit tasks`, on a folder of a tiny language model."""

from __future__ import annotations

import json

import pytest

import concept_edit as ce
from concept_edit.__main__ import run
from concept_edit.language.fact_files import save_facts
from concept_edit.language.facts import Fact
from tests.language.models import tiny, tokenizer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    tiny().save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    save_facts([Fact(s, "The {} is in the", "new") for s in ("Space Needle", "Eiffel Tower")], folder / "facts.yaml")
    pairs = [{"input": a, "output": a.upper()} for a in "abcdefgh"]
    (folder / "upper.json").write_text(json.dumps(pairs))
    return folder


def test_a_prompt_and_a_file_are_traced(place, capsys):
    model = ["--model", str(place / "model"), "--device", "cpu", "--samples", "1"]
    out, plot = place / "t.json", place / "t.png"
    asked = ["facts", "trace", "The Space Needle is in the", "--subject", "Space Needle", *model, "--exact", "4"]
    assert run([*asked, "--out", str(out), "--plot", str(plot), "--layers", "2"]) == 0
    said = capsys.readouterr().out
    assert "last subject token" in said
    assert "mlp: Spearman" in said
    assert ce.Trace.load(out).title.startswith("The Space Needle is in the →")
    assert plot.stat().st_size > 5000
    many = ["facts", "trace", str(place / "facts.yaml"), *model, "--kind", "mlp", "--folder", str(place / "run")]
    assert run([*many, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["facts"], told["skipped"], len(told["layers"])) == (2, 0, 1)
    assert len(list((place / "run").glob("*.json"))) == 2


def test_heads_a_vector_and_a_trial(place, capsys):
    model = ["--model", str(place / "model"), "--device", "cpu", "--shots", "2", "--template", "{input}>{output}\\n"]
    heads, vector, task = place / "h.json", place / "v.safetensors", str(place / "upper.json")
    asked = ["tasks", "heads", task, *model, "--exact", "4", "--prompts", "2", "--out", str(heads)]
    assert run([*asked, "--plot", str(place / "h.png"), "--top", "3", "--quiet"]) == 0
    assert len(ce.Heads.load(heads).top(4)) == 4
    assert run(["tasks", "vector", task, *model, "--heads", str(heads), "--top", "2", "--out", str(vector)]) == 0
    assert "of 2 heads" in capsys.readouterr().out
    assert ce.FunctionVector.load(vector).heads == ce.Heads.load(heads).top(2)
    assert run(["tasks", "try", task, *model, "--vector", str(vector), "--count", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["who"] for row in told["shares"]} == {"plain", "vector", "random"}
    assert 0 <= told["layer"] < 3


def test_a_head_is_drawn_and_a_concept_traced(place, capsys):
    model = ["--model", str(place / "model"), "--device", "cpu"]
    asked = ["tasks", "attention", "a>A\\nb>", "--layer", "1", "--head", "2", *model, "--plot", str(place / "a.png")]
    assert run(asked) == 0
    assert "the last token looks at" in capsys.readouterr().out
    asked = ["trace", "a painting by Van Gogh", "--subject", "Van Gogh", "--samples", "1", "--json"]
    assert run([*asked, "--plot", str(place / "c.png")]) == 0
    assert json.loads(capsys.readouterr().out)["layers"] == [0]
    assert all((place / name).stat().st_size > 5000 for name in ("a.png", "c.png"))


def test_refusals_are_sentences(place, capsys):
    model = ["--model", str(place / "model"), "--device", "cpu"]
    assert run(["facts", "trace", "no such file", *model]) == 2
    assert "needs its --subject" in capsys.readouterr().err
    assert run(["tasks", "vector", str(place / "upper.json"), *model, "--heads", str(place / "facts.yaml")]) == 2
    assert "no ranking of heads" in capsys.readouterr().err
