"""From unsigned bytes to scaled inputs, with few copies: select first, then convert in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._checks import positive_int


def check_number(argument: str, number: int | None, available: int) -> None:
    """Raise ValueError unless a number of images is None, or positive and not too large."""
    if number is not None and positive_int(argument, number) > available:
        raise ValueError(f"{argument}={number} is more than the {available} images that there are")


def draw(available: int, number: int | None, generator: torch.Generator) -> Tensor | None:
    """Return which images to take, in random order; None means all of them, as they are."""
    if number is None:
        return None
    return torch.randperm(available, generator=generator)[:number]


def scale(
    images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype
) -> Tensor:
    """Return bytes over 255, less each channel's mean, over its standard deviation.

    Parameters
    ----------
    images : Tensor
        Unsigned bytes, shape (samples, channels, height, width).
    mean, std : sequence of float
        One a channel.
    dtype : torch.dtype
        Of the result.

    Returns
    -------
    Tensor
        Of the same shape, contiguous: the only copy that is made.
    """
    scaled = images.to(dtype, memory_format=torch.contiguous_format, copy=True).div_(255)
    for channel, centre, spread in zip(scaled.unbind(1), mean, std, strict=True):
        channel.sub_(centre).div_(spread)
    return scaled
