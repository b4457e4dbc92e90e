"""Random views of images: moved, mirrored, noisy, in other colours."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from .._transfer import sent


def moved_and_noisy(
    images: Tensor, generator: torch.Generator, shift: int = 1, noise: float = 0.3
) -> Tensor:
    """Return a view of each flat, square image: moved at random, with noise.

    Parameters
    ----------
    images : Tensor
        Square grey images, shape (samples, pixels).
    generator : torch.Generator
        On the CPU, so that all devices draw the same.
    shift : int
        Largest number of pixels in each direction; the edge is filled with the darkest value.
        Default 1.
    noise : float
        Standard deviation of the Gaussian noise. Default 0.3.

    Returns
    -------
    Tensor
        Shape (samples, pixels).
    """
    count, side = len(images), math.isqrt(images.shape[1])
    square = images.reshape(count, side, side)
    padded = functional.pad(square, [shift] * 4, value=float(images.min()))
    windows = padded.unfold(1, side, 1).unfold(2, side, 1)
    down, right = torch.randint(2 * shift + 1, (2, count), generator=generator)
    moved = windows[torch.arange(count), down, right].flatten(1)
    return moved + noise * torch.randn(moved.shape, generator=generator).to(moved)


def shifted_and_mirrored(images: Tensor, generator: torch.Generator, reach: int = 4) -> Tensor:
    """Return each image shifted by up to `reach` pixels, filled with 0, and half of them mirrored.

    Parameters
    ----------
    images : Tensor
        Shape (samples, channels, height, width).
    generator : torch.Generator
        On the CPU, so that all devices draw the same.
    reach : int
        Largest shift in pixels. Default 4.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    count, _, height, width = images.shape
    corner = torch.randint(2 * reach + 1, (2, count, 1), generator=generator)
    mirror = torch.randint(2, (1, count, 1), generator=generator)
    top, left, mirrored = sent(torch.cat([corner, mirror]), images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    columns = torch.where(mirrored.bool(), columns.flip(1), columns)
    samples = torch.arange(count, device=images.device)[:, None, None]
    padded = functional.pad(images, (reach,) * 4).movedim(1, -1)
    return padded[samples, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def cropped_and_recoloured(images: Tensor, low: Tensor, high: Tensor, seed: int) -> Tensor:
    """Return a view of each photograph as SimCLR has it: cropped, mirrored, in other colours.

    A window of 20% to 100% of the area, between 3:4 and 4:3, is stretched to the whole image, and
    half of them are mirrored. Then, for 80% of the images, brightness, contrast and saturation
    change by up to 40% and the hue by up to a tenth of the circle; 20% of all images become grey.
    All changes of colour are linear, the hue being turned around the axis of greys, so that one
    matrix per image holds them; values beyond black and white are cut off once, at the end.

    Parameters
    ----------
    images : Tensor
        Shape (samples, 3, height, width).
    low, high : Tensor
        Values of a black and of a white pixel, that broadcast with the images.
    seed : int
        Of the draw, which is the same on all devices.

    Returns
    -------
    Tensor
        Of the same shape and scale.

    References
    ----------
    Chen, Kornblith, Norouzi and Hinton, "A simple framework for contrastive learning of visual
    representations", ICML 2020, appendix A.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = sent(torch.rand(11, len(images), generator=generator), images.device).to(images.dtype)
    windows = functional.affine_grid(_windows(*draw[:5]), list(images.shape), align_corners=False)
    pixels = (images - low) / (high - low)
    cropped = functional.grid_sample(pixels, windows, padding_mode="border", align_corners=False)
    matrices, lift = _colours(*draw[5:])
    # Contrast is a distance from the mean grey of the image.
    grey = _axes(draw.device, draw.dtype)[0][0]
    mean = torch.einsum("c,nchw->n", grey, cropped) / images[0, 0].numel()
    recoloured = torch.einsum("ndc,nchw->ndhw", matrices, cropped)
    changed = recoloured + (lift * mean)[:, None, None, None]
    return changed.clamp(0, 1) * (high - low) + low


# Weights of red, green and blue in the grey of a colour, and its two chroma axes (ITU-R BT.601 and
# the YIQ colour space of the NTSC).
_GREY = (0.299, 0.587, 0.114)
_CHROMA = ((0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@lru_cache
def _axes(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the matrix from colours to grey and chroma, and back; there once for all batches."""
    to_axes = torch.tensor([_GREY, *_CHROMA], dtype=torch.float64)
    return to_axes.to(device, dtype), torch.linalg.inv(to_axes).to(device, dtype)


def _windows(area: Tensor, shape: Tensor, x: Tensor, y: Tensor, side: Tensor) -> Tensor:
    """Return the affine maps from a view's places to those in the image, (samples, 2, 3)."""
    part = 0.2 + 0.8 * area
    ratio = torch.exp(math.log(4 / 3) * (2 * shape - 1))
    width, height = ((part * r).sqrt().clamp(max=1) for r in (ratio, 1 / ratio))
    zero = torch.zeros_like(width)
    first = [width * torch.where(side < 0.5, -1.0, 1.0), zero, (2 * x - 1) * (1 - width)]
    second = [zero, height, (2 * y - 1) * (1 - height)]
    return torch.stack([*first, *second], -1).reshape(-1, 2, 3)


def _colours(
    changed: Tensor, bright: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, grey: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the matrices of all changes, (samples, 3, 3), and the share of the mean grey added."""
    on = (changed < 0.8).to(bright)
    b, c, s = (1 + 0.4 * on * (2 * u - 1) for u in (bright, contrast, saturation))
    s = s * (grey >= 0.2)
    angle = 0.2 * math.pi * on * (2 * hue - 1)
    to_axes, back = _axes(bright.device, bright.dtype)
    zero, one = torch.zeros_like(b), torch.ones_like(b)
    turned = [one, zero, zero, zero, s * angle.cos(), -s * angle.sin()]
    turned += [zero, s * angle.sin(), s * angle.cos()]
    turn = torch.stack(turned, -1).reshape(-1, 3, 3)
    matrices = back @ turn @ to_axes
    return (b * c)[:, None, None] * matrices, (1 - c) * b
