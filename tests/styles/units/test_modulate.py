"""Turning units: exact at the own value, undone afterwards, confined to a mask, kept in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from planted import LAMP, tiny

import styles
from styles.generator import Generator

UNIT = ("b16.conv1", 3)


def test_turning_sets_the_style(model: Generator, w: torch.Tensor) -> None:
    units = model.styles(w)
    units["b16.conv1"][:, 3] = -10.0
    with styles.turned(model, {UNIT: -10.0}) as same:
        assert same is model
        assert torch.equal(model.synthesize(w), model.synthesize_styles(units))
    assert not torch.allclose(model.synthesize(w), model.synthesize_styles(units))


@pytest.mark.parametrize("layer", ["b4.conv1", "b8.conv0", "b16.torgb", "b32.conv1", "b32.torgb"])
def test_the_own_value_changes_no_bit(model: Generator, w: torch.Tensor, layer: str) -> None:
    image, own = model.synthesize(w), model.styles(w)[layer][:, 2]
    stats = styles.style_statistics(model, samples=100)
    with styles.turned(model, {(layer, 2): own}):
        assert torch.equal(model.synthesize(w), image)
    with styles.turned(model, {(layer, 2): own}, mask=torch.ones(32, 32)):
        assert torch.equal(model.synthesize(w), image)
    for how, value in (("scale", 1.0), ("shift", 0.0), ("sigma", 0.0)):
        with styles.turned(model, {(layer, 2): value}, how=how, statistics=stats):  # type: ignore[arg-type]
            assert torch.equal(model.synthesize(w), image)
    frames = styles.sweep(model, w, [(layer, 2)], [-1, 0, 1], statistics=stats)
    assert torch.equal(frames[1], image)
    assert not torch.equal(frames[0], frames[2])


def test_own_value_from_a_file_changes_no_bit(model: Generator, w: torch.Tensor, tmp_path: Path) -> None:
    own = float(model.styles(w[:1])["b16.conv1"][0, 3])
    styles.UnitEdit((("b16.conv1", 3, own),)).save(tmp_path / "e.json")
    with styles.UnitEdit.load(tmp_path / "e.json").applied(model):
        assert torch.equal(model.synthesize(w[:1]), model.synthesize_styles(model.styles(w[:1])))
        turned = model.synthesize(w[:1])
    assert torch.equal(turned, model.synthesize(w[:1]))


def test_edits_are_undone_also_after_an_exception(model: Generator, w: torch.Tensor) -> None:
    image = model.synthesize(w)
    with pytest.raises(RuntimeError, match="inside"), styles.turned(model, {UNIT: 5.0}):
        raise RuntimeError("inside")
    assert not model.edited
    assert torch.equal(model.synthesize(w), image)


def test_several_units_and_nested_blocks(model: Generator, w: torch.Tensor) -> None:
    other = ("b8.torgb", 1)
    with styles.turned(model, {UNIT: 2.0, other: -3.0}):
        together = model.synthesize(w)
    with styles.turned(model, {UNIT: 2.0}), styles.turned(model, {other: -3.0}):
        assert torch.equal(model.synthesize(w), together)
    with styles.turned(model, {UNIT: 9.0}), styles.turned(model, {UNIT: 2.0, other: -3.0}):
        assert torch.equal(model.synthesize(w), together)


def test_one_value_per_image(model: Generator, w: torch.Tensor) -> None:
    with styles.turned(model, {UNIT: [1.0, 2.0, 3.0], ("b16.conv1", 4): 0.5}):
        many = model.synthesize(w)
    for i in range(3):
        with styles.turned(model, {UNIT: float(i + 1), ("b16.conv1", 4): 0.5}):
            torch.testing.assert_close(model.synthesize(w[i : i + 1])[0], many[i], rtol=1e-5, atol=1e-5)


def test_feature_mode_keeps_the_demodulation(model: Generator, w: torch.Tensor) -> None:
    units, state = model.styles(w), model.start(3)
    for layer in model.layers:
        changed = units[layer.name].clone()
        if layer.name == UNIT[0]:
            changed[:, UNIT[1]] = 0
        state = model.step(layer.name, state, changed, demodulate=units[layer.name])
    with styles.turned(model, {UNIT: 0.0}, mode="feature"):
        image = model.synthesize(w)
    torch.testing.assert_close(image, state.rgb)
    with styles.turned(model, {UNIT: 0.0}):
        assert not torch.allclose(model.synthesize(w), image, atol=1e-3)


def test_a_masked_edit_stays_in_its_place(lamp_model: Generator) -> None:
    """Two lamps' worth of floor and wall: only the masked side changes, up to the reach of the filters."""
    w = lamp_model.map(lamp_model.sample_z([0]))
    image = lamp_model.synthesize(w)
    left = torch.zeros(16, 16)
    left[:, :8] = 1
    unit = {("b16.torgb", 0): -5.0}
    with styles.turned(lamp_model, unit):
        everywhere = lamp_model.synthesize(w)
    with styles.turned(lamp_model, unit, mask=left):
        inside = lamp_model.synthesize(w)
    assert torch.equal(inside[..., 8:], image[..., 8:])
    assert torch.equal(inside[..., :8], everywhere[..., :8])
    assert not torch.allclose(inside, image)


