"""Random views of images are what they are said to be, and depend on their seed only."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from syre_helpers.data.augment import (
    _CHROMA,
    _colours,
    _windows,
    cropped_and_recoloured,
    moved_and_noisy,
    shifted_and_mirrored,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_views_are_shifts_of_the_image():
    images = torch.arange(1.0, 26).repeat(40, 1)
    views = moved_and_noisy(images, seeded(), shift=1, noise=0.0)
    padded = functional.pad(images[0].reshape(5, 5), [1] * 4, value=1.0)
    possible = [padded[i : i + 5, j : j + 5].flatten() for i in range(3) for j in range(3)]
    which = [[bool(torch.equal(view, p)) for p in possible] for view in views]
    assert all(sum(row) == 1 for row in which)
    assert len({row.index(True) for row in which}) == 9


def test_noise_has_the_given_size():
    views = moved_and_noisy(torch.zeros(200, 64), seeded(), noise=0.3)
    assert views.std().item() == pytest.approx(0.3, rel=0.03)


def test_shifts_and_mirrors_are_those_of_the_generator():
    x = torch.randn(64, 3, 6, 6, generator=seeded())
    found = shifted_and_mirrored(x, seeded(1), reach=2)
    generator = seeded(1)
    rows, columns = torch.randint(5, (2, 64, 1), generator=generator)[..., 0].tolist()
    mirrored = torch.randint(2, (64, 1), generator=generator)[:, 0].tolist()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    for k in range(64):
        part = padded[k, :, rows[k] : rows[k] + 6, columns[k] : columns[k] + 6]
        part = part[:, :, ::-1] if mirrored[k] else part
        assert np.array_equal(found[k].numpy(), part)
    assert 16 < sum(mirrored) < 48
    assert set(rows) == set(range(5))


def photographs():
    return torch.rand(6, 3, 8, 8, generator=seeded()), torch.tensor(0.0), torch.tensor(1.0)


def test_views_of_photographs_depend_on_their_seed_only():
    before = torch.get_rng_state()
    first, again, other = (cropped_and_recoloured(*photographs(), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (6, 3, 8, 8)
    assert 0 <= first.min() <= first.max() <= 1


def test_views_of_photographs_are_parts_of_them():
    """A view of a linear ramp is a linear ramp, so its corners tell window and mirror image."""
    ramp = torch.linspace(0, 1, 32)
    places = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32), torch.zeros(32, 32)])
    x = places.expand(400, 3, 32, 32)
    draw = torch.rand(5, 400, generator=seeded())
    grid = functional.affine_grid(_windows(*draw), [400, 3, 32, 32], align_corners=False)
    views = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    across, down = views[:, 0, 16], views[:, 1, :, 16]
    width, height = (abs(v[:, -2] - v[:, 1]) * 32 / 29 for v in (across, down))
    mirrored = across[:, -1] < across[:, 0]
    assert 0.4 < mirrored.float().mean() < 0.6
    assert (down[:, -1] > down[:, 0]).all()
    area = width * height * (31 / 32) ** 2
    assert 0.15 < area.min() < 0.3
    assert 0.8 < area.max() <= 1.1
    assert (width / height).min() > 0.65
    assert (width / height).max() < 1.5


def test_colours_change_as_they_are_said_to():
    """Grey pixels keep their colour under saturation and hue; grey images lose all of theirs."""
    draw = torch.rand(6, 1000, generator=seeded())
    changed, bright, contrast, saturation, hue, grey = draw
    matrices, lift = _colours(*draw.double())
    white = matrices.sum(-1)
    assert torch.allclose(white, white[:, :1].expand(-1, 3)), "grey stays grey"
    untouched = (changed >= 0.8) & (grey >= 0.2)
    assert torch.allclose(matrices[untouched], torch.eye(3, dtype=torch.float64), atol=1e-6)
    assert (lift[untouched] == 0).all()
    without_colour = grey < 0.2
    assert torch.linalg.matrix_rank(matrices[without_colour], atol=1e-6).eq(1).all()
    b, c = (1 + 0.4 * (changed < 0.8) * (2 * u - 1) for u in (bright, contrast))
    # A uniform grey image has no contrast: brightness alone changes it.
    torch.testing.assert_close(white[:, 0] + lift, b.double())
    torch.testing.assert_close(white[:, 0], (b * c).double())
    # Hue and saturation alone: the chroma of a colour is turned and scaled.
    axes = torch.tensor(_CHROMA).double()
    red = axes @ (matrices / (b * c)[:, None, None]) @ torch.tensor([1.0, 0, 0]).double()
    size = red.norm(dim=-1) / axes[:, 0].norm()
    wanted = (1 + 0.4 * (changed < 0.8) * (2 * saturation - 1)) * (grey >= 0.2)
    torch.testing.assert_close(size, wanted.double(), rtol=2e-3, atol=1e-3)
    turned = torch.atan2(red[:, 1], red[:, 0]) - torch.atan2(axes[1, 0], axes[0, 0])
    full = 0.2 * math.pi * (changed < 0.8) * (2 * hue - 1)
    seen = grey >= 0.2
    torch.testing.assert_close(turned[seen], full[seen].double(), rtol=0, atol=5e-3)
