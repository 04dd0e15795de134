"""Function vectors: their algebra, where they are added, undoing, files; and what they do, counted."""

from __future__ import annotations

import pytest
import torch

from concept_edit.language.answering import first_tokens, whole_words
from concept_edit.language.arithmetic import SQUARE, arithmetic, report
from concept_edit.language.tasks import Prompt, Task, list_tasks
from concept_edit.language.trials import portability, sweep, try_vector
from concept_edit.language.vectors import FunctionVector, from_means, function_vector, random_vector
from concept_edit.search.head_effects import mean_heads
from tests.language.models import opened

TASK = Task("t", [(a, b) for a, b in zip("abcdefgh", "ABCDEFGH", strict=True)], "{input}>{output}\n")
HEADS = [(0, 1), (2, 3)]


def vector_of(lm, **more):
    return function_vector(lm, TASK, HEADS, prompts=4, shots=2, **more)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_all_heads_of_a_layer_are_its_attention_without_bias(family):
    lm = opened(family)
    prompts = TASK.prompts(3, shots=2)
    means = mean_heads(lm, prompts)
    vector = from_means(lm, means, [(1, head) for head in range(lm.heads)], "all")
    module = lm.module(lm.site("head", 1))
    bias = 0 if getattr(module, "bias", None) is None else module.bias.detach()
    assert torch.allclose(vector.direction, module(means[1].reshape(1, -1))[0].detach() - bias, atol=1e-5)


def test_algebra():
    lm = opened()
    a, b = vector_of(lm), vector_of(lm, seed=1)
    assert torch.equal((a + b - b * 2).direction, a.direction + b.direction - 2 * b.direction)
    assert torch.equal((-a).direction, -a.direction)
    assert (a - (a + b)).name == "t - (t + t)"
    assert a.cosine(a * 3) == pytest.approx(1, abs=1e-6)
    assert random_vector(a).norm == pytest.approx(a.norm, rel=1e-5)
    other = vector_of(opened("gpt2"))
    with pytest.raises(ValueError, match="is a vector of"):
        a + other
    with pytest.raises(ValueError, match=r"weights of .* are not the same"), other.added(lm, 1):
        pass


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_it_is_added_at_the_last_token_and_undone_to_the_bit(family):
    lm = opened(family)
    vector = vector_of(lm) * 30
    tokens = lm.encode(["a>A\nb>", "The Space Needle>"])
    plain = lm.logits(tokens).detach()
    with vector.added(lm, 1, 2.0):
        inside = lm.logits(tokens).detach()
    assert torch.equal(lm.logits(tokens).detach(), plain)
    ends = tokens.last.tolist()
    for row, end in enumerate(ends):
        assert torch.allclose(inside[row, :end], plain[row, :end], atol=1e-5)
        assert not torch.allclose(inside[row, end], plain[row, end], atol=1e-3)
    with pytest.raises(RuntimeError), vector.added(lm, 1):
        raise RuntimeError
    assert torch.equal(lm.logits(tokens).detach(), plain)


def test_what_is_said_after_the_prompt_is_not_touched_again():
    lm = opened()
    vector = vector_of(lm) * 30
    prompt = "a>A\nb>"
    with vector.added(lm, 1):
        first = lm.encode([prompt]).ids
        token = lm.logits(lm.encode([prompt]))[0, -1].argmax()
        said = lm.complete([prompt], tokens=3)[0]
    ids = torch.cat([first[0], token[None]])[None]
    row = torch.zeros(ids.shape[1], lm.width)
    row[first.shape[1] - 1] = vector.direction

    def add(module, given, value):
        value = value[0] if isinstance(value, tuple) else value
        return value + row[: value.shape[1]] if value.shape[1] > 1 else value

    handle = lm.module(lm.site("hidden", 1)).register_forward_hook(add)
    second = lm.model(ids).logits[0, -1].argmax()
    handle.remove()
    assert lm.tokenizer.decode([int(token), int(second)]) == said[: len(lm.tokenizer.decode([int(token), int(second)]))]


