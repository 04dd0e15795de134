"""Rankings: planted units first, the screen against the exact list, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from planted import FLOOR, LAMP, WARM, tiny

import styles
from styles.generator import Generator
from styles.units.ranking import Ranking, spearman


def region(side: int, rows: slice, columns: slice) -> torch.Tensor:
    made = torch.zeros(side, side)
    made[rows, columns] = 1
    return made


@pytest.fixture(scope="module")
def two(model: Generator, w: torch.Tensor) -> tuple[Ranking, dict[str, torch.Tensor]]:
    masks = {"a": region(32, slice(8, 20), slice(4, 16)), "b": region(32, slice(20, 32), slice(20, 32))}
    return styles.rank_units(model, w, masks, screen="none"), masks


PLANTED = {"lamp": (LAMP, slice(4, 8), slice(8, 12)), "floor": (FLOOR, slice(12, 16), slice(8, 12))}


@pytest.mark.parametrize("screen", ["none", "probes"])
def test_planted_units_come_first(lamp_model: Generator, screen: str) -> None:
    w = lamp_model.map(lamp_model.sample_z([0, 1, 2, 3]))
    masks = {name: region(16, rows, columns) for name, (_, rows, columns) in PLANTED.items()}
    ranking = styles.rank_units(lamp_model, w, masks, mode="mean", screen=screen, confirm=5)  # type: ignore[arg-type]
    for name, (channel, _, _) in PLANTED.items():
        first = ranking.top(1, mask=name)[0]
        assert (first.layer, first.channel, first.exact) == ("b16.torgb", channel, True)
        others = [share for other, share in first.shares.items() if other != name]
        assert first.shares[name] > 5 * max(others)
    lamp = {(row.layer, row.channel): row for row in ranking.rows("lamp")}
    assert lamp["b16.torgb", LAMP].label == "light"
    assert lamp["b16.torgb", WARM].label == "warmth"
    idle = [row.score for unit, row in lamp.items() if unit not in {("b16.torgb", c) for c in (LAMP, WARM, FLOOR)}]
    assert max(idle) < 1e-6


def test_zeroing_finds_the_whole_planted_path(lamp_model: Generator) -> None:
    """In the lecture's meaning every layer that hands the lamp on is a cause of it; nothing else is."""
    w = lamp_model.map(lamp_model.sample_z([0, 1]))
    channel, rows, columns = PLANTED["floor"]
    ranking = styles.rank_units(lamp_model, w, region(16, rows, columns), screen="none")
    path = [layer.name for layer in lamp_model.layers if layer.kind != "torgb"] + ["b16.torgb"]
    assert {(row.layer, row.channel) for row in ranking.top(len(path))} == {(name, channel) for name in path}
    assert all(row.d_luma < 0 for row in ranking.top(len(path)) if row.layer != "b16.torgb")


@pytest.mark.parametrize("mode", ["style", "mean"])
def test_scores_equal_naive_passes(model: Generator, w: torch.Tensor, mask: torch.Tensor, mode: str) -> None:
    ranking = styles.rank_units(model, w, mask, mode=mode, screen="none")  # type: ignore[arg-type]
    units, image = model.styles(w), model.synthesize(w)
    mean = model.styles(model.mapping.w_avg[None])
    for at in range(0, len(ranking), 17):
        layer, channel = ranking.units[at]
        value = 0.0 if mode == "style" else float(mean[layer][0, channel])
        with styles.turned(model, {(layer, channel): value}):
            change = model.synthesize_styles(units) - image
        size = (change.abs().mean(1) * mask).sum((1, 2)) / mask.sum()
        torch.testing.assert_close(ranking.in_mean()[at], size, rtol=0, atol=1e-5)
        luma = torch.einsum("nchw,c,hw->n", change, torch.tensor([0.2126, 0.7152, 0.0722]), mask) / mask.sum()
        torch.testing.assert_close(ranking.d_luma()[at], luma, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["style", "feature", "mean"])
def test_screened_agrees_with_exact(model: Generator, w: torch.Tensor, mask: torch.Tensor, mode: str) -> None:
    exact = styles.rank_units(model, w, mask, mode=mode, screen="none")  # type: ignore[arg-type]
    quick = styles.rank_units(model, w, mask, mode=mode, confirm=50)  # type: ignore[arg-type]
    both = quick.exact
    torch.testing.assert_close(quick.sums[both], exact.sums[both], rtol=1e-5, atol=1e-3)
    confirmed = set(both.nonzero()[:, 0].tolist())
    assert len(confirmed & set(exact.order()[:20])) >= 19
    assert quick.confirmed_depth() >= 20
    assert not all(both)
    assert spearman(quick.score().mean(1), exact.score().mean(1)) > 0.9


