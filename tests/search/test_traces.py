"""Traces of facts: roles, averages, files, plots, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import concept_edit as ce
from concept_edit.language.encoder import open_text_encoder
from concept_edit.language.facts import Fact
from concept_edit.search.roles import ROLES, by_role, roles_of
from concept_edit.search.traces import Trace, prepare, trace
from concept_edit.search.tracing import spearman
from tests.language.models import opened

PROMPT, SUBJECT = "The Space Needle is in the", "Space Needle"


def facts_of(subjects=("Space Needle", "Eiffel Tower", "Miles Davis")):
    """Facts without an old answer: what the model says counts."""
    return [Fact(subject, "The {} is in the", "new") for subject in subjects]


def test_roles():
    assert roles_of(8, [2, 3, 4]) == (
        "before", "before", "first subject", "middle subject", "last subject", "next", "further", "last",
    )  # fmt: skip
    assert roles_of(3, [1]) == ("before", "last subject", "last")
    assert roles_of(4, [0, 1]) == ("first subject", "last subject", "next", "last")
    with pytest.raises(ValueError, match="ends with its subject"):
        roles_of(3, [2])
    effects = torch.arange(8.0)[:, None].expand(8, 2)
    means = by_role(effects, roles_of(8, [2, 3, 4]))
    assert means[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert torch.isnan(by_role(effects[:3], roles_of(3, [1]))[ROLES.index("first subject")]).all()


def test_one_fact_has_a_row_for_each_token_and_all_three_kinds():
    lm = opened()
    found = trace(lm, PROMPT, subject=SUBJECT, samples=2)
    assert set(found.effects) == {"hidden", "mlp", "attention"}
    assert all(table.shape == (len(found.rows), lm.layers) for table in found.effects.values())
    assert "".join(found.rows[1:]) == PROMPT
    assert found.effects["hidden"][-1, -1] == pytest.approx(found.clean - found.corrupted, abs=1e-6)
    assert found.windows == {"hidden": 1, "mlp": 1, "attention": 1}


def test_the_same_seed_gives_the_same_trace():
    lm = opened()
    a, b, c = (trace(lm, PROMPT, subject=SUBJECT, kind="mlp", samples=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.effects["mlp"], b.effects["mlp"])
    assert not torch.equal(a.effects["mlp"], c.effects["mlp"])


def test_another_subject_instead_of_noise():
    lm = opened()
    found = trace(lm, "Who is in Paris, in", subject="is", instead="in", kind="hidden")
    plain = lm.logits(lm.encode(["Who in in Paris, in"]))[0, -1].detach().softmax(-1)
    answer = int(lm.logits(lm.encode(["Who is in Paris, in"]))[0, -1].argmax())
    assert found.corrupted == pytest.approx(float(plain[answer]), abs=1e-6)
    assert found.effects["hidden"][-1, -1] == pytest.approx(found.clean - found.corrupted, abs=1e-6)
    with pytest.raises(ValueError, match="of as many tokens"):
        trace(lm, "Who is in Paris, in", subject="Paris", instead="Zxqwv Jkpt")
    with pytest.raises(ValueError, match="changed nothing"):
        trace(lm, "Who is in Paris, in", subject="Paris", instead="Paris")


def test_a_screen_computes_some_cells_and_says_how_well_it_ranks():
    lm = opened()
    whole = trace(lm, PROMPT, subject=SUBJECT, kind=["mlp", "attention"], samples=2, window=2)
    some = trace(lm, PROMPT, subject=SUBJECT, kind=["mlp", "attention"], samples=2, window=2, exact=8)
    for kind in ("mlp", "attention"):
        mask = some.exact[kind]
        assert torch.allclose(some.effects[kind][mask], whole.effects[kind][mask], atol=1e-6)
        assert (some.effects[kind][~mask] != 0).any()
        assert -1 <= some.screened[kind] <= 1
        assert int((mask & (whole.effects[kind] != 0)).sum()) == 8
    assert not whole.screened


def test_many_facts_are_averaged_with_intervals_and_gone_on_with(tmp_path, monkeypatch):
    lm = opened()
    facts = facts_of()
    whole = trace(lm, facts, samples=2, kind="hidden", folder=tmp_path)
    assert (whole.facts, whole.skipped) == (len(facts), 0)
    singles = [json.loads(path.read_text())["effects"]["hidden"] for path in tmp_path.glob("*.json")]
    there = [ROLES.index(role) for role in whole.roles]
    assert torch.allclose(whole.effects["hidden"], torch.tensor(singles).nanmean(dim=0)[there].double(), atol=1e-6)
    inside = (whole.low["hidden"] <= whole.effects["hidden"]) & (whole.effects["hidden"] <= whole.high["hidden"])
    assert inside.all()
    monkeypatch.setattr("concept_edit.search.averages.trace_one", None)
    again = trace(lm, facts, samples=2, kind="hidden", folder=tmp_path)
    assert torch.equal(again.effects["hidden"], whole.effects["hidden"])
    with pytest.raises(TypeError):
        trace(lm, facts, samples=3, kind="hidden", folder=tmp_path)


def test_shares_of_several_processes_meet_in_a_folder(tmp_path, monkeypatch):
    lm, facts = opened(), facts_of()
    alone = trace(lm, facts, samples=2, kind="mlp")
    for share in (facts[::2], facts[1::2]):
        prepare(lm, facts, share, folder=tmp_path, samples=2, kind=["mlp"])
    monkeypatch.setattr("concept_edit.search.averages.trace_one", None)
    assert torch.equal(trace(lm, facts, samples=2, kind="mlp", folder=tmp_path).effects["mlp"], alone.effects["mlp"])


def test_facts_the_model_does_not_know_are_left_out():
    lm = opened()
    known = facts_of()
    wrong = Fact("Colosseum", "The {} is in the", "new", "trumpet")
    assert trace(lm, [*known, wrong], samples=1, kind="hidden").skipped == 1
    with pytest.raises(ValueError, match="answers none of the 1 facts"):
        trace(lm, [wrong], samples=1)


def test_layers_are_those_of_the_planted_mlp():
    lm = opened("llama", layers=5)
    for layer in (0, 1, 2, 4):
        lm.module(lm.site("mlp", layer)).weight.data.zero_()
    found = trace(lm, PROMPT, subject=SUBJECT, kind="mlp", window=1, samples=2)
    planted = float(found.row("last subject", "mlp")[3])
    assert planted != 0
    expected = 3 if planted > 0 else 0
    assert found.layers()[0] == expected
    assert len(found.layers(2)) == 2
    assert f"layer {expected}" in found.sentence
    with pytest.raises(ValueError, match="6 layers asked"):
        found.layers(6)


def test_the_sentence_says_which_mlps_were_restored_and_which_layers_are_as_good():
    lm = opened("llama", layers=5)
    whole = trace(lm, PROMPT, subject=SUBJECT, kind="mlp", window=3, samples=2)
    value = torch.tensor([0.30, 0.31, 0.29, 0.10, 0.0], dtype=torch.float64)
    row = whole.roles.index("last subject")
    effects = whole.effects["mlp"].double().index_copy(0, torch.tensor([row]), value[None])
    one = replace(whole, effects={"mlp": effects})
    assert one.sentence.startswith("layer 1: MLPs of layers 0 to 2 together give +0.310 of the lost")
    many = replace(one, low={"mlp": effects - 0.05}, high={"mlp": effects + 0.05})
    assert many.sentence.startswith("layer 1 (as good, within its interval: layers 0 to 2): MLPs of layers 0 to 2")
    apart = replace(one, low={"mlp": effects - 0.001}, high={"mlp": effects + 0.001})
    assert apart.sentence == one.sentence
    assert many.layers(2).why.startswith("layers 0 to 1: MLPs there, in windows of 3 layers, give +0.305")
    ends = replace(one, effects={"mlp": effects.flip(1)})
    assert ends.sentence.startswith("layer 3: MLPs of layers 2 to 4 together give")


def test_files_keep_everything(tmp_path):
    lm = opened()
    for found in (trace(lm, PROMPT, subject=SUBJECT, samples=2, exact=5), trace(lm, facts_of(), samples=1)):
        found.save(tmp_path / "t.json")
        read = Trace.load(tmp_path / "t.json")
        for name, value in vars(found).items():
            other = getattr(read, name)
            if isinstance(value, dict) and value and isinstance(next(iter(value.values())), torch.Tensor):
                assert all(torch.equal(value[k].nan_to_num(), other[k].nan_to_num()) for k in value), name
            else:
                assert value == other, name
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match="is no trace"):
        Trace.load(tmp_path / "x.json")


def test_plots_are_pictures(tmp_path):
    from PIL import Image

    lm = opened()
    trace(lm, PROMPT, subject=SUBJECT, samples=1).plot(tmp_path / "one.png")
    trace(lm, facts_of(), samples=1).plot(tmp_path / "many.png")
    sizes = [Image.open(tmp_path / name).size for name in ("one.png", "many.png")]
    assert all(width > 600 and height > 200 for width, height in sizes)
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf"):
        trace(lm, PROMPT, subject=SUBJECT, samples=1, kind="mlp").plot(tmp_path / "one.jpg")


def test_refusals():
    lm = opened()
    with pytest.raises(ValueError, match="does not stand"):
        trace(lm, PROMPT, subject="Paris")
    with pytest.raises(ValueError, match="needs its subject"):
        trace(lm, PROMPT)
    with pytest.raises(ValueError, match="kinds of states"):
        trace(lm, PROMPT, subject=SUBJECT, kind="heads")
    with pytest.raises(ValueError, match="samples is 0"):
        trace(lm, PROMPT, subject=SUBJECT, samples=0)
    with pytest.raises(ValueError, match="cannot be traced"):
        ce.trace(object(), PROMPT, subject=SUBJECT)


def test_rank_correlation():
    a = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert spearman(a, a**3) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert spearman(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(0.8660254)


def test_a_text_encoder_is_traced_by_what_the_denoiser_hears():
    model = ce.open_model("demo", device="cpu")
    found = ce.trace(model, "a painting by Van Gogh", subject="Van Gogh", samples=2, kind=["hidden", "mlp"])
    effects = found.effects["hidden"]
    assert effects.shape == (len(found.rows), found.effects["mlp"].shape[1])
    assert found.roles[-1] == "last"
    first = found.roles.index("first subject")
    assert (effects[:first] == 0).all()
    last = found.roles.index("last subject")
    assert effects[last, 0] > effects[last, -1] > 0, "a state restored early still reaches the rows after it"
    assert (effects <= 1).all()
    swapped = ce.trace(model, "a painting by Van Gogh", subject="Van Gogh", instead="art", kind="hidden")
    assert not torch.equal(swapped.effects["hidden"], effects)
    assert len(found.layers(2)) == 2
    encoder = open_text_encoder(model)
    same = ce.trace(encoder, Fact("Van Gogh", "a painting by {}", "Monet"), samples=2, kind=["hidden", "mlp"])
    assert torch.equal(same.effects["hidden"], effects), "the demo's denoiser is given the last state"
    with pytest.raises(ValueError, match="changed nothing"):
        ce.trace(model, "a painting by Van Gogh", subject="Van Gogh", instead="Van Gogh", kind="hidden")
    with pytest.raises(ValueError, match="one prompt with its subject"):
        ce.trace(model, "a painting by Van Gogh")
