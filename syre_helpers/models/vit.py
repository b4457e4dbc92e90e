"""A small vision transformer of plain modules, so that `torch.func` can stack it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .._checks import check_positive_int
from .attention import AttentionBlock


def vit(
    image: tuple[int, int, int] = (3, 32, 32),
    n_classes: int = 10,
    patch: int = 4,
    dim: int = 128,
    depth: int = 6,
    heads: int = 4,
    mlp: int = 256,
) -> nn.Sequential:
    """Return a vision transformer: patches, attention blocks, mean over patches, linear readout.

    The norms come first in each block; there is no dropout and no class token. Queries, keys and
    values have no bias, so that the rotations of each head's queries and keys, and of its values
    and outputs, are symmetries of the weights alone: see `rotation_reflection`.

    Parameters
    ----------
    image : tuple of int, default (3, 32, 32)
        Channels, height and width of an image.
    n_classes : int, default 10
        Number of outputs.
    patch : int, default 4
        Side of a square patch in pixels; must divide height and width.
    dim : int, default 128
        Size of a patch's embedding; a multiple of `heads`.
    depth : int, default 6
        Number of blocks.
    heads : int, default 4
        Number of attention heads.
    mlp : int, default 256
        Hidden units of each block's two-layer network.

    Returns
    -------
    nn.Sequential
        Maps images (batch, channels, height, width) to (batch, n_classes). Its parts are named
        "embed", "blocks", "norm", "pool" and "readout"; without the last, ``model[:-1]`` gives the
        features, (batch, dim). A block has "attention.query", ".key", ".value" and ".out", whose
        head h owns the dimensions h * dim / heads and following. PyTorch's own initialisation.

    Raises
    ------
    ValueError
        If a number is not a positive int, the patch does not divide the image, or the heads do not
        divide the embedding.

    References
    ----------
    A. Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021.

    Examples
    --------
    >>> model = vit(dim=16, depth=2, heads=2, mlp=32)
    >>> model(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 10])
    """
    channels, height, width = (check_positive_int("image", size) for size in image)
    for name, value in (("patch", patch), ("dim", dim), ("depth", depth), ("heads", heads)):
        check_positive_int(name, value)
    if height % patch or width % patch:
        raise ValueError(f"patch={patch} does not divide an image of {height} x {width} pixels")
    if dim % heads:
        raise ValueError(f"heads={heads} does not divide dim={dim}; each head needs as many")
    blocks = (AttentionBlock(dim, heads, check_positive_int("mlp", mlp)) for _ in range(depth))
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        embed=PatchEmbedding(channels, patch, dim, height // patch * (width // patch)),
        blocks=nn.Sequential(*blocks),
        norm=nn.LayerNorm(dim),
        pool=MeanOverPatches(),
        readout=nn.Linear(dim, check_positive_int("n_classes", n_classes)),
    )
    return nn.Sequential(parts)


class PatchEmbedding(nn.Module):
    """Each patch times one matrix, plus a learned vector for its place.

    Parameters
    ----------
    channels, patch, dim, patches : int
        Channels of the image, side of a patch, size of the embedding, number of patches.
    """

    def __init__(self, channels: int, patch: int, dim: int, patches: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, dim, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(patches, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings, (batch, patches, dim)."""
        return self.project(x).flatten(2).transpose(1, 2) + self.position


class MeanOverPatches(nn.Module):
    """The mean over all patches."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, dim) from (batch, patches, dim)."""
        return x.mean(-2)
