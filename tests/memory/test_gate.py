"""Gates: what passes and what is moved, on a live model of every family; no file can hold one."""

from __future__ import annotations

import dataclasses
import math

import numpy
import pytest
import tiny
import torch
from test_guard import problem, rows, surroundings

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.recipes import kept, scenes, style_edit
from concept_edit.memory.gate import Gate, nearest, solve_gate
from concept_edit.memory.guard import Bounds, solve_guarded
from concept_edit.memory.solve import Problem

BOUNDS = Bounds(0.22, 0.3, 0.35, 4)
KEPT = ("dog", "panda", "frog", "penguin", "car", "tree", "house", "star")


@pytest.fixture(scope="module")
def model():
    return ce.open_model("demo")


@pytest.fixture(scope="module")
def edit(model):
    return ce.solve(model, ce.Recipe(edits=[ce.Erase("cat")], preserve=KEPT, method="gated"))


def pixels(images):
    return numpy.stack([numpy.asarray(image) for image in images]).astype(float)


def test_erased_rows_go_to_their_goals_and_far_rows_stay_bit_for_bit():
    asked, around = problem(), surroundings()
    gate = solve_gate(asked, around, 0.05)
    moved = gate(asked.sources)
    way = (asked.goals - asked.sources).norm(dim=1)
    assert float(((moved - asked.goals).norm(dim=1) / way).max()) < 0.2
    far = rows(50, 77)
    assert float(nearest(far, gate.sources, gate.mean, gate.pressed).per_row.max()) < 0.7
    assert torch.equal(gate(far), far)