def test_batching_images_changes_nothing(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    together = styles.rank_units(model, w, mask, screen="none", layers=["b16"])
    alone = styles.rank_units(model, w[1:2], mask, screen="none", layers=["b16"])
    torch.testing.assert_close(together.sums[:, 1:2], alone.sums, rtol=1e-4, atol=1e-4)


def test_one_mask_per_image(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    same = styles.rank_units(model, w, mask.expand(3, -1, -1), screen="none", layers=["b8.conv0"])
    one = styles.rank_units(model, w, mask, screen="none", layers=["b8.conv0"])
    torch.testing.assert_close(same.sums, one.sums)


def test_ignore_and_protect(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    other = mask.flip(1)
    free = styles.rank_units(model, w, mask, screen="none", layers=["b8"])
    guarded = styles.rank_units(model, w, mask, protect=other, screen="none", layers=["b8"])
    lost = styles.rank_units(model, w, other, screen="none", layers=["b8"])
    torch.testing.assert_close(guarded.score(), free.score() - lost.in_mean(), rtol=1e-4, atol=1e-5)
    blind = styles.rank_units(model, w, mask, ignore=1 - mask, screen="none", layers=["b8"])
    torch.testing.assert_close(blind.share(), torch.ones_like(blind.share()), rtol=1e-4, atol=1e-4)


def test_scores_follow_from_the_sums(two: tuple[Ranking, dict[str, torch.Tensor]]) -> None:
    ranking, masks = two
    assert [row.score for row in ranking.top(5)] == sorted((row.score for row in ranking.rows()), reverse=True)[:5]
    area, rest = masks["a"].sum(), (1 - masks["a"]).sum()
    whole = ranking.in_sum("a") + ranking.out_mean("a") * rest
    torch.testing.assert_close(whole, ranking.sums[..., 2], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ranking.share("a"), ranking.in_mean("a") * area / whole, rtol=1e-4, atol=1e-5)
    assert bool((ranking.consistency() <= 1).all())
    assert -1 <= (ranking.split_half() or 0) <= 1
    assert ranking.confirmed_depth() == len(ranking)
    warm, size = ranking.order(by="d_warmth"), ranking.d_warmth().abs().mean(1)
    assert size[warm].tolist() == sorted(size.tolist(), reverse=True)
    expected = -ranking.d_luma() - ranking.out_mean()
    torch.testing.assert_close(ranking.darkens(), expected)
    first = ranking.top(1, by="darkens")[0]
    assert first.darkens == pytest.approx(float(expected.mean(1).max()), abs=1e-6)
    assert (ranking.top(1, by="d_warmth")[0].layer, ranking.top(1, by="d_warmth")[0].channel) == ranking.units[warm[0]]
    with pytest.raises(ValueError, match="ordered by"):
        ranking.top(by="beauty")
    with pytest.raises(ValueError, match="no mask 'c'"):
        ranking.top(mask="c")
    with pytest.raises(ValueError, match="label must be"):
        ranking.top(label="dark")


def test_tables(two: tuple[Ranking, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    ranking, _ = two
    for suffix in (".json", ".csv"):
        ranking.save(tmp_path / f"r{suffix}")
    stored = json.loads((tmp_path / "r.json").read_text())
    assert stored["confirmed_depth"] == stored["units"] == len(stored["rows"]) == len(ranking)
    assert stored["rows"][0]["layer"] == ranking.top(1)[0].layer
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[0].endswith("share_a,share_b")
    assert len(lines) == len(ranking) + 1
    pytest.importorskip("pandas")
    assert list(ranking.to_pandas()["channel"][:3]) == [row.channel for row in ranking.top(3)]
    with pytest.raises(ValueError, match=r"\.json or \.csv"):
        ranking.save(tmp_path / "r.xlsx")


def test_contact_sheet(model: Generator, w: torch.Tensor, two: tuple[Ranking, dict[str, torch.Tensor]]) -> None:
    sheet = styles.contact_sheet(model, w, two[0], count=5, mask="b")
    assert sheet.size[0] == 4 * 200
    assert len(set(sheet.getdata())) > 50
    with pytest.raises(ValueError, match="give the w that was ranked"):
        styles.contact_sheet(model, w[:1], two[0])


def test_pictures_of_a_unit(lamp_model: Generator) -> None:
    """The lamp is dark in the first picture, and the difference is darker than grey there and grey elsewhere."""
    w = lamp_model.map(lamp_model.sample_z([0]))
    _, rows, columns = PLANTED["lamp"]
    ranking = styles.rank_units(lamp_model, w, region(16, rows, columns), screen="none")
    row = next(row for row in ranking.rows() if (row.layer, row.channel) == ("b16.torgb", LAMP))
    base = lamp_model.synthesize(w)
    zeroed, difference = styles.unit_pictures(lamp_model, w, row)
    lit, dark, change = (
        torch.tensor(list(picture.convert("L").getdata())).view(16, 16).float()
        for picture in (styles.to_pil(base)[0], zeroed, difference)
    )
    assert float(dark[rows, columns].mean()) < float(lit[rows, columns].mean()) - 10
    assert float(change[rows, columns].mean()) < 60
    assert float((change[13:] - 127.5).abs().max()) < 10
    with_base = styles.unit_pictures(lamp_model, w, row, base=base)
    assert [p.tobytes() for p in with_base] == [zeroed.tobytes(), difference.tobytes()]
    with pytest.raises(ValueError, match="made from one image, w has 2"):
        styles.unit_pictures(lamp_model, torch.cat([w, w]), row)


def test_progress_cancel_and_resume(model: Generator, w: torch.Tensor, mask: torch.Tensor, tmp_path: Path) -> None:
    whole = styles.rank_units(model, w, mask, confirm=40)
    seen: list[tuple[int, int]] = []
    file = tmp_path / "half.safetensors"
    with pytest.raises(styles.RankingCancelledError) as caught:
        styles.rank_units(
            model, w, mask, confirm=40, resume=file, cancel=lambda: len(seen) >= 12, progress=lambda *a: seen.append(a)
        )
    assert isinstance(caught.value.partial, Ranking)
    assert file.exists()
    after: list[tuple[int, int]] = []
    resumed = styles.rank_units(model, w, mask, confirm=40, resume=file, progress=lambda *a: after.append(a))
    assert torch.equal(resumed.sums, whole.sums)
    assert after[0][0] > seen[-2][0]
    assert after[-1][0] == after[-1][1]
    assert not file.exists()


def test_a_foreign_resume_file_is_refused(
    model: Generator, w: torch.Tensor, mask: torch.Tensor, tmp_path: Path
) -> None:
    file = tmp_path / "half.safetensors"
    with pytest.raises(styles.RankingCancelledError):
        styles.rank_units(model, w, mask, resume=file, cancel=lambda: True)
    with pytest.raises(ValueError, match="another ranking"):
        styles.rank_units(model, w, mask.flip(1), resume=file)
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="no unfinished ranking"):
        styles.rank_units(model, w, mask, resume=file)


def test_weights_and_state_are_left_alone(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image = model.synthesize(w)
    styles.rank_units(model, w, mask, confirm=5, layers=["b16"])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(model.synthesize(w), image)


def test_fp16_models_are_ranked_in_fp32(w: torch.Tensor, mask: torch.Tensor) -> None:
    half, full = tiny(), tiny()
    half.compute_dtype = torch.float16
    pair = [styles.rank_units(one, w, mask, layers=["b16"], screen="none") for one in (half, full)]
    assert torch.equal(pair[0].sums, pair[1].sums)
    assert half.compute_dtype == torch.float16


def test_another_mask_size_is_resized_with_a_notice(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    large = mask.repeat_interleave(4, 0).repeat_interleave(4, 1)
    with pytest.warns(UserWarning, match="128 x 128; resized to 32 x 32"):
        resized = styles.rank_units(model, w, large, layers=["b8.conv0"], screen="none")
    plain = styles.rank_units(model, w, mask, layers=["b8.conv0"], screen="none")
    assert spearman(resized.score().mean(1), plain.score().mean(1)) > 0.95


def test_at_a_smaller_resolution(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    ranking = styles.rank_units(model, w, mask, at=16, screen="none")
    assert ranking.resolution == 16
    assert not any(layer.startswith("b32") for layer, _ in ranking.units)


BAD: dict[str, tuple[dict[str, object], str]] = {
    "empty": ({"mask": torch.zeros(32, 32)}, "is empty"),
    "full": ({"mask": torch.ones(32, 32)}, "covers the whole image"),
    "nan mask": ({"mask": torch.full((32, 32), float("nan"))}, "numbers from 0 to 1"),
    "range": ({"mask": torch.full((32, 32), 2.0)}, "numbers from 0 to 1"),
    "batch": ({"mask": torch.zeros(2, 32, 32)}, "3 x h x w"),
    "dimensions": ({"mask": torch.zeros(3, 1, 32, 32)}, "h x w or"),
    "no mask": ({"mask": {}}, "no mask"),
    "ignored away": ({"ignore": torch.ones(32, 32)}, "covers a whole mask"),
    "layer": ({"layers": ["b7"]}, "no layer or block 'b7'"),
    "mode": ({"mode": "off"}, "mode is one of"),
    "confirm": ({"confirm": 0}, "at least 1"),
    "at": ({"at": 20}, "`at` must be one of"),
    "noise": ({"noise": "random"}, "noise of"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=list(BAD))
def test_bad_input_is_refused(
    model: Generator, w: torch.Tensor, mask: torch.Tensor, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        styles.rank_units(**{"model": model, "w": w, "mask": mask, **change})  # type: ignore[arg-type]


def test_nan_latents_and_edited_models_are_refused(model: Generator, w: torch.Tensor, mask: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="w holds NaN"):
        styles.rank_units(model, w * float("nan"), mask)
    with styles.turned(model, {("b8.conv0", 0): 0.0}), pytest.raises(ValueError, match="outside the with block"):
        styles.rank_units(model, w, mask)
