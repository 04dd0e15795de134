"""Edits against the oracles and the identities of the closed form, on tiny real models of every family."""

from __future__ import annotations

import os

import pytest
import tiny
import torch
from oracles import difference, edited, objective, uce_2023, uce_2025

import concept_edit as ce

EDITS = [("Van Gogh", "art"), ("a red cat", "dog"), ("weapon", "")]
KEPT = ["Monet", "a quiet village"]
RECIPE = ce.Recipe(edits=[ce.Erase(old, guide=new) for old, new in EDITS], preserve=KEPT, method="uce")
SHORT = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art"), ce.Moderate("cat")], preserve=["Monet"], method="uce")


@pytest.fixture(scope="module")
def pipe():
    return tiny.tiny_pipeline("sd1")


@pytest.fixture(scope="module")
def model(pipe):
    return ce.open_model(pipe)


@pytest.fixture(scope="module")
def edit(model):
    return ce.solve(model, RECIPE)


def copies(model):
    return {name: weight.clone() for name, weight in model.weights().items()}


def unchanged(model, before):
    return all(torch.equal(weight, before[name]) for name, weight in model.weights().items())


@pytest.mark.parametrize("family", ["sd1", "sd2"])
@pytest.mark.parametrize("year", [2025, 2023])
def test_both_published_codes_are_reproduced_layer_by_layer(family, year):
    pipe = tiny.tiny_pipeline(family, seed=1)
    model = ce.open_model(pipe)
    recipe = RECIPE.model_copy(update={"tokens": {2025: "last", 2023: "aligned"}[year]})
    deltas = ce.solve(model, recipe).delta(model)
    pairs, kept = {2025: uce_2025, 2023: uce_2023}[year](pipe, EDITS, KEPT)
    named = {n: p for n, p in pipe.unet.named_parameters() if "attn2" in n and ("to_k.w" in n or "to_v.w" in n)}
    assert set(deltas) == set(named)
    for name, weight in named.items():
        expected = edited(weight, pairs, kept, 0.5)
        assert difference(weight + deltas[name], expected) < 1e-6
        assert difference(deltas[name], expected - weight.double()) < 1e-4


def family_rows(model, stream, prompts):
    """By the definition of `last`: the last subject token of every encoder in the stream."""
    encoded = model.encode(prompts)[stream]
    found = []
    for n in range(len(prompts)):
        spots = [max(0, int(encoded.eos[n]) - 1)]
        if encoded.second_eos is not None:
            spots.append(int(encoded.second_eos[n]) - 1)
        found.append([encoded.rows[n, spot].double() for spot in spots])
    return found


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_solves_every_matrix_it_has(family):
    model = tiny.tiny_model(family, seed=2)
    edits = [ce.Erase("Van Gogh", guide="art"), ce.Erase("a red apple", guide="a village", weight=2.0)]
    scales = {"erase_scale": 1.5, "preserve_scale": 0.7, "ridge": 0.3}
    recipe = ce.Recipe(edits=edits, preserve=["photo of a man"], method="uce", **scales)
    edit = ce.solve(model, recipe)
    deltas = edit.delta(model)
    assert set(deltas) == {site.name for site in model.sites} == {site.name for site in edit.sites(model)}
    for site in model.sites:
        (gogh, art), (apple, village), (man,) = (
            family_rows(model, site.stream, prompts)
            for prompts in (["Van Gogh", "art"], ["a red apple", "a village"], ["photo of a man"])
        )
        pairs = [(c, t, 1.5) for c, t in zip(gogh, art, strict=True)]
        pairs += [(c, t, 3.0) for c, t in zip(apple, village, strict=True)]
        kept = [(k, 0.7) for k in man]
        weight = model.weights()[site.name]
        text = weight[:, : site.columns]
        expected = edited(text, pairs, kept, 0.3)
        assert difference(text + deltas[site.name][:, : site.columns], expected) < 1e-6
        assert difference(deltas[site.name][:, : site.columns], expected - text.double()) < 1e-4
        assert site.columns is None or not deltas[site.name][:, site.columns :].any()
        check_gradient(text.double(), expected, pairs, kept)


