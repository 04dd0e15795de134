"""Common names: what they are, how they are read, and that they are held without being named."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

import concept_edit as ce
from concept_edit.memory.bounds import Bounds
from concept_edit.memory.guard import solve_guarded, with_common
from concept_edit.prompts.common import PROMPTS, beside, common_rows
from concept_edit.prompts.names import ARTFUL, COMMON
from concept_edit.prompts.tokens import prompt_rows

CAT = ce.Recipe(edits=[ce.Erase("cat")], preserve=["Dog"], method="guarded")


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sdxl")


def test_names_that_share_a_word_with_what_goes_or_are_kept_anyway_are_left_out():
    names = ["cats", "cat furniture", "catapult", "dog", "dog bed", "chest of drawers"]
    assert beside(names, CAT).tolist() == [False, False, True, False, True, True]
    of = ce.Recipe(edits=[ce.Erase("bird of prey")], method="guarded")
    assert beside(names, of).all(), "small words tell nothing"
    assert not beside([], CAT).numel()


def test_names_are_common_ones_each_once():
    assert len(COMMON) == len({ce.recipe.normal(name) for name in COMMON}) > 800
    assert {"apple", "moon", "nurse", "cubism"} <= set(COMMON)


def test_a_name_is_told_alone_as_a_thing_and_in_a_manner_but_for_names_of_art():
    assert len(PROMPTS) == len(set(PROMPTS)) == 3 * len(COMMON) - len(ARTFUL)
    start = PROMPTS.index("apple")
    assert all("apple" in prompt.split() for prompt in PROMPTS[start : start + 3])
    assert PROMPTS[PROMPTS.index("cubism") + 1].endswith("of cubism")
    assert PROMPTS[PROMPTS.index("cubism") + 2] in COMMON
    away = ce.Recipe(edits=[ce.Erase("Claude Monet"), ce.Erase("photo")], method="guarded")
    held = [prompt for prompt, stays in zip(PROMPTS, beside(PROMPTS, away).tolist(), strict=True) if stays]
    assert not [prompt for prompt in held if "Monet" in prompt or "photo " in prompt]
    assert set(COMMON) - set(held) == {"Claude Monet"}


def test_a_name_is_read_at_its_last_token_and_eos_and_told_ones_at_eos_without_pads(model):
    prompts, rows = common_rows(model)
    assert prompts == PROMPTS
    for stream, (common, of) in rows.items():
        for number in (0, 1, 2, len(PROMPTS) // 2):
            whole = prompt_rows(model.encode([prompts[number]])[stream], 0)
            alone = [whole.spans[0].last] if prompts[number] in COMMON else []
            places = [0] if whole.pooled else [*alone, whole.spans[0].eos]
            assert torch.allclose(common[of == number], whole.rows[places], atol=2e-3, rtol=2e-3)
        assert of.unique().tolist() == list(range(len(PROMPTS)))


def test_reading_briefly_changes_nothing_but_the_pads(model):
    prompts = ["a cat", "a very small elephant made of glass"]
    whole, brief = model.encode(prompts), model.encode(prompts, brief=True)
    for stream, there in whole.items():
        some = brief[stream]
        assert some.eos.tolist() == there.eos.tolist()
        assert there.pooled or some.rows.shape[1] < there.rows.shape[1]
        assert torch.allclose(some.rows, there.rows[:, : some.rows.shape[1]], atol=1e-5)
    t5 = tiny.tiny_model("sd3")
    assert not t5.reads_briefly
    assert t5.encode(prompts, brief=True)["text"].rows.shape[1] < t5.encode(prompts)["text"].rows.shape[1]


def test_who_holds_them():
    assert CAT.keeps_common(True)
    assert not CAT.keeps_common(False), "a language model takes minutes for them"
    assert CAT.model_copy(update={"keep_common": True}).keeps_common(False)
    assert not CAT.model_copy(update={"keep_common": False}).keeps_common(True)
    for edit in (ce.Steer("person", towards="old person"), ce.Debias("doctor", across={"woman": 0.5, "man": 0.5})):
        assert not ce.Recipe(edits=[edit], method="guarded").keeps_common(True), "it should carry over to other people"
    weapons = ce.Recipe(edits=[ce.Moderate("weapon")], method="guarded")
    assert not weapons.keeps_common(True), "it should take a rifle along"
    for method in ("uce", "gated"):
        assert not ce.Recipe(edits=[ce.Erase("cat")], method=method, keep_common=True).keeps_common(True)


def test_a_common_name_moves_less_where_it_is_held(model):
    free = ce.collect(model, CAT.model_copy(update={"keep_common": False})).streams["text"]
    held = ce.collect(model, CAT)
    around = held.streams["text"].around.holding(beside(held.common, CAT))
    assert free.around.common is None
    assert not set(around.common_of.tolist()) & {PROMPTS.index("cat"), PROMPTS.index("dog")}
    problem, bounds = free.problem(CAT), Bounds.of(CAT)
    moved = []
    for surroundings in (free.around, around):
        found = solve_guarded(problem, surroundings, bounds)
        assert len(found.drift) == len(problem.kept), "the figure for what is kept is that of what was named"
        moved.append((around.common.double() @ found.factors.dense().T).norm(dim=1).mean())
    assert moved[1] < 0.8 * moved[0]
    joint, rest = with_common(problem, around)
    assert rest.common is None
    each = torch.zeros(len(PROMPTS), dtype=torch.float64)
    each.index_add_(0, around.common_of, joint.kept_weights[len(problem.kept) :])
    thirds = torch.full((1,), 1 / 3, dtype=torch.float64)
    assert torch.allclose(each[around.common_of], thirds), "a name weighs as a kept prompt"


def test_where_there_is_room_less_is_left_than_asked(model):
    alone = CAT.model_copy(update={"edits": (ce.Erase("cat", wordings="{}"),)})
    held = ce.collect(model, alone)
    stream = held.streams["text"]
    few = beside(held.common, CAT) & (torch.arange(len(PROMPTS)) < 300)
    around, problem = stream.around.holding(few), stream.problem(alone)
    roomy, tight = Bounds(0.3, 0.9, 0.9, 4), Bounds(0.3, 1e-4, 0.9, 4)
    assert float(solve_guarded(problem, around, roomy).left.median()) < 0.2
    assert float(solve_guarded(problem, around, tight).left.median()) > 0.25


def test_a_file_holds_them_and_a_concept_taken_out_is_held_again(model, tmp_path):
    both = ce.Recipe(edits=[ce.Erase("cat"), ce.Erase("knife")], preserve=["dog"], method="guarded")
    ce.solve(model, both).save(tmp_path / "e.safetensors", statistics=True)
    loaded = ce.Edit.load(tmp_path / "e.safetensors")
    alone = ce.solve(model, both.without("knife"))
    assert loaded.statistics.common == PROMPTS
    fewer = loaded.without("knife")
    assert torch.equal(fewer.factors["text"].left, alone.factors["text"].left)
    assert torch.equal(fewer.factors["text"].right, alone.factors["text"].right)


def test_sums_of_edits_hold_them_where_both_did(model):
    one, two = (ce.collect(model, ce.Recipe(edits=[ce.Erase(name)], method="guarded")) for name in ("cat", "knife"))
    assert (one + two).common == PROMPTS
    stripped = replace(two, common=(), streams={
        n: replace(s, around=replace(s.around, common=None, common_of=None)) for n, s in two.streams.items()
    })  # fmt: skip
    for joint in (one + stripped, stripped + one):
        assert joint.common == ()
        assert all(stream.around.common is None for stream in joint.streams.values())