def test_a_prompt_that_is_let_through_is_edited_whole_and_others_stay_bit_for_bit():
    asked, around = problem(), surroundings()
    gate = solve_gate(asked, around, 0.05, bounds=BOUNDS)
    change = solve_guarded(asked, around, BOUNDS).factors.dense().float()
    mixed = asked.kept[:1] + 0.2 * (asked.sources[:1] - asked.sources.mean(dim=0))
    assert torch.equal(gate(mixed), mixed)
    assert float((mixed @ change.T).norm()) > 0.01
    names_it = torch.stack([asked.kept[1], asked.sources[0], mixed[0]])
    names_none = torch.stack([asked.kept[1], asked.kept[2], mixed[0]])
    after = gate(torch.stack([names_it, names_none]))
    for place, row in ((0, asked.kept[1]), (2, mixed[0])):
        torch.testing.assert_close(after[0, place], row + change @ row, atol=1e-3, rtol=1e-3)
    assert float((after[0, 1] - asked.goals[0]).norm() / (asked.goals[0] - asked.sources[0]).norm()) < 0.2
    assert torch.equal(after[1], names_none)
    assert torch.equal(gate(names_it)[0], asked.kept[1]), "rows without a prompt stand alone"
    half = gate(names_it[None], 0.5)[0]
    torch.testing.assert_close(2 * (half - names_it), after[0] - names_it, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_a_list_of_rows_is_answered_as_each_row_by_itself(count):
    asked, around = problem(), surroundings()
    gate = solve_gate(asked, around, 0.05, bounds=BOUNDS)
    listed = torch.cat([asked.sources, asked.kept, rows(3000, 78)])[:count]
    alone = torch.cat([gate(row[None]) for row in listed])
    assert bool((alone != listed).any())
    torch.testing.assert_close(gate(listed), alone)


def test_one_style_is_suppressed_in_the_exact_prompt_whichever_it_is_and_the_others_stay(model):
    """By the bare word alone: the rows after it in a prompt about a thing are near none of its own."""
    judge, things = load_judge(), ("tree", "rocket", "guitar", "fish", "house", "cat")
    for style, other in (("EmojiOne", "Lobe"), ("Twemoji", "EmojiOne")):
        recipe = ce.Recipe(edits=[ce.Erase(style, guide="art")], preserve=kept(style), method="gated")
        prompts = [f"a {thing} in the style of {name}" for name in (style, other) for thing in things]
        with ce.solve(model, recipe).applied(model):
            seen = judge(model.generate(prompts, [7001] * len(prompts), steps=10))
        assert sum(verdict.style == style for verdict in seen[: len(things)]) <= 2
        assert sum(verdict.style == other for verdict in seen[len(things) :]) >= len(things) - 1
        assert sum(v.concept == thing for v, thing in zip(seen[: len(things)], things, strict=True)) >= len(things) - 1


def test_strength_and_shape_and_dtype():
    asked = problem()
    gate = solve_gate(asked, surroundings(), 0.05)
    batch = asked.sources.reshape(2, 3, -1)
    assert torch.equal(gate(batch, 0.0), batch)
    half = (gate(batch, 0.5) - batch) * 2
    assert torch.allclose(half, gate(batch) - batch, atol=1e-4)
    assert gate(batch.half()).dtype == torch.float16


def test_a_kept_row_beside_an_erased_one_raises_its_threshold_and_is_left_alone():
    asked, around = problem(), surroundings()
    twin = asked.sources[:1] + 0.35 * rows(1, 5) - 0.35 * 2
    free = solve_gate(asked, around, 0.05)
    assert float((free(twin) - twin).norm()) > 1
    beside = Gate(*solve_gate(asked.__class__(**{**vars(asked), "kept": torch.cat([asked.kept, twin]),
                  "kept_weights": torch.ones(31).double()}), around, 0.05))  # fmt: skip
    assert beside.thresholds[0] > free.thresholds[0]
    assert float((beside(twin) - twin).norm()) < float((free(twin) - twin).norm())


def test_past_the_second_threshold_a_row_goes_a_whole_way_and_below_it_stays_bit_for_bit():
    asked, around = problem(), surroundings()
    whole = solve_gate(asked, around, 0.05, caption_alarm=0.01, bounds=BOUNDS)
    gate = whole._replace(thresholds=torch.full_like(whole.thresholds, 2.0), lack=torch.tensor(0.0))
    change = solve_guarded(asked, around, BOUNDS).factors.dense().float()
    way = float((asked.goals - asked.sources).norm(dim=1).median())
    mixed = 0.7 * asked.sources + 0.3 * rows(6, 31)
    asks = mixed @ change.T
    told = asks.norm(dim=1) / way > whole.reach[1] + 0.1
    assert bool(told.any())
    moves = (gate(mixed) - mixed)[told]
    assert torch.allclose(moves.norm(dim=1), torch.full((len(moves),), way), rtol=0.05)
    assert torch.allclose(torch.cosine_similarity(moves, asks[told]), torch.ones(len(moves)), atol=1e-4)
    for stays in (asked.kept, around.fixed):
        assert torch.equal(gate(stays), stays)
    far = (gate(around.ordinary) - around.ordinary).norm(dim=1) > way / 2
    assert float(far.double().mean()) <= 0.012
    closed = gate._replace(reach=torch.tensor([way, 9.0]))
    assert torch.equal(closed(mixed), mixed)


def test_the_second_threshold_is_set_by_kept_prompts_that_its_map_was_not_made_for():
    asked, around = problem(), surroundings()
    prompts = torch.arange(len(asked.kept)) // 3
    gate = solve_gate(asked, around, 0.2, caption_alarm=0.9, bounds=BOUNDS, prompts=prompts)
    way, left_out = (asked.goals - asked.sources).norm(dim=1).median(), []
    for fold in range(4):
        out = prompts % 4 == fold
        fewer = dataclasses.replace(asked, kept=asked.kept[~out], kept_weights=asked.kept_weights[~out])
        change = solve_guarded(fewer, around, BOUNDS, merge=False).factors.dense().float()
        moved = (asked.kept @ change.T).norm(dim=1) / way
        left_out += [float(moved[prompts == n].max()) for n in prompts[out].unique()]
    left_out.sort()
    assert float(gate.reach[1]) == pytest.approx(left_out[math.ceil(0.9 * (len(left_out) - 1))], rel=1e-3)
    own = solve_guarded(asked, around, BOUNDS, merge=False).factors.dense().float()
    assert float(gate.reach[1]) > float((asked.kept @ own.T).norm(dim=1).max() / way), "those it was made for move less"


def test_what_lacks_in_nearness_is_asked_of_the_map():
    asked, around = problem(), surroundings()
    gate = solve_gate(asked, around, 0.05, caption_alarm=0.01, bounds=BOUNDS)
    gate = gate._replace(reach=torch.tensor([float(gate.reach[0]), 0.3]))
    lower = gate._replace(lack=torch.tensor(0.0))
    mixed = torch.cat([(1 - far) * asked.sources + far * rows(len(asked.sources), 31) for far in (0.3, 0.5, 0.7)])
    both, alone = ((g(mixed) - mixed).norm(dim=1) > 0 for g in (gate, lower))
    assert bool((both <= alone).all())
    assert 0 < int(both.sum()) < int(alone.sum())


def test_only_rows_that_have_read_the_whole_concept_open_the_gate(model):
    recipe = ce.Recipe(edits=[ce.Erase("tree banana"), ce.Erase("moon")], preserve=("dog", "panda"), method="gated")
    pairs = ce.collect(model, recipe).streams["text"].pairs
    first, own = pairs.sources[0], model.encode(["tree banana"])["text"]
    start, last = (int(own.subject[0].nonzero()[n]) for n in (0, -1))
    assert last > start
    assert torch.equal(first, own.rows[0, start])
    count = last - start
    assert pairs.whole[: count + 2].tolist() == [*[False] * count, True, True]
    gate = ce.solve(model, recipe).gates["text"]
    assert len(gate.sources) == int(pairs.whole.sum()) < len(pairs.sources)
    near = gate._replace(left=gate.left[:, :0], right=gate.right[:0])
    tree = own.rows[0, start : start + 1]
    banana = own.rows[0, last : last + 1]
    around = ce.collect(model, recipe).streams["text"].around
    every = solve_gate(ce.collect(model, recipe).streams["text"].problem(recipe), around, 0.05, concepts=pairs.owner)
    assert float((every(tree) - tree).norm()) > 1, "if the row of tree opened it"
    assert torch.equal(near(tree), tree)
    assert float((near(banana) - banana).norm()) > 1


def test_what_the_wordings_of_a_concept_differ_in_does_not_hide_it():
    width, around = 256, dataclasses.replace(
        surroundings(), moment=torch.eye(256).double(), mean=torch.zeros(256).double(), fixed=torch.zeros(0, 256),
        ordinary=torch.zeros(0, 256),
    )  # fmt: skip
    apple, lamp, *worded = torch.eye(width)[:8]
    sources = torch.stack([thing + 2 * sign * how for thing in (apple, lamp) for how in worded[:5] for sign in (1, -1)])
    asked = Problem(
        sources, torch.zeros_like(sources), torch.ones(20).double(), torch.zeros(0, width), torch.zeros(0).double(), 0.5
    )
    gate = solve_gate(asked, around, 0.05, concepts=torch.arange(20) // 10)
    plain = solve_gate(asked, around, 0.05)
    other = apple + 1.3 * (worded[0] + worded[1])
    moved, unpressed = (float((g(other[None]) - other).norm()) for g in (gate, plain))
    assert unpressed < 0.5 < 2 < moved


def test_what_all_captions_share_does_not_make_unlike_rows_alike():
    width = 256
    shared, apple, lamp = torch.eye(width)[:3]
    moment = torch.eye(width).double()
    moment[0, 0] = 2000
    around = dataclasses.replace(
        surroundings(), moment=moment, mean=torch.zeros(width).double(), fixed=torch.zeros(0, width),
        ordinary=torch.zeros(0, width),
    )  # fmt: skip
    source, other, worded = 5 * shared + apple, 5 * shared + lamp, 4 * shared + 0.9 * apple + 0.1 * lamp
    asked = Problem(
        source[None], 5 * shared[None], torch.ones(1).double(), torch.zeros(0, width), torch.zeros(0).double(), 0.5
    )
    gate = solve_gate(asked, around, 0.05)
    assert float(torch.cosine_similarity(source, other, dim=0)) > 0.96
    assert torch.equal(gate(other[None]), other[None])
    assert float((gate(worded[None]) - worded).norm()) > 0.5
    plain = gate._replace(pressed=torch.zeros(width, 0), sources=torch.nn.functional.normalize(source[None], dim=-1))
    assert float((plain(other[None]) - other).norm()) > 0.5


def test_a_moment_held_as_rows_presses_the_same_directions():
    spread = rows(60, 3) * torch.linspace(0.2, 6, rows(1, 1).shape[1])
    plain = dataclasses.replace(surroundings(), moment=spread.double().T @ spread.double())
    wide = dataclasses.replace(plain, moment=spread.double(), floor=torch.tensor(0.0).double())
    first, second = (solve_gate(problem(edits=2), around, 0.05).pressed for around in (plain, wide))
    assert first.shape[1] > 3
    torch.testing.assert_close(first @ first.T, second @ second.T, atol=1e-4, rtol=1e-3)


def test_one_word_is_solved_in_the_wordings_of_things_and_of_styles_and_its_own_are_its_own(model):
    def asked(method, *edits):
        return ce.collect(model, ce.Recipe(edits=edits, method=method)).streams["text"].pairs.sources

    bare, given = asked("gated", ce.Erase("cat", wordings="{}")), asked("gated", ce.Erase("cat", wordings="an old {}"))
    spelt = asked("gated", ce.Erase("cat", wordings=("style", "object")))
    assert torch.equal(asked("gated", ce.Erase("cat")), spelt)
    assert torch.equal(
        asked("gated", ce.Moderate("cat")), asked("gated", ce.Moderate("cat", wordings=("style", "object")))
    )
    assert len(bare) < len(given) < len(spelt)
    many = ce.Recipe(edits=[ce.Erase(f"word {n}") for n in range(101)], method="gated")
    assert many.wordings_of(many.edits[0], True) == ()


def test_a_word_of_its_own_is_suppressed_in_wordings_nobody_gave_and_neighbours_stay(model):
    judge, stays = load_judge(), ("dog", "panda", "tree", "lion", "fish", "star")
    gate = ce.solve(model, ce.Recipe(edits=[ce.Erase("cat")], preserve=KEPT, method="gated"))
    wordings = ("a cat", "an emoji of a cat", "a small sticker with a cat on it", "a cat in the manner of Noto")
    prompts = [*wordings, *(f"an emoji of a {thing}" for thing in stays)]
    with gate.applied(model):
        seen = judge(model.generate(prompts, [7001] * len(prompts), steps=10))
    assert sum(verdict.concept == "cat" for verdict in seen[: len(wordings)]) == 0
    assert sum(v.concept == thing for v, thing in zip(seen[len(wordings) :], stays, strict=True)) >= len(stays) - 1


def test_where_the_map_would_foretell_noise_there_is_no_second_threshold():
    many = problem(edits=90, keeps=60)
    gate = solve_gate(many, surroundings(), 0.05, bounds=BOUNDS._replace(left=0.01))
    assert gate.right.shape == (0, many.width)


def test_a_gate_of_an_older_file_has_no_second_threshold_and_compares_rows_as_they_are():
    gate = solve_gate(problem(), surroundings(), 0.05, bounds=BOUNDS)
    newer = ("left", "right", "reach", "pressed", "lack")
    parts = {name: value for name, value in gate._asdict().items() if name not in newer}
    older, some = Gate.read(parts), 0.9 * problem().sources
    near = torch.nn.functional.normalize(some - parts["mean"], dim=-1) @ parts["sources"].T - parts["thresholds"]
    opened = torch.sigmoid(near.max(dim=1).values / 0.02)[:, None]
    assert torch.equal(older(some), some + torch.where(opened > 1e-3, opened, 0.0) * parts["ways"][near.argmax(dim=1)])
    with pytest.raises(KeyError, match="mean"):
        Gate.read({name: value for name, value in parts.items() if name != "mean"})


def test_wordings_nobody_gave_are_told_on_the_embedded_model_and_others_are_not(model):
    gone, stays = ("EmojiOne", "Lobe"), ("Noto", "Twemoji")
    edits = [style_edit(name, guide="Noto") for name in gone]
    preserve = [*kept(*gone), *scenes(*gone)]
    gate = ce.solve(model, ce.Recipe(edits=edits, preserve=preserve, method="gated", caption_alarm=0.01)).gates["text"]
    near = gate._replace(left=gate.left[:, :0], right=gate.right[:0])

    def moved(gate, style):
        """Share of the rows from EOS on that a gate moves far, in wordings that the recipe does not hold."""
        shares = []
        for prompt in (f"a tree in the style of {style}", f"{style}'s drawing of a cat", f"a fish drawn by {style}"):
            encoded = model.encode([prompt])["text"]
            after = encoded.rows[0][int(encoded.eos[0]) :]
            shares.append(float(((gate(after) - after).norm(dim=1) > 1).double().mean()))
        return sum(shares) / len(shares)

    assert sum(moved(gate, name) for name in gone) > 0.4 + sum(moved(near, name) for name in gone)
    assert sum(moved(gate, name) for name in stays) < 0.05 + sum(moved(near, name) for name in stays)


def test_a_gate_without_concepts_does_nothing():
    gate = solve_gate(problem(edits=0), surroundings(), 0.05)
    some = rows(4, 1)
    assert torch.equal(gate(some), some)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_pictures_of_the_concept_change_others_and_weights_do_not(family):
    model = tiny.tiny_model(family)
    recipe = ce.Recipe(edits=[ce.Erase("apple", guide="village")], preserve=["a village", "art"], method="gated")
    edit = ce.solve(model, recipe)
    before = {name: weight.clone() for name, weight in model.weights().items()}
    asked = {"steps": 2, "size": 32}
    plain = pixels(model.generate(["apple", "a village"], [0, 0], **asked))
    with edit.applied(model):
        assert all(torch.equal(weight, before[name]) for name, weight in model.weights().items())
        through = pixels(model.generate(["apple", "a village"], [0, 0], **asked))
    after = pixels(model.generate(["apple", "a village"], [0, 0], **asked))
    assert numpy.abs(through[0] - plain[0]).max() > 0
    assert numpy.array_equal(after, plain)


def test_the_empty_prompt_and_kept_prompts_stay_on_the_embedded_model(model, edit):
    gate = edit.gates["text"]
    for prompt in ("", *KEPT):
        whole = model.encode([prompt])["text"].rows
        assert float((gate(whole) - whole).norm() / whole.norm()) < (0.02 if prompt else 1e-9)
    cat = model.encode(["cat"])["text"].rows[0, 1:3]
    assert float((gate(cat) - cat).norm() / cat.norm()) > 0.3


def test_it_composes_with_a_weight_edit_and_strength_0_is_the_original(model, edit):
    other = ce.solve(model, ce.Recipe(edits=[ce.Erase("dog", guide="tree")]))
    plain = pixels(model.generate(["a cat"], [3], steps=2))
    with edit.applied(model, 0.0):
        assert numpy.array_equal(pixels(model.generate(["a cat"], [3], steps=2)), plain)
    with other.applied(model), edit.applied(model):
        both = pixels(model.generate(["a cat"], [3], steps=2))
    assert not numpy.array_equal(both, plain)
    assert numpy.array_equal(pixels(model.generate(["a cat"], [3], steps=2)), plain)


def test_it_is_saved_loaded_diagnosed_and_taken_from(model, edit, tmp_path):
    edit.save(tmp_path / "gate.safetensors", statistics=True)
    loaded = ce.Edit.load(tmp_path / "gate.safetensors")
    for part, value in edit.gates["text"]._asdict().items():
        assert torch.equal(getattr(loaded.gates["text"], part), value)
    checks = {check.name: check for check in ce.diagnose(model, loaded).checks}
    assert checks["erased concept left"].value < 0.3
    assert checks["drift of kept prompts"].value < 0.05
    joint = loaded + ce.solve(model, ce.Recipe(edits=[ce.Erase("gun")], preserve=KEPT, method="gated"))
    assert len(joint.without("gun").gates["text"].ways) == len(edit.gates["text"].ways)


def test_the_diagnosis_moves_the_rows_of_a_prompt_together_as_serving_does(model, edit):
    prompt, gate = "a lion by a fence", edit.gates["text"]
    rows = ce.collect(model, ce.Recipe(preserve=[prompt], tokens="subject")).streams["text"].kept.sources
    shares = ((rows @ gate.right.T) @ gate.left.T).norm(dim=1) / gate.reach[0]
    first, second = shares.sort(descending=True).values[:2].tolist()
    reach = torch.tensor([float(gate.reach[0]), (first + second) / 2])
    gate = gate._replace(
        reach=reach, thresholds=torch.full_like(gate.thresholds, 2.0), lack=torch.tensor(0.0)
    )  # one row
    found = ce.diagnose(model, ce.Edit(**{**vars(edit), "gates": {"text": gate}}), held_out=[prompt])
    alone, together = gate(rows) - rows, (gate(rows[None]) - rows[None])[0]
    assert float(together.norm()) > 1.1 * float(alone.norm()) > 0
    gram = torch.stack([w.T @ w for w in model.weights().values()]).sum(dim=0)

    def length(x):
        return float(((x @ gram) * x).sum().sqrt())

    mean = edit.statistics.streams["text"].around.mean.float()
    drift = {check.name: check.value for check in found.checks}["drift of held-out prompts"]
    assert drift == pytest.approx(length(together) / length(rows - mean), rel=1e-3)


def test_no_exporter_takes_a_gate(model, edit, tmp_path):
    with pytest.raises(ValueError, match="cannot be written as a LoRA"):
        ce.export_lora(edit, model, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match="cannot be written into a checkpoint"):
        ce.export_checkpoint(edit, model, tmp_path / "model")
    with pytest.raises(ValueError, match="cannot be written as matrices"):
        ce.export_kv(edit, model, tmp_path / "kv.safetensors")
    with pytest.raises(ValueError, match="cannot be merged"):
        edit.merge_into(model)
    assert list(tmp_path.iterdir()) == []


def test_a_touched_gate_is_found_by_verify(model, edit, tmp_path):
    from concept_edit.audit.release import verify

    edit.save(tmp_path / "e.safetensors")
    assert verify(tmp_path / "e.safetensors", model).ok
    bent = {"text": edit.gates["text"]._replace(thresholds=edit.gates["text"].thresholds + 0.01)}
    ce.Edit(**{**vars(edit), "gates": bent}).save(tmp_path / "e.safetensors")
    assert not verify(tmp_path / "e.safetensors", model).ok
