"""The generator: parity with the vectors made by others' code, and what it promises to refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import tiny, vectors

import styles
from styles.generator import Generator
from styles.layers import GeneratorConfig, fir


@pytest.mark.parametrize("name", ["sg2_32.pkl", "rosinality_64.pt"])
def test_parity_with_foreign_code(name: str) -> None:
    model = styles.load_generator(vectors(name))
    with np.load(vectors(name.split(".")[0] + ".npz")) as known:
        z, image, psi = (torch.from_numpy(known[key]) for key in ("z", "image", "psi"))
    assert float((model.synthesize(model.map(z, truncation=float(psi))) - image).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["sg2_32", "rosinality_64"])
def test_fp16_stays_near(name: str) -> None:
    path = vectors(name + (".pkl" if name == "sg2_32" else ".pt"))
    full, half = styles.load_generator(path), styles.load_generator(path, dtype="float16")
    w = full.map(full.sample_z([0]), truncation=0.7)
    images, other = full.synthesize(w), half.synthesize(w)
    assert other.dtype == torch.float32
    assert 0 < float((images - other).abs().max()) < 0.01 * float(images.abs().max())


def test_fp16_survives_large_styles() -> None:
    model = tiny()
    model.compute_dtype = torch.float16
    model.module("b16.conv1").affine.bias.fill_(3000.0)
    w = model.map(model.sample_z([1]))
    half = model.synthesize(w)
    model.compute_dtype = torch.float32
    assert torch.isfinite(half).all()
    assert float((half - model.synthesize(w)).abs().max()) < 0.05


def test_layers_are_named_in_order(model: Generator) -> None:
    assert [layer.name for layer in model.layers[:4]] == ["b4.conv1", "b4.torgb", "b8.conv0", "b8.conv1"]
    assert [layer.w_index for layer in model.layers[:6]] == [0, 1, 1, 2, 3, 3]
    assert model.num_ws == 8


def test_config_f_has_the_published_number_of_units() -> None:
    for side, count in ((256, 8704), (512, 8960), (1024, 9088)):
        with torch.device("meta"):
            model = Generator(GeneratorConfig.config_f(side))
        assert sum(layer.channels for layer in model.layers) == count


def test_seed_and_batch_do_not_interfere(model: Generator) -> None:
    z = model.sample_z([5, 6])
    assert torch.equal(z[1:], model.sample_z([6]))
    alone, together = model.synthesize(model.map(z[1:])), model.synthesize(model.map(z))[1:]
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)


def test_truncation_pulls_to_the_average(model: Generator) -> None:
    z = model.sample_z([1])
    w, half, none = (model.map(z, truncation=psi) for psi in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (w + none) / 2)
    assert torch.equal(none[0, 0], model.mapping.w_avg)


def test_noise_kinds(model: Generator, w: torch.Tensor) -> None:
    assert torch.equal(model.synthesize(w), model.synthesize(w))
    assert not torch.allclose(model.synthesize(w), model.synthesize(w, noise="none"))
    assert not torch.equal(model.synthesize(w, noise="random"), model.synthesize(w, noise="random"))
    with pytest.raises(ValueError, match="noise must be one of"):
        model.synthesize(w, noise="loud")  # type: ignore[arg-type]


def test_orig_architecture_has_one_torgb() -> None:
    model = tiny(architecture="orig")
    assert [layer.name for layer in model.layers if layer.kind == "torgb"] == ["b32.torgb"]
    assert model.synthesize(model.map(model.sample_z([0]))).shape == (1, 3, 32, 32)


def test_conditional_models_need_a_class() -> None:
    model = tiny(c_dim=3)
    z = model.sample_z([0, 1])
    first, second = model.map(z, class_labels=[0, 1]), model.map(z, class_labels=[2, 1])
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[1], second[1])
    torch.testing.assert_close(first, model.map(z, class_labels=torch.eye(3)[[0, 1]]))
    for labels, message in ((None, "give class_labels"), ([0], "class_labels fit 1"), ([0, 3], "must lie in 0 to 2")):
        with pytest.raises(ValueError, match=message):
            model.map(z, class_labels=labels)
    with pytest.raises(ValueError, match="unconditional"):
        tiny().map(z, class_labels=[0, 1])


def test_bad_latents_are_refused(model: Generator, w: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="z must be batch x 16"):
        model.map(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="z holds NaN"):
        model.map(torch.full((1, 16), float("nan")))
    with pytest.raises(ValueError, match="w must be"):
        model.synthesize(torch.zeros(1, 3, 16))
    with pytest.raises(ValueError, match="w holds NaN"):
        model.synthesize(w * float("inf"))
    with pytest.raises(ValueError, match="seeds is empty"):
        model.sample_z([])
    with pytest.raises(ValueError, match=r"no layer 'b99\.conv1'"):
        model.layer("b99.conv1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 48}, "power of two"),
        ({"channels": (8,)}, "blocks"),
        ({"architecture": "resnet"}, "'skip' or 'orig'"),
        ({"w_dim": 0}, "must be positive"),
    ],
)
def test_bad_configurations_are_refused(change: dict[str, object], message: str) -> None:
    good = {"resolution": 32, "channels": (8, 8, 8, 8)}
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**{**good, **change})  # type: ignore[arg-type]


def test_gradients_pass_after_a_first_picture_in_inference_mode() -> None:
    """The filter is made once: where it was made must not matter to who trains later."""
    model = Generator(GeneratorConfig(8, (4, 4), z_dim=4, w_dim=4))
    fir.cache_clear()
    with torch.inference_mode():
        model.synthesize(model.map(torch.ones(1, 4)))
    model.synthesize(model.map(torch.ones(1, 4))).sum().backward()
    assert model.synthesis.b4.const.grad is not None
