"""The rules that all measures of arrays share: precision, what is not finite, vmap, bad input."""

import math

import pytest
import torch
from torch.func import vmap

import syre_helpers as sh
from syre_helpers.measures import (
    missing_fraction,
    probe_accuracy,
    squared_spectrum,
    used_directions,
)

CLASSES = torch.arange(40) % 3


def probe(x):
    return probe_accuracy(x, CLASSES[: len(x)], x.flip(0), CLASSES[: len(x)])


def used(x):
    weight = torch.eye(3, x.shape[1], dtype=x.dtype)
    return used_directions(x, weight, torch.zeros(3, dtype=x.dtype), CLASSES[: len(x)])


def exponent(x):
    return sh.alpha_req(x, first=1)


def squares(x):
    return squared_spectrum(x)[..., 0]


MEASURES = [
    sh.effective_rank, sh.stable_rank, sh.numerical_rank, sh.dead_fraction, sh.duplicate_fraction,
    sh.active_latents, missing_fraction, probe, used, sh.dormant_ratio, sh.srank, sh.feature_rank,
    sh.participation_ratio, exponent, squares,
]  # fmt: skip
by_name = pytest.mark.parametrize("measure", MEASURES, ids=lambda f: f.__name__)


def features():
    """Return 40 rows of 8 units, four of which are dead; the last row is a copy."""
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    x[:, 4:] = 0
    x[-1] = x[0]
    return x


@by_name
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("share", ["one entry", "all"])
def test_what_is_not_finite_is_nan_and_spoils_nothing_else(measure, bad, share):
    broken = features()
    if share == "all":
        broken[:] = bad
    else:
        broken[3, 2] = bad
    assert math.isnan(measure(broken))
    found = vmap(measure)(torch.stack([features(), broken]))
    assert found[0] == pytest.approx(measure(features()).item())
    assert math.isnan(found[1])


@by_name
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(measure, dtype):
    x = features().to(dtype)
    assert measure(x) == measure(x.float())
    assert measure(x).dtype in (torch.float32, torch.float64)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sh.effective_rank(torch.ones(3)), "(3,)"),
        (lambda: sh.stable_rank(torch.ones(0, 3)), "(0, 3)"),
        (lambda: sh.effective_rank(torch.ones(2, 3, dtype=torch.int64)), "int64"),
        (lambda: sh.numerical_rank(torch.ones(2, 2), rtol=-1), "rtol=-1"),
        (lambda: sh.dead_fraction(torch.ones(0)), "empty"),
        (lambda: sh.dead_fraction(torch.ones(2, 2), tol=-1.0), "tol=-1.0"),
        (lambda: sh.duplicate_fraction(torch.ones(4)), "(4,)"),
        (lambda: sh.duplicate_fraction(torch.ones(4, 2), tol=math.nan), "tol=nan"),
        (lambda: sh.active_latents(torch.ones(1, 4)), "1 sample"),
        (lambda: sh.alpha_req(torch.ones(4, 4), first=0), "first"),
        (lambda: sh.alpha_req(torch.ones(4, 4), first=9, last=9), "first=9"),
        (lambda: probe_accuracy(torch.ones(4), CLASSES, torch.ones(4, 2), CLASSES), "train"),
        (lambda: sh.loss_barrier(lambda p: p, {}, {}, points=2), "points=2"),
        (lambda: sh.loss_barrier(lambda p: p, {"a": torch.ones(1)}, {}), "same names"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    assert words in str(caught.value)