def check_gradient(w, answer, pairs, kept):
    new = answer.clone().requires_grad_()
    objective(new, w, pairs, kept, 0.3).backward()
    start = w.clone().requires_grad_()
    objective(start, w, pairs, kept, 0.3).backward()
    assert float(new.grad.norm()) < 1e-9 * float(start.grad.norm())


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_biases_stay_out_of_the_goals_and_as_they_are(family):
    pipe = tiny.tiny_pipeline(family)
    modules = [pipe.transformer.context_embedder, pipe.transformer.time_text_embed.text_embedder.linear_1]
    with torch.no_grad():
        for module in modules:
            module.bias.fill_(3.0)
    model = ce.open_model(pipe)
    edit = ce.solve(model, SHORT)
    before = copies(model)
    deltas = edit.delta(model)
    with torch.no_grad():
        for module in modules:
            module.bias.zero_()
    without_bias = ce.open_model(pipe)
    assert all(torch.equal(d, deltas[n]) for n, d in ce.solve(without_bias, SHORT).delta(without_bias).items())
    with edit.applied(model):
        assert not unchanged(model, before)
        assert all(not module.bias.any() for module in modules)


def test_sdxl_changes_the_pooled_columns_and_leaves_the_time_ids_alone():
    model = tiny.tiny_model("sdxl")
    (site,) = (site for site in model.sites if site.stream == "pooled")
    before = copies(model)
    assert site.columns is not None
    assert site.columns < before[site.name].shape[1]
    with ce.solve(model, SHORT).applied(model):
        now = model.weights()[site.name]
        assert not torch.equal(now[:, : site.columns], before[site.name][:, : site.columns])
        assert torch.equal(now[:, site.columns :], before[site.name][:, site.columns :])
    assert unchanged(model, before)


def test_an_empty_recipe_is_the_identity(model):
    before = copies(model)
    nothing = ce.solve(model, ce.Recipe(preserve=["Monet"]))
    assert nothing.rank("text") == 0
    assert not any(delta.any() for delta in nothing.delta(model).values())
    nothing.merge_into(model)
    assert unchanged(model, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_applied_puts_the_same_bits_back(dtype):
    model = ce.open_model(tiny.tiny_pipeline("sd1").to(dtype=dtype))
    edit = ce.solve(model, SHORT)
    before, deltas = copies(model), edit.delta(model)
    with edit.applied(model):
        for name, weight in model.weights().items():
            assert weight.dtype == dtype
            assert torch.equal(weight, (before[name].float() + deltas[name]).to(dtype))
    assert unchanged(model, before)


def test_applied_restores_after_an_exception_and_after_ctrl_c(model, edit):
    before = copies(model)

    def work(error):
        with edit.applied(model):
            assert not unchanged(model, before)
            raise error

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            work(error)
        assert unchanged(model, before)


def test_edits_nest_and_stack_as_if_merged_one_after_the_other(model, edit):
    other = ce.solve(model, ce.Recipe(edits=[ce.Erase("horse", guide="car")]))
    before = copies(model)
    with edit.applied(model):
        outer = copies(model)
        with other.applied(model, 0.5):
            both = copies(model)
            with edit.applied(model):
                pass
            assert unchanged(model, both)
        assert unchanged(model, outer)
    assert unchanged(model, before)
    edit.merge_into(model)
    other.merge_into(model, 0.5)
    assert unchanged(model, both)
    for name, weight in model.weights().items():
        weight.copy_(before[name])


def test_strength_scales_the_change_and_zero_is_the_original_bit_for_bit(model, edit):
    before, deltas = copies(model), edit.delta(model)
    for weight in model.weights().values():
        weight[0, 0] = -0.0
    signed = copies(model)
    with edit.applied(model, strength=0.0):
        assert all(torch.equal(w.view(torch.int32), signed[n].view(torch.int32)) for n, w in model.weights().items())
    for name, weight in model.weights().items():
        weight.copy_(before[name])
    for strength in (0.5, -1.0):
        with edit.applied(model, strength=strength):
            for name, weight in model.weights().items():
                assert torch.allclose(weight, before[name] + strength * deltas[name], atol=1e-6)
    with pytest.raises(ValueError, match="strength nan"), edit.applied(model, strength=float("nan")):
        pass


def test_the_pictures_change_and_come_back(pipe, model, edit):
    def paint():
        return model.generate(["Van Gogh"], [0], steps=1)[0].tobytes()

    before = paint()
    with edit.applied(model):
        during = paint()
    assert during != before
    assert paint() == before


def test_solving_again_gives_the_same_bits(model, edit, tmp_path):
    edit.save(tmp_path / "a.safetensors")
    ce.solve(model, RECIPE).save(tmp_path / "b.safetensors")
    ce.Edit.load(tmp_path / "a.safetensors").save(tmp_path / "c.safetensors")
    first = (tmp_path / "a.safetensors").read_bytes()
    assert first == (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()


def test_save_and_load_keep_everything(model, edit, tmp_path):
    path = tmp_path / "e.safetensors"
    edit.save(path, statistics=True)
    loaded = ce.Edit.load(path)
    assert (loaded.recipe, loaded.model, loaded.fingerprint) == (edit.recipe, edit.model, edit.fingerprint)
    assert (loaded.toolkit, loaded.concepts) == (ce.__version__, RECIPE.concepts)
    assert loaded.rows("text") == edit.rows("text") == RECIPE.concepts
    assert all(torch.equal(d, edit.delta(model)[n]) for n, d in loaded.delta(model).items())
    again = loaded.without("weapon").factors["text"]
    assert all(torch.equal(a, b) for a, b in zip(again, edit.without("weapon").factors["text"], strict=True))


@pytest.mark.parametrize("tokens", ["last", "aligned", "subject"])
def test_taking_out_a_concept_is_solving_without_it(model, tokens):
    recipe = RECIPE.model_copy(update={"tokens": tokens})
    fewer = ce.solve(model, recipe).without("weapon")
    direct = ce.solve(model, recipe.without("weapon"))
    assert fewer.recipe == direct.recipe
    assert difference(fewer.factors["text"].dense(), direct.factors["text"].dense()) < 1e-5
    with pytest.raises(ValueError, match="'dragon' is not in the recipe"):
        fewer.without("dragon")


@pytest.mark.parametrize("tokens", ["last", "aligned", "subject"])
def test_adding_edits_is_solving_the_joint_recipe_in_any_order(model, tokens):
    a = ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], preserve=["Monet", "tree"], tokens=tokens)
    b = ce.Recipe(edits=[ce.Erase("cat", guide="dog"), ce.Moderate("weapon")], preserve=["tree"], tokens=tokens)
    joint = ce.solve(model, a + b).factors["text"].dense()
    first, second = ce.solve(model, a), ce.solve(model, b)
    assert (first + second).recipe == a + b
    assert difference((first + second).factors["text"].dense(), joint) < 1e-5
    assert difference((second + first).factors["text"].dense(), joint) < 1e-5


