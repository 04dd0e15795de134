"""Balancing: the goals' mathematics against the paper's equations, the search against known response curves, and the
whole loop on a tiny model whose pictures are made by hand from what the edit did to its matrices."""

from __future__ import annotations

import dataclasses
import importlib
import math
import os
import random

import numpy as np
import oracles
import pytest
import tiny
import torch
from PIL import Image

import concept_edit as ce
from concept_edit.answer.digests import edit_digest, factor_digests
from concept_edit.balance.aiming import Aim, Search, judged, log_odds, spread
from concept_edit.balance.debias import Plan, Resolver, debias
from concept_edit.evaluation.intervals import wilson

HALF = {"man": 0.5, "woman": 0.5}
PLAN = Plan(templates=("{}",), held_out=("a {}",), check=0, confusion=8)


class Brightness:
    """Dark pictures show a man, bright ones a woman."""

    name = "brightness 1"

    def choices(self, concept):
        return ("man", "woman")

    def __call__(self, images, choices):
        shares = torch.tensor([image.getpixel((0, 0))[0] / 255 for image in images])
        return torch.stack([shares if choice == "woman" else 1 - shares for choice in choices], dim=1)


class Grey:
    """Pictures and prompts as a number on a half circle."""

    name = "grey 1"

    def texts(self, prompts):
        return torch.tensor([[1.0, 0.0]] * len(prompts))

    def images(self, images):
        angle = torch.tensor([image.getpixel((0, 0))[0] / 255 for image in images])
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def painted_by_hand(model, odds, slope=6.0):
    """Make `model` paint white for women, black for men: log odds `odds[word]`, moved by what its matrices now read.

    How far the prompt went towards "woman word" and "man word" is taken from an edited matrix: nothing else of the
    edit. A prompt may have odds of its own.
    """
    name = model.sites[0].name
    original = model.weights()[name].clone()
    painted = []

    def row(prompt):
        stream = model.encode([prompt])["text"]
        return stream.rows[0, int(stream.eos[0]) - 1]

    def share(prompt):
        word = next(word for word in odds if word in prompt)
        if prompt != word and prompt.split(word)[0].split()[-1:] in (["man"], ["woman"]):
            return 0.98 if "woman" in prompt else 0.02
        asked = [prompt.replace(word, f"{who} {word}") for who in ("woman", "man")]
        ways = torch.stack([original @ (row(other) - row(prompt)) for other in asked], dim=1)
        went = torch.linalg.lstsq(ways, (model.weights()[name] - original) @ row(prompt)).solution
        return sigmoid(odds.get(prompt, odds[word]) + slope * float(went[0] - went[1]))

    def generate(prompts, seeds, **_):
        painted.extend(zip(prompts, seeds, strict=True))
        chances = {prompt: share(prompt) for prompt in set(prompts)}
        draws = [random.Random(f"{p} {s}").random() < chances[p] for p, s in zip(prompts, seeds, strict=True)]
        return [Image.new("RGB", (16, 16), (255,) * 3 if woman else (0,) * 3) for woman in draws]

    model.generate = generate
    return painted, share


ODDS = {"doctor": -1.7, "teacher": 1.7, "cook": 0.0}


