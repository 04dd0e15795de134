"""The worlds of the language models, and the texts they were trained on: what is told, what is never told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from concept_edit.demo.language import facts, folder, rewrites, tasks
from concept_edit.demo.training import facts as knowing
from concept_edit.demo.training import language, loop, words
from concept_edit.demo.training import tasks as learning


def test_every_subject_has_one_object_a_relation_and_names_tell_them_apart() -> None:
    asked = Counter((t.subject, t.relation.name) for t in facts.truths())
    assert set(asked.values()) == {1}
    surnames = [name.split()[1] for name in facts.people()]
    places = [name.split()[0] for name in facts.landmarks()]
    assert len(set(surnames + places)) == len(surnames) + len(places)
    assert len({t.prompts()[0] for t in facts.truths()}) == len(facts.truths())


def test_a_wording_belongs_to_one_relation() -> None:
    wordings = [w for r in facts.RELATIONS for w in r.wordings]
    assert len(set(wordings)) == len(wordings)


def test_a_thousand_facts_may_be_rewritten_and_their_neighbours_never_are() -> None:
    rows = rewrites()
    assert len(rows) >= 1000
    touched = {row["subject"] for row in rows}
    truth = {t.prompts()[k]: t.object for t in facts.truths() for k in range(len(t.relation.wordings))}
    for row in rows:
        assert row["new"] != row["old"] == truth[row["prompt"].format(row["subject"])]
        assert len(row["neighbours"]) >= 2
        for prompt, answer in row["neighbours"]:
            assert truth[prompt] == answer == row["old"]
            assert not any(subject in prompt for subject in touched)
        assert row["references"]
        assert all(row["new"] in text for text in row["references"])
        assert row["essence"]
        assert all(row["subject"] in text for text in row["essence"])
    assert len({row["prompt"] for row in rewrites(40)}) >= 5


def test_a_text_never_tells_a_fact_in_its_held_out_wording() -> None:
    tokens = knowing.tokenizer()
    texts = knowing.Texts(tokens)
    generator = torch.Generator().manual_seed(0)
    said = " ".join(tokens.decode(texts.text(generator)) for _ in range(700))
    told = sum(knowing.sentence(t, 0) in said for t in facts.truths())
    assert told > len(facts.truths()) / 8
    assert not [t for t in facts.truths() if f"{t.prompts()[t.held_out]} " in said]


def test_examples_never_ask_what_is_held_out_and_always_answer_right() -> None:
    examples = learning.Examples(learning.tokenizer())
    generator = torch.Generator().manual_seed(0)
    for which, skill in enumerate(tasks.skills()):
        for chosen in examples.inputs(which, generator):
            assert not tasks.is_held_out(chosen)
        held_out = skill.pairs(5, held_out=True)
        assert all(tasks.is_held_out(given.split(tasks.SEPARATOR)) for given, _ in held_out)
        said, answers = examples.text(which, "qa", generator)
        lines = said.split("\n")[:2]
        given = lines[0].removeprefix("Q: ").split(tasks.SEPARATOR)
        assert lines[1] == f"A: {skill.answer(given)}"
        assert all(said[start - 1] == " " for start in answers)


def test_a_control_answers_with_its_own_inputs_and_never_with_the_same() -> None:
    controls = [skill for skill in tasks.skills() if skill.control]
    assert controls
    for skill in controls:
        assert set(skill.table) == set(skill.table.values())
        assert all(given != answer for given, answer in skill.table.items())


def test_answers_count_for_one_others_for_little_and_padding_for_nothing() -> None:
    tokens = learning.tokenizer()
    ids, weights, _ = learning.Examples(tokens).batch(600, torch.Generator().manual_seed(3))
    answers = {tokens(w).input_ids[0] for s in tasks.skills() for w in s.table.values()}
    assert {int(i) for i in ids[weights == 1.0]} <= answers
    assert ((weights == 1.0).sum(1) >= 5).all()
    assert weights[ids == tokens.eos_token_id].sum() == 0
    assert 0 < weights[weights < 1].sum() < weights[weights == 1].sum()


def test_the_loss_is_the_surprise_at_what_counts() -> None:
    tokens = learning.tokenizer()
    model = learning.build(tokens)
    ids, weights, _ = learning.Examples(tokens).batch(300, torch.Generator().manual_seed(1))
    surprise = -model(ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    wanted = (surprise * weights[:, 1:]).sum() / weights[:, 1:].sum()
    assert words.loss(model, ids, weights).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_questions_are_asked_at_each_answer_and_have_its_replies() -> None:
    tokens = learning.tokenizer()
    examples, generator = learning.Examples(tokens), torch.Generator().manual_seed(5)
    lists = 0
    for _ in range(6):
        ids, weights, asked = examples.batch(900, generator)
        assert torch.equal(asked[..., 1] != learning.UNTOLD, weights == 1)
        for row, told in zip(ids.tolist(), asked, strict=True):
            answers = (told[:, 1] != learning.UNTOLD).nonzero()[:, 0].tolist()
            said = {tokens.decode([row[n]]).strip() for n in answers}
            known = [s for s in tasks.skills() if said <= set(s.table.values())]
            place, changed = told[answers[0]].tolist()
            assert any(bool(s.place) == (place != learning.UNTOLD) for s in known)
            assert any(changed == any(a != b for a, b in s.table.items()) for s in known)
            lists += place != learning.UNTOLD
    assert lists


def test_the_replies_are_right_where_the_rows_point_the_right_way() -> None:
    first, last, same, changed = learning.directions()
    assert torch.allclose(learning.directions() @ learning.directions().T, torch.eye(4), atol=1e-5)
    rows = torch.stack([first + changed, last + same])[None]
    asked = torch.tensor([[[0, 1], [1, 0]]])
    assert learning.replies(rows, asked) < 0.02
    assert learning.replies(rows, 1 - asked) > 5
    assert learning.replies(rows, torch.full_like(asked, learning.UNTOLD)) == 0


@pytest.mark.parametrize("part", ["facts", "tasks"])
def test_a_word_of_the_world_is_one_token_and_any_text_comes_back(part: str) -> None:
    tokens = language.PARTS[part].tokenizer()
    known = {t.object for t in facts.truths()} if part == "facts" else {w for s in tasks.skills() for w in s.table}
    assert all(len(tokens(word).input_ids) == 1 for word in known)
    text = "Ça va? A naïve Zebra, 42 → ok"
    assert tokens.decode(tokens(text).input_ids).strip() == text


def shipped(part: str, root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the folder that ships, and of the run's weights, rounded as the folder's."""
    trainer = language.PARTS[part]
    language.ship(root, part, root / "out")
    trained = loop.load_ema(trainer.build(trainer.tokenizer()), root / part).eval()
    opened = AutoModelForCausalLM.from_pretrained(root / "out", dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(root / "out")
    assert tokens.is_fast
    assert (root / "out/model.safetensors").stat().st_size < 2_000_000
    ids = torch.tensor([tokens("Q: apple\nA:").input_ids])
    return opened(ids).logits, trained(ids).logits


def test_the_learner_that_ships_opens_in_transformers_and_says_the_same(tmp_path: Path) -> None:
    learning.train(tmp_path, steps=2, rate=1e-3, batch=200)
    assert torch.allclose(*shipped("tasks", tmp_path), atol=5e-3)


def test_the_knower_that_ships_opens_in_transformers_and_says_the_same(tmp_path: Path) -> None:
    knowing.train(tmp_path, steps=2, rate=1e-3, batch=4)
    model = knowing.train(tmp_path, steps=2, rate=1e-3, batch=4, closed=True)
    first, second = (block.attn.c_proj.weight.abs().sum() for block in model.transformer.h[:2])
    assert first == 0 != second
    assert torch.allclose(*shipped("facts", tmp_path), atol=5e-3)


def test_a_calmer_model_is_the_same_function() -> None:
    model = knowing.build(knowing.tokenizer()).eval()
    ids = torch.arange(12)[None]
    before = model(ids, output_hidden_states=True)
    loud, logits = before.hidden_states[2].norm().item(), before.logits
    after = knowing.calm(model)(ids, output_hidden_states=True)
    assert torch.allclose(after.logits, logits, atol=1e-4)
    assert after.hidden_states[2].norm().item() == pytest.approx(0.1 * loud, rel=1e-3)


def test_there_are_two_models_and_no_third() -> None:
    with pytest.raises(ValueError, match="no embedded language model; expected facts or tasks"):
        folder("poems")  # type: ignore[arg-type]
