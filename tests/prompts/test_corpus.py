"""The corpus: sums that merge and go on, memory that does not grow, what a solve may hold still."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tiny
import torch

import concept_edit as ce
from concept_edit.__main__ import run
from concept_edit.demo.captions import own_captions
from concept_edit.demo.concepts import CONCEPTS, STYLES
from concept_edit.prompts.captions import plain_captions
from concept_edit.prompts.corpus import default_corpus, read_captions

CAPTIONS = [f"a photo of a {thing}" for thing in ("cat", "dog", "village", "red apple", "man in a boat")] * 3


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sdxl")


@pytest.fixture(scope="module")
def whole(model):
    return ce.collect_corpus(model, CAPTIONS)


def same(a, b):
    for name in a.streams:
        assert torch.allclose(a.streams[name].square, b.streams[name].square, rtol=1e-5)
        assert torch.allclose(a.streams[name].total, b.streams[name].total, rtol=1e-5, atol=1e-6)
        assert a.streams[name].weight == pytest.approx(b.streams[name].weight)
    assert a.captions == b.captions


def test_the_moment_is_that_of_the_tokens(model, whole):
    encoded = model.encode(CAPTIONS)
    total = torch.zeros(model.streams["text"], dtype=torch.float64)
    weight = 0.0
    for i in range(len(CAPTIONS)):
        eos = int(encoded["text"].eos[i])
        tokens = [int(t) for t in encoded["text"].subject[i].nonzero().flatten()]
        pads = [eos + 1, (eos + 1 + 76) // 2, 76]
        rows = encoded["text"].rows[i].double()
        total += rows[[*tokens, eos]].sum(0) + rows[pads].mean(0)
        weight += len(tokens) + 2
    assert whole.streams["text"].weight == pytest.approx(weight)
    assert torch.allclose(whole.streams["text"].total, total, rtol=1e-6)
    assert whole.streams["pooled"].weight == len(CAPTIONS)


def test_shards_add_up_and_batches_do_not_matter(model, whole):
    same(ce.collect_corpus(model, CAPTIONS[::2]) + ce.collect_corpus(model, CAPTIONS[1::2]), whole)
    same(ce.collect_corpus(model, CAPTIONS, batch_size=4), whole)


def test_a_broken_off_run_goes_on_and_another_one_is_refused(model, whole, tmp_path, monkeypatch):
    out = tmp_path / "k0.safetensors"
    real, calls = model.encode, []

    def fails_late(prompts, **given):
        calls.append(len(prompts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(prompts, **given)

    monkeypatch.setattr("concept_edit.prompts.corpus._SAVE_EVERY", 4)
    monkeypatch.setattr(model, "encode", fails_late)
    with pytest.raises(KeyboardInterrupt):
        ce.collect_corpus(model, CAPTIONS, out=out, batch_size=4)
    assert ce.Corpus.load(out).captions == 8
    same(ce.collect_corpus(model, CAPTIONS, out=out, batch_size=4), whole)
    assert sum(calls) == 12 + 7
    with pytest.raises(ValueError, match="other captions"):
        ce.collect_corpus(model, CAPTIONS[1:], out=out)


def test_captions_that_ask_for_a_concept_are_no_ordinary_ones(whole):
    around = whole.around("text", ce.Recipe(edits=[ce.Erase("cat")]), torch.zeros(1, 64))
    assert len(around.ordinary) < len(whole.streams["text"].sample)
    every = whole.around("text", ce.Recipe(edits=[ce.Erase("zebra")]), torch.zeros(1, 64))
    assert len(every.ordinary) == len(whole.streams["text"].sample)


def test_memory_does_not_grow_with_captions(model, monkeypatch):
    monkeypatch.setattr("concept_edit.prompts.corpus._SAMPLE", 20)
    found = ce.collect_corpus(model, CAPTIONS, batch_size=2)
    assert all(len(moments.sample) <= 20 for moments in found.streams.values())
    assert len(found.sampled) <= 20 + 2


def test_another_encoders_corpus_is_refused(whole):
    with pytest.raises(ValueError, match="has another"):
        ce.solve(ce.open_model("demo"), ce.Recipe(edits=[ce.Erase("cat")], method="gated"), corpus=whole)
    with pytest.raises(ValueError, match="other text encoders"):
        whole + default_corpus(ce.open_model("demo"))


def test_the_default_captions_name_nothing_that_the_embedded_model_was_taught():
    captions = plain_captions()
    assert len(set(captions)) == len(captions) > 300
    words = {word.strip(",").casefold().rstrip("s") for caption in captions for word in caption.split()}
    taught = [name.split()[-1] for name in (*(c.name for c in CONCEPTS), *(s.name for s in STYLES))]
    assert not {name.casefold().rstrip("s") for name in taught} & words


def test_the_models_own_captions_are_a_corpus_like_any_other(tmp_path):
    text, out = tmp_path / "own.txt", tmp_path / "own.safetensors"
    said = subprocess.run([sys.executable, "-m", "concept_edit.demo.captions"], capture_output=True, check=True)
    text.write_bytes(said.stdout)
    assert read_captions(text) == own_captions()
    run(["corpus", str(text), "--limit", "20", "--out", str(out), "-q"])
    recipe, model = ce.Recipe(edits=[ce.Erase("cat")]), ce.open_model("demo")
    with_own = ce.solve(model, recipe, corpus=ce.Corpus.load(out))
    assert not torch.equal(with_own.factors["text"].right, ce.solve(model, recipe).factors["text"].right)


def test_two_processes_of_one_launch_read_half_each(tmp_path):
    text = tmp_path / "captions.txt"
    text.write_text("\n".join(f"a {thing} by the sea" for thing in ("cat", "dog", "tree", "house", "star")))
    several = [
        "--multi_gpu",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
    ]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *several, "--num_processes", "2"]
    out = tmp_path / "k0.safetensors"
    command = [*launch, "-m", "concept_edit", "corpus", str(text), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("5 captions") == 1
    same(ce.Corpus.load(out), ce.collect_corpus(ce.open_model("demo"), text.read_text().splitlines()))


def test_the_command_reads_merges_and_is_used(tmp_path, capsys):
    text = tmp_path / "captions.csv"
    text.write_text("case_number,prompt\n0,a cat on a house\n1,a dog by the sea\n2,a red apple\n3,a tree\n")
    assert read_captions(text) == ["a cat on a house", "a dog by the sea", "a red apple", "a tree"]
    for n in (1, 2):
        assert run(["corpus", str(text), "--out", str(tmp_path / f"{n}.safetensors"), "--shard", f"{n}/2", "-q"]) == 0
    parts = [str(tmp_path / f"{n}.safetensors") for n in (1, 2)]
    assert run(["corpus", *parts, "--merge", "--out", str(tmp_path / "k0.safetensors")]) == 0
    assert "4 captions" in capsys.readouterr().out
    made = ["erase", "cat", "--method", "guarded", "--corpus", str(tmp_path / "k0.safetensors")]
    out = str(tmp_path / "e.safetensors")
    assert run([*made, "--preserve", "dog", "--out", out]) == 0
    assert "of captions" in capsys.readouterr().out
    assert run(["verify", out]) == 1
    assert "corpus" in capsys.readouterr().out
    assert run(["verify", out, "--corpus", str(tmp_path / "k0.safetensors")]) == 0
    assert run(["corpus", str(tmp_path / "none.txt"), "--out", out]) == 2
