"""The exercises of the chapter "Transformers: the rank of a head"."""

import torch
from torch import Tensor

from ._declare import Function, Number

_HEADS, _SIZE, _BLOCKS = 8, 64, 6


def _cut(matrix: Tensor, rank: int) -> Tensor:
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * s[:rank] @ vh[:rank]


def _nearest(left: Tensor, right: Tensor, rank: int) -> Tensor:
    return _cut(left.T @ right, rank)


def _directions(matrix: Tensor, rank: int) -> Tensor:
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] @ vh[:rank]


def _factors(seed: int, size: int, dim: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    left, right = torch.randn(2, size, dim, generator=draw, dtype=torch.float64)
    return left, right


check_transformers_nearest = Function(
    what="The product",
    right=_nearest,
    cases={
        "a head of 3 in 5 dimensions, cut to rank 1": (*_factors(0, 3, 5), 1),
        "a head of 4 in 6 dimensions, cut to rank 2": (*_factors(1, 4, 6), 2),
        "nothing left": (*_factors(2, 3, 5), 0),
        "nothing cut": (*_factors(3, 3, 5), 3),
    },
    praise="By Eckart and Young no matrix of that rank is nearer.",
    mistakes={
        "Multiply first and cut then: each factor cut by itself is not the best product.": (
            lambda left, right, rank: _cut(left, rank).T @ _cut(right, rank)
        ),
        "The first rows of the factors are not the best ones; turn them first.": (
            lambda left, right, rank: left[:rank].T @ right[:rank]
        ),
        "That is the product of keys and queries: transpose it.": (
            lambda left, right, rank: _nearest(right, left, rank)
        ),
        "The directions are right; give them back their singular values.": (
            lambda left, right, rank: _directions(left.T @ right, rank)
        ),
        "You have left the smallest singular values, and cut the largest.": (
            lambda left, right, rank: left.T @ right - _nearest(left, right, len(left) - rank)
        ),
        "This is what the cut takes away.": (
            lambda left, right, rank: left.T @ right - _nearest(left, right, rank)
        ),
    },
)


check_transformers_flips = Number(
    what="The number of flips",
    right=_BLOCKS * _HEADS * _SIZE // 2,
    praise="Without rotary codes each head has a whole O(64) in place of its 32 flips.",
    mistakes={
        "Both coordinates of a pair flip together, and in queries and keys at once: that is one.": (
            _BLOCKS * _HEADS * _SIZE
        ),
        "That is one block; there are six.": _HEADS * _SIZE // 2,
        "That is one head; each head of each block has its own.": _SIZE // 2,
        "Each head has its own; do not count the heads of a block as one.": _BLOCKS * _SIZE // 2,
    },
)