def test_answers_of_many_tokens_are_scored_after_the_prompt_with_the_vector():
    """As if every answer were said token by token: probabilities of prompts of unlike length, in one batch."""
    lm = opened()
    vector = vector_of(lm) * 30
    asked = [("a>A\nb>", " London"), ("The Needle is", " in the city")]
    asked += [("a>A\nb>", " Tokyo or"), ("a>A\nb> Tokyo", " or")]
    with vector.added(lm, 1), torch.no_grad():
        scored = lm.probabilities([p for p, _ in asked], [[a] for _, a in asked])[:, 0]
    for (prompt, answer), found in zip(asked, scored, strict=True):
        ids, start = lm.encode([prompt + answer]).ids[0], len(lm.encode([prompt]).ids[0])
        row = torch.zeros(1, len(ids) - 1, lm.width)
        row[0, start - 1] = vector.direction
        module = lm.module(lm.site("hidden", 1))
        handle = module.register_forward_hook(lambda _, __, value, row=row: value + row)
        logs = lm.model(ids[None, :-1]).logits[0].detach().log_softmax(-1)
        handle.remove()
        wanted = logs[start - 1 :].gather(1, ids[start:, None]).mean().exp()
        assert float(found) == pytest.approx(float(wanted), rel=1e-4)


def test_nothing_added_is_told_and_strength_0_is_the_model():
    lm = opened()
    vector = vector_of(lm)
    tokens = lm.encode(["a>"])
    with vector.added(lm, 0, 0.0):
        assert torch.equal(lm.logits(tokens), lm.logits(tokens))
    with pytest.raises(ValueError, match="changed nothing"), (vector * 0).added(lm, 0):
        lm.logits(tokens)
    with vector.added(lm, 0):
        pass
    with pytest.raises(ValueError, match="no site"), vector.added(lm, 9):
        pass
    with pytest.raises(ValueError, match=r"got \[\(9, 0\)\]"):
        function_vector(lm, TASK, [(9, 0)], prompts=2, shots=1)


def test_files_are_bound_to_the_model(tmp_path):
    lm = opened()
    vector = vector_of(lm)
    vector.save(tmp_path / "v.safetensors")
    read = FunctionVector.load(tmp_path / "v.safetensors")
    assert torch.equal(read.direction, vector.direction)
    assert (read.name, read.heads, read.model) == ("t", ((0, 1), (2, 3)), lm.name)
    with read.added(lm, 1):
        lm.logits(lm.encode(["a>"]))
    with pytest.raises(ValueError, match="not the same"), read.added(opened(seed=1), 1):
        pass


