"""The measures against their definitions, written out, and against another library."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from styles.relighting.measures import lmse, mse, scaled, ssim
from styles.units.modulate import to_display, to_linear


@pytest.fixture
def two() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    truth = torch.rand(3, 3, 40, 50) * 2 - 1
    return (truth + 0.3 * torch.randn_like(truth)).clamp(-1, 1), truth


def test_mse_and_lmse_by_hand(two: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = ((part + 1) / 2 for part in two)
    torch.testing.assert_close(mse(*two), ((a - b) ** 2).mean((1, 2, 3)))
    for i, found in enumerate(lmse(*two)):
        error = energy = 0.0
        for top in (0, 10, 20):
            for left in (0, 10, 20, 30):
                x, y = (part[i, :, top : top + 20, left : left + 20].flatten() for part in (a, b))
                error += float(((y - x * (x @ y) / (x @ x)) ** 2).sum())
                energy += float((y**2).sum())
        assert float(found) == pytest.approx(error / energy, rel=1e-4)


def test_ssim_is_the_usual_one(two: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The library also counts windows that hang over the edge: its map without them is ours."""
    a, b = ((part + 1) / 2 for part in two)
    _, full = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    torch.testing.assert_close(ssim(*two), full[..., 5:-5, 5:-5].mean((1, 2, 3)), atol=1e-5, rtol=0)


def test_a_perfect_picture(two: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, truth = two
    assert float(mse(truth, truth).max()) == 0
    assert float(lmse(truth, truth).max()) < 1e-9
    torch.testing.assert_close(ssim(truth, truth), torch.ones(3))
    half = ((truth + 1) / 2) * 0.5 * 2 - 1
    assert float(lmse(half, truth).max()) < 1e-9
    assert float(mse(half, truth).min()) > 0.01


def test_the_slider_finds_a_dimmed_picture(two: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, truth = two
    dimmed = to_display(0.4 * to_linear(truth))
    torch.testing.assert_close(scaled(dimmed, truth), truth, atol=1e-3, rtol=0)


def test_other_shapes_are_refused(two: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="batch x rgb x h x w"):
        mse(two[0], two[1][:1])
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(two[0][..., :5], two[1][..., :5])