def test_masked_edits_in_early_layers_leak_little(model: Generator, w: torch.Tensor) -> None:
    corner = torch.zeros(32, 32)
    corner[:16, :16] = 1
    image = model.synthesize(w)
    with styles.turned(model, {("b16.conv0", 2): -8.0}, mask=corner):
        change = (model.synthesize(w) - image).abs().mean((0, 1))
    assert float(change[22:, 22:].max()) == 0
    assert float((change * corner).sum() / change.sum()) > 0.7


def test_statistics_describe_the_units(model: Generator) -> None:
    stats = styles.style_statistics(model, samples=2000, batch=300, seed=4)
    z = torch.randn(2000, 16, generator=torch.Generator().manual_seed(4))
    parts = torch.cat([model.map(part) for part in z.split(300)])
    for name, values in model.styles(parts).items():
        torch.testing.assert_close(stats.mean[name], values.mean(0), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(stats.sigma[name], values.std(0), rtol=1e-3, atol=1e-4)
    low, high = stats.range(UNIT, sigmas=2.0)
    assert high - low == pytest.approx(4 * float(stats.sigma["b16.conv1"][3]), rel=1e-5)


def test_sigma_steps(model: Generator, w: torch.Tensor) -> None:
    stats = styles.style_statistics(model, samples=200)
    own = model.styles(w)["b16.conv1"][:, 3]
    with styles.turned(model, {UNIT: 2.0}, how="sigma", statistics=stats):
        image = model.synthesize(w)
    with styles.turned(model, {UNIT: own + 2 * stats.sigma["b16.conv1"][3]}):
        torch.testing.assert_close(model.synthesize(w), image)


def test_style_mixing(model: Generator, w: torch.Tensor) -> None:
    mixed = styles.mixed(model, w[:2], w[2:], ["b16", "b32"])
    assert torch.equal(mixed[:, :3], w[:2, :3])
    assert torch.equal(mixed[:, 3:], w[2:, 3:].expand(2, -1, -1))
    with pytest.raises(ValueError, match="no layer or block"):
        styles.mixed(model, w, w, ["b64"])


def test_linear_light_round_trip_and_mixing() -> None:
    values = torch.linspace(-1, 1, 101).expand(1, 3, 1, 101)
    torch.testing.assert_close(styles.to_display(styles.to_linear(values)), values, atol=1e-5, rtol=0)
    off, lit = torch.full((1, 3, 2, 2), -0.8), torch.full((1, 3, 2, 2), 0.2)
    lamp = styles.light_layer(off, lit)
    torch.testing.assert_close(styles.relit(off, lamp), lit, atol=1e-5, rtol=0)
    torch.testing.assert_close(styles.relit(off, lamp, intensity=0.0), off, atol=1e-5, rtol=0)
    half = styles.to_linear(styles.relit(off, lamp, intensity=0.5))
    torch.testing.assert_close(half, (styles.to_linear(off) + styles.to_linear(lit)) / 2, atol=1e-5, rtol=0)
    red = styles.relit(off, lamp, colour=(1.0, 0.0, 0.0))
    torch.testing.assert_close(red[:, 1:], off[:, 1:], atol=1e-5, rtol=0)
    assert not bool((styles.light_layer(lit, off) > 0).any())
    with pytest.raises(ValueError, match="differ in shape"):
        styles.light_layer(off, lit[..., :1])
    with pytest.raises(ValueError, match="from 0 upward"):
        styles.relit(off, lamp, intensity=-1.0)


def test_a_light_layer_is_the_lamp(lamp_model: Generator) -> None:
    """Zeroing the planted lamp and adding its light layer back gives the lit picture."""
    w = lamp_model.map(lamp_model.sample_z([0]))
    with styles.turned(lamp_model, {("b16.torgb", LAMP): 0.0}):
        off = lamp_model.synthesize(w)
    with styles.turned(lamp_model, {("b16.torgb", LAMP): 1.0}):
        lit = lamp_model.synthesize(w)
    light = styles.light_layer(off, lit)
    torch.testing.assert_close(styles.relit(off, light), lit.clamp(-1, 1), atol=1e-4, rtol=0)
    row, column = divmod(int(light.mean((0, 1)).argmax()), 16)
    assert 4 <= row < 8
    assert 8 <= column < 12


def test_sweeps_are_saved(model: Generator, w: torch.Tensor, tmp_path: Path) -> None:
    from PIL import Image

    frames = styles.sweep(model, w[:2], [UNIT], [-3.0, 0.0, 3.0], how="shift")
    styles.save_sweep(frames, tmp_path / "s.png")
    styles.save_sweep(frames, tmp_path / "s.gif", fps=10.0)
    assert Image.open(tmp_path / "s.png").size == (3 * 32, 2 * 32)
    with Image.open(tmp_path / "s.gif") as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (3, (64, 32), 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.gif", "s.png"]
    styles.save_sweep(frames, tmp_path / "s.png", side=96)
    assert Image.open(tmp_path / "s.png").size == (3 * 96, 2 * 96)
    with pytest.raises(ValueError, match=r"\.gif, \.mp4 or \.png"):
        styles.save_sweep(frames, tmp_path / "s.webm")
    with pytest.raises(ValueError, match="no frames"):
        styles.save_sweep([], tmp_path / "s.gif")


def test_mp4_is_written_or_says_what_to_install(model: Generator, w: torch.Tensor, tmp_path: Path) -> None:
    frames = styles.sweep(model, w[:1], [UNIT], [-3.0, 3.0], how="shift")
    try:
        import av  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match="pip install av"):
            styles.save_sweep(frames, tmp_path / "s.mp4")
        assert not list(tmp_path.iterdir())
        return
    styles.save_sweep(frames, tmp_path / "s.mp4")
    assert (tmp_path / "s.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_unit_edit_fits_other_seeds(model: Generator, w: torch.Tensor, tmp_path: Path) -> None:
    edit = styles.UnitEdit((("b16.conv1", 3, 2.0), ("b8.torgb", 1, -1.0)), how="shift", note="brighter")
    edit.save(tmp_path / "e.json")
    loaded = styles.UnitEdit.load(tmp_path / "e.json")
    assert loaded == edit
    for seed in (7, 8):
        other = model.map(model.sample_z([seed]))
        with loaded.applied(model, strength=0.5):
            image = model.synthesize(other)
        with styles.turned(model, {UNIT: 1.0, ("b8.torgb", 1): -0.5}, how="shift"):
            assert torch.equal(image, model.synthesize(other))
    with (
        pytest.raises(ValueError, match="shifts units"),
        styles.UnitEdit((("b16.conv1", 3, 2.0),)).applied(model, strength=2.0),
    ):
        pass


@pytest.mark.parametrize(
    "content",
    ["nonsense", "[]", "{}", '{"format": "other"}', "[" * 100_000,
     json.dumps({"format": "styles.unit-edit/1", "how": "set", "mode": "style", "units": []}),
     json.dumps({"format": "styles.unit-edit/1", "how": "set", "mode": "style", "units": [{"layer": "b4.conv1"}]}),
     '{"format": "styles.unit-edit/1", "how": "set", "mode": "style", '
     '"units": [{"layer": "b4.conv1", "channel": 0, "value": NaN}]}'],
)  # fmt: skip
def test_damaged_unit_edits_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(ValueError, match=r"unit edit|format|no units"):
        styles.UnitEdit.load(tmp_path / "e.json")


BAD: dict[str, tuple[dict[object, object], dict[str, object], str]] = {
    "layer": ({("b99.conv1", 0): 1.0}, {}, "no layer"),
    "channel": ({("b16.conv1", 16): 1.0}, {}, "channels 0 to 15"),
    "negative": ({("b16.conv1", -1): 1.0}, {}, "channels 0 to 15"),
    "shape": ({"b16.conv1": 1.0}, {}, "a unit is"),
    "nan": ({UNIT: float("nan")}, {}, "NaN"),
    "batch": ({UNIT: [1.0, 2.0]}, {}, "for 2 images"),
    "uneven": ({UNIT: [1.0, 2.0], ("b16.conv1", 4): [1.0, 2.0, 3.0]}, {}, "different numbers of images"),
    "how": ({UNIT: 1.0}, {"how": "push"}, "how is one of"),
    "sigma": ({UNIT: 1.0}, {"how": "sigma"}, "needs `statistics`"),
    "mask batch": ({UNIT: 1.0}, {"mask": torch.ones(2, 32, 32)}, "for 2 images"),
    "mask range": ({UNIT: 1.0}, {"mask": torch.full((32, 32), 3.0)}, "0 to 1"),
    "mask empty": ({UNIT: 1.0}, {"mask": torch.zeros(32, 32)}, "must not be empty"),
    "mask nan": ({UNIT: 1.0}, {"mask": torch.full((32, 32), float("nan"))}, "NaN"),
}


@pytest.mark.parametrize(("units", "options", "message"), BAD.values(), ids=list(BAD))
def test_bad_turns_are_refused(
    model: Generator, w: torch.Tensor, units: dict[object, object], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message), styles.turned(model, units, **options):  # type: ignore[arg-type]
        model.synthesize(w)
    assert not model.edited


def test_random_noise_and_masks_do_not_mix(w: torch.Tensor) -> None:
    model = tiny()
    with (
        styles.turned(model, {UNIT: 1.0}, mask=torch.ones(32, 32)),
        pytest.raises(ValueError, match="fixed noise"),
    ):
        model.synthesize(w, noise="random")
