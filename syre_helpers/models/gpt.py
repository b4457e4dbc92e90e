"""A small language model over bytes, of plain modules, so that `torch.func` can stack it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .._checks import check_positive_int


def gpt(
    vocabulary: int = 256,
    context: int = 64,
    dim: int = 64,
    depth: int = 2,
    heads: int = 4,
    mlp: int = 256,
    *,
    bias: bool = False,
    rotary: bool = False,
    tied: bool = False,
) -> nn.Sequential:
    """Return a GPT: embeddings, blocks of causal attention, a norm, and a linear readout.

    The norms come first in each block, places have learned vectors, and there is no dropout. As in
    `vit`, queries, keys and values have no bias unless asked for, so that the rotations of each
    head's queries and keys, and of its values and outputs, are symmetries of the weights alone. The
    three switches change which of them there are.

    Parameters
    ----------
    vocabulary : int, default 256
        Number of tokens; 256 for bytes.
    context : int, default 64
        The longest text, in tokens.
    dim : int, default 64
        Size of a token's embedding; a multiple of `heads`.
    depth : int, default 2
        Number of blocks.
    heads : int, default 4
        Number of attention heads.
    mlp : int, default 256
        Hidden units of each block's two-layer network.
    bias : bool, default False
        Give queries, keys and values a bias.
    rotary : bool, default False
        Turn queries and keys by angles that grow with the place, in place of the learned vectors.
    tied : bool, default False
        Let the readout have the weights of the embedding.

    Returns
    -------
    nn.Sequential
        Maps tokens (batch, length), whole numbers, to scores of the next token at each place,
        (batch, length, vocabulary). Its parts are named "embed", "blocks", "norm" and "readout". A
        block has "attention.query", ".key", ".value" and ".out", whose head h owns the dimensions
        h * dim / heads and following. PyTorch's own initialisation.

    Raises
    ------
    ValueError
        If a number is not a positive int, the heads do not divide the embedding, or a head's size
        is odd and `rotary` asks for pairs.

    References
    ----------
    A. Radford et al., Language models are unsupervised multitask learners, OpenAI, 2019. J. Su et
    al., RoFormer: enhanced transformer with rotary position embedding, Neurocomputing 568 (2024).

    Examples
    --------
    >>> model = gpt(context=8, dim=16, depth=1, heads=2, mlp=32)
    >>> model(torch.zeros(5, 8, dtype=torch.int64)).shape
    torch.Size([5, 8, 256])
    """
    sizes = {"vocabulary": vocabulary, "context": context, "dim": dim, "depth": depth}
    for name, value in (sizes | {"heads": heads, "mlp": mlp}).items():
        check_positive_int(name, value)
    if dim % heads:
        raise ValueError(f"heads={heads} does not divide dim={dim}; each head needs as many")
    if rotary and dim // heads % 2:
        raise ValueError(
            f"rotary=True turns pairs, and dim={dim} gives each of heads={heads} an odd number"
        )
    blocks = (GPTBlock(dim, heads, mlp, bias=bias, rotary=rotary) for _ in range(depth))
    embed = TokenEmbedding(vocabulary, 0 if rotary else context, dim)
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        embed=embed,
        blocks=nn.Sequential(*blocks),
        norm=nn.LayerNorm(dim),
        readout=nn.Linear(dim, vocabulary, bias=False),
    )
    if tied:
        parts["readout"].weight = embed.token
    return nn.Sequential(parts)


class TokenEmbedding(nn.Module):
    """A learned vector for each token, plus one for its place.

    Parameters
    ----------
    vocabulary, context, dim : int
        Number of tokens, longest text (0: places have no vectors), size of the embedding.
    """

    def __init__(self, vocabulary: int, context: int, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(vocabulary, dim))
        self.position = nn.Parameter(0.02 * torch.randn(context, dim)) if context else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embeddings, (batch, length, dim)."""
        embedded = self.token[tokens]
        return embedded if self.position is None else embedded + self.position[: tokens.shape[-1]]


class CausalAttention(nn.Module):
    """Multi-head self-attention in which no place sees a later one.

    Parameters
    ----------
    dim, heads : int
        Size of the embedding, and number of heads, which divides it.
    bias, rotary : bool
        As in `gpt`.
    """

    def __init__(self, dim: int, heads: int, *, bias: bool, rotary: bool) -> None:
        super().__init__()
        self.heads = heads
        self.rotary = rotary
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key = nn.Linear(dim, dim, bias=bias)
        self.value = nn.Linear(dim, dim, bias=bias)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output at every place, of the shape of `x`."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for layer in (self.query, self.key, self.value)
        )
        if self.rotary:
            query, key = turned_by_place(query), turned_by_place(key)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        mixed = torch.softmax(scores.masked_fill(later, -torch.inf), dim=-1) @ value
        return self.out(mixed.transpose(-3, -2).flatten(-2))


class GPTBlock(nn.Module):
    """Causal attention, then a two-layer network, each on normed inputs and added to them.

    Parameters
    ----------
    dim, heads, hidden : int
        Size of the embedding, number of heads, hidden units of the network.
    bias, rotary : bool
        As in `gpt`.
    """

    def __init__(self, dim: int, heads: int, hidden: int, *, bias: bool, rotary: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = CausalAttention(dim, heads, bias=bias, rotary=rotary)
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
