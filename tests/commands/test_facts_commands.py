"""`concept-edit facts`, on a folder of a tiny language model."""

from __future__ import annotations

import json

import pytest

from concept_edit.__main__ import run
from concept_edit.language.edit import FactEdit
from concept_edit.language.fact_files import save_facts
from concept_edit.language.facts import Fact
from tests.language.models import LINES, tiny, tokenizer

FACTS = [
    Fact("The Space Needle", "{} is in the city of", "Rome", "Seattle", neighbours=["The Louvre is in the city of"]),
    Fact("Miles Davis", "{} plays the", "piano", "trumpet"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("facts")
    tiny().save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    save_facts(FACTS, folder / "facts.yaml")
    (folder / "text.txt").write_text("\n".join(LINES))
    return folder


def test_rewriting_measuring_and_exporting(place, capsys):
    model = ["--model", str(place / "model"), "--device", "cpu"]
    out, keys = place / "e.safetensors", place / "keys.safetensors"
    asked = ["facts", "rewrite", str(place / "facts.yaml"), *model, "--layers", "0-1", "--corpus"]
    asked += [str(place / "text.txt"), "--keys", str(keys), "--out", str(out), "--adapter", str(place / "adapter")]
    assert run([*asked, "--quiet"]) == 0
    edit = FactEdit.load(out)
    assert (edit.facts, edit.layers, edit.method) == (tuple(FACTS), (0, 1), "memit")
    assert (place / "adapter" / "adapter_config.json").is_file()
    assert run(["facts", "rewrite", str(place / "facts.yaml"), *model, "--keys", str(keys), "--out", str(out)]) == 2
    assert "force" in capsys.readouterr().err
    again = [*model, "--keys", str(keys), "--out", str(out), "--force", "--json"]
    assert run(["facts", "rewrite", str(place / "facts.yaml"), *again]) == 0
    assert json.loads(capsys.readouterr().out)["layers"] == [0, 1], "the layers the keys have"
    page = place / "scores.html"
    asked = ["facts", "measure", str(place / "facts.yaml"), *model, "--edit", str(out), "--out", str(page)]
    assert run(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["edit", "unedited", "e"]
    assert "Rome (was Seattle)" in page.read_text()
    assert run([*asked, "--json", "--limit", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)[1]["facts"]) == 1


@pytest.mark.parametrize(
    ("extra", "told"), [(["--layers", "two"], "are no layers"), (["--layers", "9"], "layers go from 0 to 2")]
)
def test_layers_that_are_none_are_refused(place, capsys, extra, told):
    asked = ["facts", "rewrite", str(place / "facts.yaml"), "--model", str(place / "model"), "--device", "cpu"]
    assert run([*asked, "--out", str(place / "f.safetensors"), *extra]) == 2
    assert told in capsys.readouterr().err
    assert not (place / "f.safetensors").exists()