def test_a_loaded_edit_says_what_it_lacks_and_solves_from_a_model(model, edit, tmp_path):
    edit.save(tmp_path / "e.safetensors")
    bare = ce.Edit.load(tmp_path / "e.safetensors")
    for act in (
        lambda: bare.without("weapon"),
        lambda: bare + edit,
        lambda: bare.save(tmp_path / "f", statistics=True),
    ):
        with pytest.raises(ValueError, match="needs the statistics"):
            act()
    direct = ce.solve(model, RECIPE.without("weapon"))
    assert torch.equal(bare.without("weapon", model=model).factors["text"].left, direct.factors["text"].left)


def test_one_edit_serves_every_checkpoint_that_shares_the_text_encoder(pipe, edit, tmp_path):
    other = tiny.tiny_pipeline("sd1", seed=7)
    other.text_encoder = pipe.text_encoder
    second = ce.open_model(other)
    edit.save(tmp_path / "e.safetensors")
    loaded = ce.Edit.load(tmp_path / "e.safetensors")
    there = ce.solve(second, RECIPE).delta(second)
    assert all(torch.equal(delta, there[name]) for name, delta in loaded.delta(second).items())


def test_another_text_encoder_is_refused_with_both_names(model, edit):
    stranger = tiny.tiny_model("sd1", seed=5)
    before = copies(stranger)
    with pytest.raises(ValueError, match=r"solved on the text encoder of .* has another") as caught:
        edit.merge_into(stranger)
    assert edit.fingerprint[:12] in str(caught.value)
    assert stranger.fingerprint[:12] in str(caught.value)
    assert unchanged(stranger, before)


@pytest.mark.parametrize(
    ("layers", "fits"),
    [
        (("k",), lambda name: "to_k" in name),
        (("v",), lambda name: "to_v" in name),
        (("up_blocks.*",), lambda name: name.startswith("up_blocks")),
        (
            ("mid_block.*to_k*", "down_blocks.*"),
            lambda name: name.startswith("down") or ("mid" in name and "_k" in name),
        ),
    ],
)
def test_a_subset_of_matrices(model, edit, layers, fits):
    some = ce.solve(model, RECIPE.model_copy(update={"layers": layers}))
    deltas = some.delta(model)
    assert some.layers == layers
    assert set(deltas) == {site.name for site in model.sites if fits(site.name)}
    assert 0 < len(deltas) < len(model.sites)
    assert all(torch.equal(delta, edit.delta(model)[name]) for name, delta in deltas.items())
    before = copies(model)
    with some.applied(model):
        touched = {name for name, weight in model.weights().items() if not torch.equal(weight, before[name])}
    assert touched == set(deltas)


