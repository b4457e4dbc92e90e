"""Dead and duplicate units, and active latents, of arrays where they are known."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import syre_helpers as sh

relaxed = settings(deadline=None, max_examples=25, derandomize=True)


def test_dead_fraction():
    x = torch.tensor([[0.0, 1.0, -2.0, 0.0], [0.0, 0.5, 2.0, 1e-9]])
    assert sh.dead_fraction(x) == 0.5
    assert sh.dead_fraction(x, tol=0) == 0.25
    assert sh.dead_fraction(torch.tensor([3.0, 0.0, 1.0])) == pytest.approx(1 / 3)
    assert sh.dead_fraction(torch.zeros(4, 2)) == 1
    assert torch.equal(sh.dead_fraction(torch.stack([x, 0 * x])), torch.tensor([0.5, 1.0]))


@relaxed
@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_duplicate_fraction_counts_copies(labels):
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 1 - len(set(labels)) / len(labels)
    assert sh.duplicate_fraction(rows[labels]).item() == pytest.approx(expected)


def test_active_latents():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(500, 4, generator=generator) * torch.tensor([1.0, 0.3, 0.05, 0.0])
    assert sh.active_latents(means).item() == 2
    assert sh.active_latents(means + 5, threshold=1e-4).item() == 3


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_tolerances_are_relative_to_the_largest(scale):
    x = scale * torch.tensor([[1.0, 1e-3], [-1.0, 1e-3]])
    assert sh.dead_fraction(x, tol=1e-2) == 0.5
    assert sh.dead_fraction(x, tol=1e-4) == 0
    rows = scale * torch.tensor([[1.0, 0.0], [1.0, 1e-3]])
    assert sh.duplicate_fraction(rows, tol=1e-2) == 0.5
    assert sh.duplicate_fraction(rows, tol=1e-4) == 0


def test_duplicates_of_many_units_take_little_memory():
    """All pairs of vectors at once, as an array, would take 6.4 GB."""
    code = (
        "import resource, torch, syre_helpers as sh\n"
        "rows = torch.randn(1000, 800).repeat(2, 1)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sh.duplicate_fraction(rows).item() == 0.5\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 200_000, "kilobytes"
