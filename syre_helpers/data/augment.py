"""Random views of images: moved, mirrored, noisy, in other colours."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


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
    mirrored = torch.randint(2, (count, 1), generator=generator).bool()
    rows = corner[0] + torch.arange(height)
    columns = corner[1] + torch.arange(width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    samples = torch.arange(count)[:, None, None]
    picked = (t.to(images.device) for t in (samples, rows[:, :, None], columns[:, None, :]))
    padded = functional.pad(images, (reach,) * 4).movedim(1, -1)
    return padded[tuple(picked)].movedim(-1, 1)


def cropped_and_recoloured(images: Tensor, low: Tensor, high: Tensor, seed: int) -> Tensor:
    """Return a view of each photograph as SimCLR has it: cropped, mirrored, in other colours.

    Parameters
    ----------
    images : Tensor
        Shape (samples, 3, height, width).
    low, high : Tensor
        Values of a black and of a white pixel, that broadcast with the images.
    seed : int
        Of the draw. The caller's random state is left alone.

    Returns
    -------
    Tensor
        Of the same shape and scale.

    Raises
    ------
    ImportError
        If kornia is not installed.

    References
    ----------
    Chen, Kornblith, Norouzi and Hinton, "A simple framework for contrastive learning of visual
    representations", ICML 2020, appendix A.
    """
    try:
        from kornia import augmentation
    except ImportError as error:
        raise ImportError(
            'the views of photographs need kornia: pip install "syre_helpers[vision]"'
        ) from error
    size = (int(images.shape[-2]), int(images.shape[-1]))
    change = nn.Sequential(
        augmentation.RandomResizedCrop(size, scale=(0.2, 1.0)),
        augmentation.RandomHorizontalFlip(),
        augmentation.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        augmentation.RandomGrayscale(p=0.2),
    )
    # kornia draws from the global generators, and wants pixels from 0 to 1.
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        changed: Tensor = change((images - low) / (high - low))
    return changed * (high - low) + low
