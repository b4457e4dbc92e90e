"""A small language model over bytes, of plain modules, so that `torch.func` can stack it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .._checks import check_positive_int
from .attention import AttentionBlock


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
    switches = {"bias": bias, "causal": True, "rotary": rotary}
    blocks = (AttentionBlock(dim, heads, mlp, **switches) for _ in range(depth))
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
        """Return the embeddings, (batch, length, dim); ValueError where a text is too long."""
        embedded, length = self.token[tokens], tokens.shape[-1]
        if self.position is None:
            return embedded
        if length > len(self.position):
            raise ValueError(
                f"tokens has texts of {length}, and the model has places for {len(self.position)}; "
                "pass shorter ones, or make it with a larger context="
            )
        return embedded + self.position[:length]