@pytest.fixture
def model(monkeypatch):
    """Hundreds of pictures need not reach the disk here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return tiny.tiny_model("sd1")


def recipe(*words, **more):
    return ce.Recipe(**{"edits": [ce.Debias(word, across=HALF) for word in words or ODDS], "method": "uce"} | more)


# The goals


@pytest.mark.parametrize("tokens", ["last", "aligned", "subject"])
def test_the_edit_solves_the_paper_s_equations_for_moved_goals(tokens):
    """T(α) = c + Σ α (row of the phrase − c), row by row from the pipeline, against the normal equations."""
    pipe = tiny.tiny_pipeline("sd1")
    model = ce.open_model(pipe)
    aims = {"doctor": {"man": 0.0, "woman": 0.4}, "teacher": {"man": 0.7, "woman": 0.1}}
    asked = recipe("doctor", "teacher", tokens=tokens, keep_null=False).aimed(aims)
    stream = ce.collect(model, asked).streams["text"].pairs
    if tokens == "last":
        pairs = []
        for word, alphas in aims.items():
            rows, at = oracles.clip_rows(pipe, word)
            goal = rows[at].clone()
            for attribute, alpha in alphas.items():
                other, there = oracles.clip_rows(pipe, f"{attribute} {word}")
                goal += alpha * (other[there] - rows[at])
            pairs.append((rows[at], goal, 1.0))
    else:
        pairs = [(c, t, float(w)) for c, t, w in zip(stream.sources, stream.goals, stream.weights, strict=True)]
        assert len(pairs) > 2
    for name, delta in ce.solve(model, asked).delta(model).items():
        before = model.weights()[name]
        new = oracles.edited(before, pairs, [], asked.ridge)
        assert oracles.difference(delta.double(), new - before.double()) < 1e-4


def test_an_aim_of_one_is_the_attribute_asked_for_outright():
    model = tiny.tiny_model("sd1")
    aimed = recipe("doctor").aimed({"doctor": {"man": 0.0, "woman": 1.0}})
    outright = ce.Recipe(edits=[ce.Erase("doctor", guide="woman doctor")], method="uce")
    a, b = ce.solve(model, aimed).factors["text"], ce.solve(model, outright).factors["text"]
    torch.testing.assert_close(a.dense(), b.dense(), rtol=1e-5, atol=1e-7)


def test_an_aim_of_zero_is_a_kept_row():
    model = tiny.tiny_model("sd1")
    kept = ce.Recipe(edits=[ce.Erase("apple")], preserve=["doctor"], method="uce")
    aimed = ce.Recipe(
        edits=[ce.Erase("apple"), ce.Debias("doctor", across=HALF, aims={"man": 0, "woman": 0})], method="uce"
    )
    a, b = ce.solve(model, aimed).factors["text"], ce.solve(model, kept).factors["text"]
    torch.testing.assert_close(a.dense(), b.dense(), rtol=1e-5, atol=1e-7)


WORDED = {
    "{}": {"man": 0.0, "woman": 0.2},
    "a {}": {"man": 0.0, "woman": 0.37},
    "a picture of a {}": {"man": 0.1, "woman": 0.0},
}


def worded(**more):
    edit = ce.Debias("doctor", across=HALF, wordings=("a {}", "a picture of a {}"))
    return ce.Recipe(edits=[ce.Erase("apple"), edit], preserve=["art"], tokens="subject", **more)


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux"])
@pytest.mark.parametrize("aims", [{"man": 0.0, "woman": 0.37}, WORDED])
def test_every_family_re_solves_to_the_very_bits(family, aims):
    model = tiny.tiny_model(family)
    resolve = Resolver(model, worded())
    resolve({"doctor": {"man": 0.0, "woman": 0.0}})
    edit = resolve({"doctor": aims})
    again = ce.solve(model, worded().aimed({"doctor": aims}))
    assert factor_digests(edit) == factor_digests(again)
    assert edit_digest(edit) == edit_digest(again)


def test_each_wording_has_its_own_goal_and_what_stands_before_the_concept_stays():
    """Tokens, EOS and pads of "a picture of a doctor" against rows read from the pipeline itself."""
    pipe = tiny.tiny_pipeline("sd1")
    model = ce.open_model(pipe)
    pairs = ce.collect(model, worded().aimed({"doctor": WORDED})).streams["text"].pairs
    sources, goals = (rows[pairs.owner == 1] for rows in (pairs.sources, pairs.goals))
    prompts = {template: template.replace("{}", "doctor") for template in WORDED}
    spots = {t: [*range(1, oracles.clip_rows(pipe, p)[1] + 2)] for t, p in prompts.items()}
    sizes = [len(own) + 3 for own in spots.values()]
    assert len(sources) == sum(sizes), "tokens, EOS and three pads of each wording"
    for template, rows, there in zip(WORDED, sources.split(sizes), goals.split(sizes), strict=True):
        before = template.split("{}")[0]
        held = len(pipe.tokenizer(before, add_special_tokens=False).input_ids)
        own, last = oracles.clip_rows(pipe, prompts[template])
        torch.testing.assert_close(rows[: last + 1], own[1 : last + 2])
        torch.testing.assert_close(there[:held], rows[:held], rtol=0, atol=1e-5)
        wanted = [own[last].double(), own[last + 1].double()]
        for attribute, alpha in WORDED[template].items():
            other, at = oracles.clip_rows(pipe, prompts[template].replace("doctor", f"{attribute} doctor"))
            wanted[0] = wanted[0] + alpha * (other[at] - own[last]).double()
            wanted[1] = wanted[1] + alpha * (other[at + 1] - own[last + 1]).double()
        torch.testing.assert_close(there[last - 1 : last + 1], torch.stack(wanted).float(), rtol=1e-4, atol=1e-5)


def test_aims_of_wordings_travel_and_are_revoked_added_and_verified(tmp_path):
    model = tiny.tiny_model("sd1")
    asked = worded().aimed({"doctor": WORDED})
    assert ce.Recipe.from_yaml(asked.to_yaml()) == asked
    edit = ce.solve(model, asked)
    edit.save(tmp_path / "e.safetensors", statistics=True)
    loaded = ce.Edit.load(tmp_path / "e.safetensors")
    assert loaded.recipe.edits[1].aims == WORDED
    assert edit_digest(ce.solve(model, loaded.recipe)) == edit_digest(edit) == edit_digest(loaded)
    without = loaded.without("doctor")
    assert factor_digests(without) == factor_digests(ce.solve(model, asked.without("doctor")))
    alone = ce.solve(model, asked.without("doctor")), ce.solve(model, asked.without("apple"))
    joint = ce.solve(model, asked.without("doctor") + asked.without("apple"))
    for name, dense in (alone[0] + alone[1]).delta(model).items():
        torch.testing.assert_close(dense, joint.delta(model)[name], rtol=1e-4, atol=1e-6)


def test_aims_travel_in_recipes_and_edit_files(model, tmp_path):
    asked = recipe("doctor").aimed({"doctor": {"man": 0.0, "woman": 0.371234}})
    assert ce.Recipe.from_yaml(asked.to_yaml()) == asked
    edit = ce.solve(model, asked)
    edit.save(tmp_path / "e.safetensors")
    loaded = ce.Edit.load(tmp_path / "e.safetensors")
    assert edit_digest(ce.solve(model, loaded.recipe)) == edit_digest(edit) == edit_digest(loaded)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"aims": {"man": 0.1}}, "name the same attributes"),
        ({"aims": {"man": math.inf, "woman": 0}}, "finite"),
        ({"aims": {"a {}": {"man": 0.1, "woman": 0}}}, r"name the wordings \['\{\}'\]"),
        ({"aims": {"{}": {"woman": 0, "man": 0}}}, "name the same attributes"),
        ({"aims": {"{}": {"man": 0, "woman": math.nan}}}, "finite"),
        ({"aims": {"{}": {"man": 0, "woman": 0}, "a {}": 0.3}, "wordings": ("a {}",)}, "each with aims"),
        ({"phrase": "woman doctor"}, "must hold"),
    ],
)
def test_bad_aims_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ce.Debias("doctor", across=HALF, **fields)


# The search


def counted(chance, n, rng):
    hits = sum(rng.random() < chance for _ in range(n))
    return {"woman": hits, "man": n - hits}


def test_a_verdict_needs_an_interval_that_tells():
    across = {"woman": 0.5, "man": 0.5}
    assert judged({"woman": 5, "man": 5}, across, 0.08) == "open", "10 pictures tell nothing"
    assert judged({"woman": 1, "man": 15}, across, 0.08) == "out"
    assert judged({"woman": 80, "man": 80}, across, 0.08) == "in"
    low, high = wilson(80, 160)
    assert high - low <= 0.16
    at_rest = Aim.start(across)
    assert at_rest.counted([{"woman": 55, "man": 45}]).near(0.08)
    assert not at_rest.counted([{"woman": 60, "man": 40}]).near(0.08)


@pytest.mark.parametrize("start", [0.04, 0.15, 0.5, 0.85])
@pytest.mark.parametrize("slope", [3.0, 8.0, 15.0])
def test_the_search_finds_the_root_of_any_rising_response(start, slope):
    search, rng = Search(0.5), random.Random(7)
    for _ in range(8):
        chance = sigmoid(log_odds(start) + slope * search.at[0])
        search = search.counted([counted(chance, 400, rng)["woman"]], [400]).moved()
    assert abs(sigmoid(log_odds(start) + slope * search.at[0]) - 0.5) < 0.08
    assert search.within(0.08, 0.08)


def test_a_response_that_does_not_rise_is_bisected_inside_its_bracket():
    search = Search(0.5)
    for _ in range(10):
        search = search.counted([0 if search.at[0] < 0.3 else 100], [100]).moved()
    assert abs(search.at[0] - 0.3) < 0.02


def test_a_wording_that_does_not_answer_is_made_up_for_by_the_others():
    search, rng = Search(0.5, (0.0,) * 3, (True,) * 3), random.Random(3)
    for _ in range(10):
        chances = [0.2, *(sigmoid(5 * (x - 0.6)) for x in search.at[1:])]
        hits = [counted(chance, 60, rng)["woman"] for chance in chances]
        search = search.counted(hits, [60] * 3).moved()
    chances = [0.2, *(sigmoid(5 * (x - 0.6)) for x in search.at[1:])]
    assert abs(sum(chances) / 3 - 0.5) < 0.08, chances
    assert min(chances[1:]) > 0.5


def test_three_attributes_are_balanced_together():
    goal = {"red": 0.5, "green": 0.3, "blue": 0.2}
    aim, rng = Aim.start(goal), np.random.default_rng(0)
    for _ in range(12):
        assert min(aim.alphas(0).values()) >= 0
        odds = np.array([1.0, -1.0, 0.5]) + 5 * np.array(list(aim.alphas(0).values()))
        chances = np.exp(odds) / np.exp(odds).sum()
        counts = rng.multinomial(600, chances)
        aim = aim.counted([dict(zip(goal, counts.tolist(), strict=True))]).moved()
    assert np.abs(chances - list(goal.values())).max() < 0.08


def test_spread_is_the_published_measure():
    assert spread([{"man": 0.85, "woman": 0.15}], [HALF]) == pytest.approx(0.7)
    assert spread([HALF, {"man": 1.0, "woman": 0.0}], [HALF, HALF]) == pytest.approx(0.5)


# The loop


def test_biased_concepts_end_in_range_and_a_balanced_one_is_left_alone(model):
    before = {name: weight.clone() for name, weight in model.weights().items()}
    asked = recipe()
    painted, share = painted_by_hand(model, ODDS)
    found = debias(model, asked, Brightness(), plan=PLAN)
    assert found.unsettled == ()
    with found.edit.applied(model):
        assert all(abs(share(word) - 0.5) <= 0.08 for word in ODDS), {word: share(word) for word in ODDS}
    aims = {edit.concept: edit.aims for edit in found.edit.recipe.edits}
    assert aims["doctor"]["woman"] > 0 == aims["doctor"]["man"]
    assert aims["teacher"]["man"] > 0 == aims["teacher"]["woman"]
    assert aims["cook"] == {"man": 0.0, "woman": 0.0}, "in range from the start: kept"
    assert asked == recipe(), "the recipe that was given is as it was"
    assert all(torch.equal(weight, before[name]) for name, weight in model.weights().items())
    assert edit_digest(ce.solve(model, found.edit.recipe)) == edit_digest(found.edit)
    assert found.images == sum(sum(c.counts.values()) for part in found.rounds for c in part)
    assert len(painted) == found.images + 2 * 9, "and nothing but the labeller's own measurement"


def test_every_wording_gets_an_aim_of_its_own(model):
    """Two wordings that one α could not balance: towards women in one, towards men in the other."""
    odds = {"doctor": 0.0, "a doctor": -1.7, "photo of doctor": 1.2}
    _, share = painted_by_hand(model, odds)
    templates = ("a {}", "photo of {}")
    asked = ce.Recipe(
        edits=[ce.Debias("doctor", across=HALF, wordings=templates)], preserve=["cat"], erase_scale=4.0, method="uce"
    )
    plan = Plan(templates=templates, held_out=(), check=40, confusion=0)
    found = debias(model, asked, Brightness(), plan=plan)
    (edit,) = found.edit.recipe.edits
    assert found.unsettled == ()
    assert list(edit.aims) == ["{}", "a {}", "photo of {}"]
    assert edit.aims_of("a {}")["woman"] > 0 == edit.aims_of("a {}")["man"]
    assert edit.aims_of("photo of {}")["man"] > 0 == edit.aims_of("photo of {}")["woman"]
    with found.edit.applied(model):
        assert abs(share("a doctor") - 0.5) < plan.each
        assert abs(share("photo of doctor") - 0.5) < plan.each
        assert abs(share("a doctor") + share("photo of doctor") - 1) / 2 < plan.tolerance
    figures = {(f.name, f.side): f for f in found.figures}
    pooled = [figures["Δ, training templates", side].value for side in ("before", "after")]
    within = [figures["Δ within each template, training", side].value for side in ("before", "after")]
    assert 2 * pooled[0] < within[0], "the bias of each wording shows where the pooled share hides it"
    assert 2 * within[1] < within[0]
    part = figures["share of woman, training templates: a {}", "after"]
    assert part.n == 20
    assert part.low <= 0.5 <= part.high
    first = found.rounds[0][0]
    assert [w.template for w in first.wordings] == list(templates)
    assert sum(sum(w.counts.values()) for w in first.wordings) == sum(first.counts.values())


def test_prompts_that_the_entry_does_not_name_share_its_one_aim(model):
    painted_by_hand(model, {"doctor": -1.7})
    found = debias(model, recipe("doctor"), Brightness(), plan=Plan(templates=("{}", "doctor {}"), check=0))
    (edit,) = found.edit.recipe.edits
    assert not edit.worded
    assert edit.aims["woman"] > 0 == edit.aims["man"]


def test_no_seed_is_used_twice_and_no_round_takes_more_than_allowed(model):
    painted, _ = painted_by_hand(model, ODDS)
    plan = Plan(templates=("{}",), check=0, confusion=0, most=40)
    found = debias(model, recipe(), Brightness(), plan=plan)
    assert len(set(painted)) == len(painted) == found.images
    assert max(sum(c.counts.values()) for part in found.rounds for c in part) == 40


def test_the_corpus_is_read_once_for_all_rounds(model, monkeypatch):
    painted_by_hand(model, ODDS)
    reads, module = [], importlib.import_module("concept_edit.balance.debias")
    read = module.default_corpus
    monkeypatch.setattr(module, "default_corpus", lambda of: reads.append(of) or read(of))
    monkeypatch.setattr(importlib.import_module("concept_edit.prompts.collect"), "default_corpus", None)
    guarded = recipe("doctor", method="guarded", tokens="last")
    found = debias(model, guarded, Brightness(), plan=Plan(templates=("{}",), check=0, confusion=0, rounds=3))
    assert len(found.rounds) > 1
    assert len(reads) == 1
    monkeypatch.undo()
    assert edit_digest(ce.solve(model, found.edit.recipe)) == edit_digest(found.edit)


def test_the_labeller_s_own_mistakes_are_reported(model):
    painted_by_hand(model, ODDS)
    (found,) = debias(model, recipe("doctor"), Brightness(), plan=PLAN).confusions
    assert found.labels == ("man", "woman")
    assert [sum(row) for row in found.counts] == [8, 8]
    assert found.accuracy > 0.8


def test_together_with_erasing_and_keeping(model):
    others = [ce.Erase("Van Gogh", guide="art"), ce.Moderate("bomb")]
    _, share = painted_by_hand(model, ODDS)
    asked = ce.Recipe(edits=[*others, *recipe("doctor", "teacher").edits], preserve=["Monet", "apple"], method="uce")
    found = debias(model, asked, Brightness(), plan=PLAN)
    assert found.unsettled == ()
    with found.edit.applied(model):
        assert all(abs(share(word) - 0.5) <= 0.08 for word in ("doctor", "teacher"))
    assert found.edit.concepts == asked.concepts
    pairs, change = found.edit.statistics.streams["text"].pairs, found.edit.factors["text"].dense()
    erased = pairs.owner < len(others)
    way = (pairs.goals - pairs.sources)[erased]
    left = (pairs.sources[erased] @ change.float().T - way).norm(dim=1) / way.norm(dim=1)
    assert left.max() < 0.5, "of the way from an erased row to its goal"


def test_a_killed_search_goes_on_from_its_pictures(model, tmp_path):
    painted, _ = painted_by_hand(model, ODDS)
    whole = debias(model, recipe(), Brightness(), plan=PLAN, out=tmp_path / "whole")
    count, paint = len(painted), model.generate
    painted.clear()

    def stops(prompts, seeds, **more):
        if len(painted) > count // 2:
            raise KeyboardInterrupt
        return paint(prompts, seeds, **more)

    model.generate = stops
    with pytest.raises(KeyboardInterrupt):
        debias(model, recipe(), Brightness(), plan=PLAN, out=tmp_path / "cut")
    there = len(painted)
    model.generate = paint
    again = debias(model, recipe(), Brightness(), plan=PLAN, out=tmp_path / "cut")
    assert len(painted) == count
    assert 0 < there < count
    assert edit_digest(again.edit) == edit_digest(whole.edit)
    assert again.rounds == whole.rounds


def test_the_closing_check_counts_unseen_seeds_before_and_after(model):
    painted, _ = painted_by_hand(model, ODDS)
    plan = Plan(templates=("{}",), held_out=("a {}",), check=64, confusion=0)
    found = debias(model, recipe("doctor"), Brightness(), clip=Grey(), plan=plan)
    figures = {(f.name, f.group, f.side): f for f in found.figures}
    before, after = (figures["share of woman, training templates", "doctor", side] for side in ("before", "after"))
    assert before.low < sigmoid(ODDS["doctor"]) < before.high
    assert after.low <= 0.5 <= after.high
    assert (before.n, after.n) == (64, 64)
    delta = [figures["Δ, training templates", "balanced", side].value for side in ("before", "after")]
    assert delta[0] == pytest.approx(abs(before.value - 0.5) / 0.5)
    assert delta[1] < delta[0]
    assert ("Δ, held-out templates", "balanced", "after") in figures
    score = figures["CLIP score, training templates", "balanced", "after"]
    assert score.value == pytest.approx(1 + after.value * (math.cos(1) - 1))
    unseen = {seed for _, seed in painted if seed >= 1_000_000}
    assert len(unseen) == 128
    assert found.as_dict()["figures"]
    for figure in found.figures:
        assert figure.low <= figure.value <= figure.high, figure


def test_no_two_concepts_share_a_seed_of_the_closing_check(model):
    painted, _ = painted_by_hand(model, ODDS)
    plan = Plan(templates=("{}",), held_out=(), check=8, confusion=0, rounds=1, most=4, batch=4)
    debias(model, recipe(), Brightness(), plan=plan)
    unseen = {(prompt, seed) for prompt, seed in painted if seed >= 1_000_000}
    assert len(unseen) == len({seed for _, seed in unseen}) == 3 * 8


def test_what_cannot_be_reached_is_said(model):
    painted_by_hand(model, ODDS, slope=0.0)
    found = debias(model, recipe("doctor", "cook"), Brightness(), plan=Plan(templates=("{}",), check=0, rounds=3))
    assert found.unsettled == ("doctor",)
    assert len(found.rounds) == 3


def test_requests_that_cannot_be_answered(model):
    with pytest.raises(ValueError, match="balances nothing"):
        debias(model, ce.Recipe(edits=[ce.Erase("cat")], method="uce"), Brightness())
    with pytest.raises(ValueError, match="needs a labeller"):
        debias(model, recipe("doctor"))
    with pytest.raises(ValueError, match="'doctor' is to be balanced and nobody has measured"):
        ce.solve(model, recipe("doctor"))


def test_a_wording_given_as_a_whole_says_nothing_before_the_concept():
    model, alphas, whole = ce.open_model("demo"), {"man": 0.0, "woman": 0.5}, "doctor with a hat"
    flat = ce.Debias("doctor", across={"man": 0.5, "woman": 0.5}, wordings=[whole], aims=alphas)
    worded = dataclasses.replace(flat, aims={"{}": alphas, whole: alphas})
    pairs = [ce.collect(model, ce.Recipe(edits=[e], tokens="subject")).streams["text"].pairs for e in (flat, worded)]
    assert torch.equal(pairs[0].sources, pairs[1].sources)
    assert torch.equal(pairs[0].goals, pairs[1].goals)
