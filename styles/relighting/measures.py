"""How near a relit picture comes to the truth: MSE, LMSE and SSIM, each for every picture of a batch.

Pictures are display values in [-1, 1]; all three measures are taken on display values in [0, 1].
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.units.modulate import to_display, to_linear

Images = Float[Tensor, "batch rgb h w"]
Scores = Float[Tensor, " batch"]
WINDOW, STEP = 20, 10
"""Pixels of LMSE's windows and from one to the next."""
GAUSS, SIGMA = 11, 1.5
"""SSIM's window: pixels and standard deviation."""


def mse(images: Images, truth: Images) -> Scores:
    """Mean squared error."""
    a, b = _unit(images, truth)
    return (a - b).square().mean((1, 2, 3))


def lmse(images: Images, truth: Images) -> Scores:
    """Local MSE (Grosse et al. 2009, section 4).

    In every window of 20 x 20 pixels, 10 apart, the picture is scaled to fit the truth best; the squared errors that
    are left are divided by the truth's squares. It does not see a wrong brightness, only wrong shading.
    """
    a, b = _unit(images, truth)
    side = min(WINDOW, *a.shape[-2:])
    x, y = (nnf.unfold(part, side, stride=min(STEP, side)).double() for part in (a, b))
    scale = (x * y).sum(1, keepdim=True) / x.square().sum(1, keepdim=True).clamp_min(1e-12)
    error = (y - scale * x).square().sum((1, 2))
    return (error / y.square().sum((1, 2)).clamp_min(1e-12)).to(images.dtype)


def ssim(images: Images, truth: Images) -> Scores:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 pixels, σ 1.5; K1 0.01, K2 0.03; no padding.

    Raises:
        ValueError: pictures smaller than the window.
    """
    a, b = _unit(images, truth)
    if min(a.shape[-2:]) < GAUSS:
        raise ValueError(f"SSIM needs pictures of at least {GAUSS} x {GAUSS} pixels, got {tuple(a.shape[-2:])}.")
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a.square(), _blurred(b * b) - mean_b.square()
    both = _blurred(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + 0.01**2) / (mean_a.square() + mean_b.square() + 0.01**2)
    return (light * (2 * both + 0.03**2) / (var_a + var_b + 0.03**2)).mean((1, 2, 3))


def scaled(images: Images, truth: Images) -> Images:
    """The pictures with their light multiplied by the one number that fits the truth best, in linear light.

    What a global brightness slider can do at its very best: no user knows this number.
    """
    a, b = to_linear(images), to_linear(truth)
    gain = (a * b).sum((1, 2, 3)) / a.square().sum((1, 2, 3)).clamp_min(1e-12)
    return to_display(gain[:, None, None, None] * a)


def _unit(images: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if images.shape != truth.shape or images.ndim != 4:
        raise ValueError(f"pictures must be batch x rgb x h x w, got {tuple(images.shape)} and {tuple(truth.shape)}.")
    return (images.clamp(-1, 1) + 1) / 2, (truth.clamp(-1, 1) + 1) / 2


def _blurred(images: Tensor) -> Tensor:
    steps = torch.arange(GAUSS, dtype=images.dtype, device=images.device) - GAUSS // 2
    weight = torch.exp(-steps.square() / (2 * SIGMA**2))
    weight = (weight / weight.sum()).expand(images.shape[1], 1, 1, -1)
    across = nnf.conv2d(images, weight, groups=images.shape[1])
    return nnf.conv2d(across, weight.transpose(2, 3), groups=images.shape[1])