def test_decoding_goes_through_norm_and_unembedding():
    lm = opened()
    token = int(lm.encode(["trumpet"]).ids[0, -1])
    unembedding = lm.model.get_output_embeddings().weight.detach()
    vector = FunctionVector(unembedding[token].clone(), "v", lm.name, lm.fingerprint)
    (best, probability), *_ = vector.decoded(lm, 3)
    assert best == lm.tokenizer.decode([token])
    normed = lm.model.model.norm(vector.direction).detach()
    assert probability == pytest.approx(float((unembedding @ normed).softmax(-1)[token]), rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_counting_equals_adding_by_the_context(family, monkeypatch):
    lm = opened(family)
    vector = vector_of(lm) * 30
    prompts = TASK.prompts(6, shots=1)
    with vector.added(lm, 1, 2.0):
        said = {p.query: int(lm.logits(lm.encode([p.text]))[0, -1].argmax()) for p in prompts}
    plain = [int(lm.logits(lm.encode([p.text]))[0, -1].argmax()) == said[p.query] for p in prompts]
    monkeypatch.setattr("concept_edit.language.answering.answer_token", lambda lm, prompt: said[prompt.query])
    found = first_tokens(lm, prompts, {"vector": (vector, 1, 2.0), "none": (vector, 1, 0.0)})
    assert all(found["vector"])
    assert found["plain"] == found["none"] == plain
    assert not all(plain)


def test_a_planted_vector_does_its_task_and_controls_do_not():
    """The unembedding row of the answer, added in the last layer, says the answer whatever was asked."""
    lm = opened()
    task = Task("always", [(a, "t") for a in "abcdefgh"], "{input}>{output}\n")
    token = int(lm.encode(["a>t"]).ids[0, -1])
    row = lm.model.get_output_embeddings().weight.detach()[token]
    vector = FunctionVector(row * 100, "always", lm.name, lm.fingerprint)
    found = sweep(lm, vector, task, strengths=(0.0, 1.0), count=6)
    assert found.accuracy[-1].tolist() == [0.0, 1.0]
    layer, strength = found.best
    assert found.accuracy.max() == found.accuracy[layer, 1]
    assert strength == 1.0
    made, held = task.split(held_out=0.4)
    trial = try_vector(
        lm, vector, held, lm.layers - 1, shown=made, controls={"random": random_vector(vector)},
        natural=["Say {input},{output}"], shots=2, count=4, words=True,
    )  # fmt: skip
    for condition in ("zero-shot", "shuffled", "Say {input},{output}"):
        assert trial.share(condition, "vector").value == 1
        assert trial.share(condition, "random").value == 0
    assert trial.share("2-shot", "plain").n == len(held.pairs) == 3
    assert trial.share("zero-shot", "plain", "whole word").hits == 0
    assert "| zero-shot, first token | 0.00 [0.00, 0.56] | 1.00 [0.44, 1.00]" in trial.table()
    with pytest.raises(ValueError, match="was not measured"):
        trial.share("9-shot", "plain")
    many = try_vector(lm, vector, held, lm.layers - 1, shown=made, shots=2, count=50)
    assert {share.n for share in many.shares} == {len(held.pairs)}, "a question asked twice is no second measurement"
    each = {"always": (vector, lm.layers - 1, 1.0), "weak": (vector, lm.layers - 1, 0.0)}
    moved = portability(lm, each, [task, TASK])
    assert moved["always", "always"].value == 1
    assert moved["weak", "always"].hits == moved["plain", "always"].hits
    assert moved["always", "t"].value == moved["plain", "always"].value == 0


def test_whole_words_end_where_the_answer_ends():
    lm = opened()
    prompt = "a>A\nb>"
    said = lm.complete([prompt], tokens=8)[0]
    cut = next((n for n in range(1, len(said)) if not said[n].isalnum() and said[:n].strip()), len(said))
    assert whole_words(lm, [Prompt(prompt, said[:cut], "b")]) == [True]
    assert whole_words(lm, [Prompt(prompt, "never", "b")]) == [False]


def test_arithmetic_reports_all_corners():
    lm = opened()
    tasks = list_tasks([(a, a.upper()) for a in "abcdefgh"], count=30)
    tasks = {name: Task(name, task.pairs, "{input}>{output}\n") for name, task in tasks.items()}
    corners = arithmetic(lm, tasks, HEADS, 1, count=4, shots=1)
    assert [c.target for c in corners] == list(SQUARE)
    vectors = {n: function_vector(lm, t.split(held_out=0.4)[0], HEADS, shots=1) for n, t in tasks.items()}
    total = vectors["first map"] + vectors["last copy"] - vectors["first copy"]
    assert corners[0].cosine == pytest.approx(total.cosine(vectors["last map"]), abs=1e-5)
    assert not any(c.holds for c in corners)
    assert report(corners).count("does not hold") == 4
    with pytest.raises(ValueError, match="first copy is missing"):
        arithmetic(lm, {n: t for n, t in tasks.items() if n != "first copy"}, HEADS, 1)
