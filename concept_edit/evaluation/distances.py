"""How far pictures after an edit lie from those before: pair by pair, and set from set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from concept_edit.evaluation.inception import cached
from concept_edit.evaluation.intervals import jackknife
from concept_edit.models.operators import mend_torchvision

if TYPE_CHECKING:
    from PIL.Image import Image

_KID_SUBSET = 50


def pixels(image: Image) -> Float[Tensor, "1 3 h w"]:
    """A picture in [0, 1]."""
    return torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32)).permute(2, 0, 1)[None] / 255


def ssim(a: Image, b: Image) -> float:
    """Structural similarity (Wang et al. 2004): 11 px Gaussian, K 0.01 and 0.03, mean over channels; 1: equal.

    Raises:
        ValueError: pictures of different sizes, or under 11 px.
    """
    if a.size != b.size or min(a.size) < 11:
        raise ValueError(f"SSIM needs two pictures of one size of 11 px or more, got {a.size} and {b.size}")
    x, y = (pixels(image).double().transpose(0, 1) for image in (a, b))
    mx, my, xx, yy, xy = (_blurred(part) for part in (x, y, x * x, y * y, x * y))
    vx, vy, both = xx - mx * mx, yy - my * my, xy - mx * my
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(index.mean())


def lpips(pairs: Sequence[tuple[Image, Image]]) -> list[float]:
    """Learned perceptual distance (Zhang et al. 2018, AlexNet), with the extra `[eval]`; 0 is equal.

    Raises:
        ValueError: the extra is not installed, or AlexNet's weights are not where torch.hub keeps them.
    """
    network = _lpips().LPIPS(net="alex", verbose=False).eval()
    with torch.no_grad():
        return [float(network(2 * pixels(a) - 1, 2 * pixels(b) - 1)) for a, b in pairs]


def lpips_version() -> str:
    """`lpips`, its version and its network.

    Raises:
        ValueError: as `lpips`.
    """
    _lpips()
    return f"lpips {version('lpips')}, AlexNet"


def _lpips() -> Any:
    """The package, once all that it needs is there: it would fetch AlexNet's weights by itself."""
    mend_torchvision()
    try:
        import lpips as package
        from torchvision.models import AlexNet_Weights
    except (ImportError, RuntimeError) as error:
        raise ValueError("LPIPS needs lpips and torchvision: pip install 'concept-edit[eval]'") from error
    address = AlexNet_Weights.IMAGENET1K_V1.url
    path = cached(address.rsplit("/", 1)[1])
    if not path.is_file():
        raise ValueError(f"LPIPS needs AlexNet's weights, which are missing: put {address} at {path}")
    return package


def kid(before: Float[Tensor, "n d"], after: Float[Tensor, "n d"]) -> tuple[float, float, float]:
    """Kernel inception distance of paired sets of features (Binkowski et al. 2018), by torchmetrics; 0 is equal.

    The interval is a jackknife over pairs of pictures.
    """
    return jackknife(len(before), lambda rows: _kid(before[rows], after[rows]))


def fid(before: Float[Tensor, "n d"], after: Float[Tensor, "n d"]) -> tuple[float, float, float]:
    """Fréchet distance of paired sets of features (Heusel et al. 2017), by torchmetrics; 0 is equal.

    It is biased upwards for few pictures: compare only figures of the same n. The interval is a jackknife over pairs,
    whose parts are computed by `frechet`.
    """
    _, low, high = jackknife(len(before), lambda rows: frechet(before[rows], after[rows]))
    return _fid(before, after), low, high


def frechet(before: Float[Tensor, "n d"], after: Float[Tensor, "m d"]) -> float:
    """‖μ − ν‖² + tr Σ + tr Τ − 2 tr (Σ Τ)^½, without a d x d root where there are fewer pictures than features.

    With Σ = AᵀA and Τ = BᵀB the last trace is the sum of the singular values of A Bᵀ; torchmetrics takes the
    eigenvalues of Σ Τ, seconds for Inception's 2048 features.
    """
    means = [part.double().mean(dim=0) for part in (before, after)]
    roots = [(part.double() - mean) / (len(part) - 1) ** 0.5 for part, mean in zip((before, after), means, strict=True)]
    short = [root if len(root) <= root.shape[1] else torch.linalg.qr(root, mode="r").R for root in roots]
    shared = torch.linalg.svdvals(short[0] @ short[1].T).sum()
    own = sum(root.square().sum() for root in roots)
    return float((means[0] - means[1]).square().sum() + own - 2 * shared)


def metrics_version() -> str:
    """`torchmetrics` and its version.

    Raises:
        ValueError: it is not installed.
    """
    return f"torchmetrics {_metrics().__version__}"


class _Features(torch.nn.Module):
    """Hands features through: they were extracted before, once for all resamples."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def _kid(before: Tensor, after: Tensor) -> float:
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(_KID_SUBSET, len(before))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        subsets = 1 if size == len(before) else 20
        return float(_computed(KernelInceptionDistance(_Features(before.shape[1]), subsets, size), before, after)[0])


def _fid(before: Tensor, after: Tensor) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = FrechetInceptionDistance(_Features(before.shape[1])).set_dtype(torch.float64)
        return float(_computed(metric, before.double(), after.double()))


def _computed(metric: Any, before: Tensor, after: Tensor) -> Any:
    metric.update(before, real=True)
    metric.update(after, real=False)
    return metric.compute()


def _metrics() -> Any:
    try:
        import torchmetrics
    except ImportError as error:
        raise ValueError("KID and FID need torchmetrics: pip install 'concept-edit[eval]'") from error
    return torchmetrics


def _blurred(x: Float[Tensor, "3 1 h w"]) -> Float[Tensor, "3 1 h2 w2"]:
    taps = torch.arange(11, dtype=x.dtype) - 5
    kernel = torch.exp(-(taps**2) / (2 * 1.5**2))
    kernel = kernel / kernel.sum()
    return F.conv2d(F.conv2d(x, kernel.view(1, 1, 11, 1)), kernel.view(1, 1, 1, 11))
