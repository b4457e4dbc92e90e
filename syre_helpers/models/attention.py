"""Blocks of attention, of plain modules, for the vision transformer and the language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention.

    Parameters
    ----------
    dim, heads : int
        Size of the embedding, and number of heads, which divides it.
    bias : bool, default False
        Give queries, keys and values a bias.
    causal : bool, default False
        Let no place see a later one.
    rotary : bool, default False
        Turn queries and keys by `turned_by_place`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        bias: bool = False,
        causal: bool = False,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.rotary = rotary
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key = nn.Linear(dim, dim, bias=bias)
        self.value = nn.Linear(dim, dim, bias=bias)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output at every place, of the shape of `x`, (..., places, dim)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for layer in (self.query, self.key, self.value)
        )
        if self.rotary:
            query, key = turned_by_place(query), turned_by_place(key)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        mixed = torch.softmax(scores, dim=-1) @ value
        return self.out(mixed.transpose(-3, -2).flatten(-2))


class AttentionBlock(nn.Module):
    """Attention, then a two-layer network, each on normed inputs and added to them.

    Parameters
    ----------
    dim, heads, hidden : int
        Size of the embedding, number of heads, hidden units of the network.
    **switches : bool
        As in `Attention`.
    """

    def __init__(self, dim: int, heads: int, hidden: int, **switches: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, **switches)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, of the shape of `x`."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def turned_by_place(x: Tensor) -> Tensor:
    """Return queries or keys (..., length, size) whose pairs (i, i + size / 2) turn with the place.

    Parameters
    ----------
    x : Tensor
        The size is even. Pair i turns by ``10000 ** (-2 i / size)`` radians per place, as in
        RoFormer.

    Returns
    -------
    Tensor
        Of the same shape. The product of a query and a key depends on how far apart they are.
    """
    length, size = x.shape[-2:]
    frequency = 10000 ** (-torch.arange(0, size, 2, device=x.device, dtype=x.dtype) / size)
    angle = torch.arange(length, device=x.device, dtype=x.dtype)[:, None] * frequency
    first, second = x.chunk(2, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
