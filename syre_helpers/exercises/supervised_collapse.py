"""The exercises of the chapter "Supervised collapse"."""

import torch
from torch import Tensor

from ._declare import Function, Number, float64, normal


def _used(x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> int:
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    right_answers = [
        int((((left[:, :k] * values[:k]) @ right[:k] @ weight.T + bias).argmax(1) == y).sum())
        for k in range(len(values) + 1)
    ]
    return next(k for k, count in enumerate(right_answers) if count >= right_answers[-1])


def _classes(offset: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features in which three directions tell three classes apart, and seven are noise."""
    # With an offset against the first two classes, the third needs no direction of its own.
    y = torch.arange(60) % 3
    corners = torch.diag(float64(3.0, 2.0, 1.0))
    x = torch.cat([3 * corners[y], 0.05 * normal(60, 7)], 1)
    weight = torch.zeros(4, 10, dtype=torch.float64)  # the fourth class never occurs
    weight[:3, :3] = corners
    return x, weight, float64(-offset, -offset, 0.0, -5.0), y


# The rounding of float32, as torch.linalg.matrix_rank has it.
_ROUNDING = torch.finfo(torch.float32).eps

check_supervised_collapse_images = Number(
    what="The number of images",
    right=1e-4 / _ROUNDING,
    praise="With more images the same network has a lower rank: its threshold has moved.",
    mistakes={
        "That is for a singular value at the rounding itself; these are at 1e-4.": 1 / _ROUNDING,
        "That is the number for float64; the features are in float32.": (
            1e-4 / torch.finfo(torch.float64).eps
        ),
        "That is for the threshold of this page, a thousandth of the largest.": 1e-3 / _ROUNDING,
        "That threshold is a share: turn the ratio over.": _ROUNDING / 1e-4,
        "That is the number of units. There are more images than units, and the larger of the two "
        "numbers counts.": 64,
        "The threshold grows with the number of images itself, not with its root.": (
            (1e-4 / _ROUNDING) ** 2
        ),
    },
)

check_supervised_collapse_used = Function(
    what="The number of directions",
    right=_used,
    cases={"three classes and noise": _classes(0.0), "a readout with a bias": _classes(1.0)},
    praise="Noise added to all features would hardly change this number.",
    mistakes={
        "That is the numerical rank: noise raises it. "
        "Begin with the largest directions.": lambda x, w, b, y: torch.linalg.matrix_rank(x),
        "The readout's bias is missing.": lambda x, w, b, y: _used(x, w, 0 * b, y),
        "That is one too few: k counts the directions, "
        "and Python counts from 0.": lambda x, w, b, y: _used(x, w, b, y) - 1,
        "That is one too many: no direction at all, k = 0, "
        "is the first to try.": lambda x, w, b, y: _used(x, w, b, y) + 1,
        "That is the number of classes.": lambda x, w, b, y: len(w),
    },
)
