"""Random views of images are what they are said to be, and depend on their seed only."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from syre_helpers.data.augment import (
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
    pytest.importorskip("kornia")
    before = torch.get_rng_state()
    first, again, other = (cropped_and_recoloured(*photographs(), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (6, 3, 8, 8)
    assert 0 <= first.min() <= first.max() <= 1


def test_a_missing_kornia_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(ImportError, match=r"kornia.*syre_helpers\[vision\]"):
        cropped_and_recoloured(*photographs(), 0)