def test_more_rows_than_the_width_are_compressed_exactly(model):
    edits = [ce.Erase(f"artist number {n}", guide="art") for n in range(40)]
    edit = ce.solve(model, ce.Recipe(edits=edits, method="uce"))
    assert edit.rank("text") == 32
    assert edit.rows("text") is None
    pairs = [(c[0], t[0], 1.0) for c, t in zip(family_rows(model, "text", [e.concept for e in edits]),
                                               family_rows(model, "text", ["art"] * 40), strict=True)]  # fmt: skip
    name, weight = next(iter(model.weights().items()))
    assert difference(weight + edit.delta(model)[name], edited(weight, pairs, [], 0.5)) < 1e-6


def test_nan_weights_and_overflow_are_refused_and_nothing_changes():
    model = ce.open_model(tiny.tiny_pipeline("sd1").to(dtype=torch.float16))
    edit = ce.solve(model, SHORT)
    before = copies(model)
    with pytest.raises(ValueError, match="NaN or infinite"), edit.applied(model, strength=1e9):
        pass
    assert unchanged(model, before)
    name = model.sites[-1].name
    model.weights()[name][0, 0] = float("nan")
    with pytest.raises(ValueError, match=f"{name} holds NaN"):
        edit.merge_into(model)
    assert all(torch.equal(w, before[n]) for n, w in model.weights().items() if n != name)


def test_other_scales_need_no_new_statistics(model, edit):
    softer = RECIPE.model_copy(update={"ridge": 5.0, "erase_scale": 0.5, "preserve_scale": 2.0})
    direct = ce.solve(model, softer)
    rescaled = ce.solve_statistics(edit.statistics, softer)
    assert torch.equal(direct.factors["text"].right, rescaled.factors["text"].right)
    with pytest.raises(ValueError, match="collected for other edits"):
        ce.solve_statistics(edit.statistics, SHORT)


def test_ridge_zero_with_too_few_rows_is_refused(model):
    with pytest.raises(ValueError, match="ridge 0 is too small"):
        ce.solve(model, RECIPE.model_copy(update={"ridge": 0.0}))


def test_the_file_is_at_most_8_kb_a_concept_at_width_768(tmp_path):
    from concept_edit.prompts.stats import Rows, Statistics, Stream

    edits = tuple(ce.Erase(f"An artist of some name, number {n}", guide="art") for n in range(50))
    draw = torch.Generator().manual_seed(0)
    sources, goals = torch.randn(50, 768, generator=draw), torch.randn(50, 768, generator=draw)
    pairs = Rows(sources, goals, torch.ones(50, dtype=torch.float64), torch.arange(50))
    none = torch.zeros(0, dtype=torch.float64)
    kept = Rows(torch.zeros(0, 768), None, none, torch.zeros(0, dtype=torch.long))
    for n in (1, 50):
        some = Rows(sources[:n], goals[:n], pairs.weights[:n], pairs.owner[:n])
        recipe = ce.Recipe(edits=edits[:n], method="uce")
        edit = ce.solve_statistics(Statistics(recipe, {"text": Stream(some, kept)}, "a model", "f" * 64))
        edit.save(tmp_path / "e.safetensors")
        assert os.path.getsize(tmp_path / "e.safetensors") <= 8000 * n


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pt"])
def test_pickles_are_refused_unread(tmp_path, name):
    with pytest.raises(ValueError, match=r"is a pickle.*convert it to .safetensors"):
        ce.Edit.load(tmp_path / name)


def test_truncated_foreign_and_spoilt_files_are_refused_by_name(edit, tmp_path):
    from safetensors.torch import save_file

    edit.save(tmp_path / "e.safetensors")
    whole = (tmp_path / "e.safetensors").read_bytes()
    for keep in (0, 4, 100, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"cut.safetensors is not a whole safetensors file"):
            ce.Edit.load(tmp_path / "cut.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match=r"foreign.safetensors is not a 'concept-edit 1' file"):
        ce.Edit.load(tmp_path / "foreign.safetensors")
    edit.statistics.save(tmp_path / "s.safetensors")
    with pytest.raises(ValueError, match="but concept-edit statistics 1"):
        ce.Edit.load(tmp_path / "s.safetensors")
    spoilt = ce.Edit(edit.recipe, {"text": type(edit.factors["text"])(edit.factors["text"].left * float("nan"),
                     edit.factors["text"].right)}, edit.counts, edit.model, edit.fingerprint)  # fmt: skip
    spoilt.save(tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match=r"nan.safetensors is not a whole edit file"):
        ce.Edit.load(tmp_path / "nan.safetensors")
    with pytest.raises(OSError, match="there is no file"):
        ce.Edit.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(edit, tmp_path, monkeypatch, error):
    path = tmp_path / "e.safetensors"
    path.write_bytes(b"the old file")

    def fail(_):
        raise error

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(type(error)):
        edit.save(path)
    assert path.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [path]
