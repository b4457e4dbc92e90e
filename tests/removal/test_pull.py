"""Pulls around a point, and what no pull can be."""

import pytest
import torch

import syre_helpers as sh
from small_task import net, values
from syre_helpers.removal import around
from syre_helpers.removal.pull import coupled_together

DECAY = 0.05


def test_the_centre_is_the_point_plus_theta_0():
    syre = sh.Syre(DECAY, sigma_ratio=0.5, sigma_D=0.2, seed=4)
    pull = syre.pull(values(net()))
    point = values(net(seed=2))
    moved = around(pull, point)
    for name, p in point.items():
        expected = p + syre.bias(name, p)
        assert torch.equal(moved.centre[name], expected)
        assert torch.equal(moved.xi[name], pull.xi[name])
        # gamma (p - c)^T D (p - c) is zero at the centre, and its slope elsewhere is the force
        assert not moved.force(name, expected).any()
    before = point["0.bias"].clone()
    point["0.bias"] += 1
    assert torch.equal(moved.centre["0.bias"], before + syre.bias("0.bias", before)), "copied"


def test_names_that_the_point_has_not_keep_their_centre():
    pull = sh.Syre(DECAY, sigma_ratio=0.5).pull(values(net()))
    moved = around(pull, {"0.bias": torch.ones(7, dtype=torch.float64)})
    for name, centre in pull.centre.items():
        assert torch.equal(moved.centre[name], centre + (name == "0.bias"))


@pytest.mark.parametrize(
    ("decay", "error"),
    [(-0.1, ValueError), (float("nan"), ValueError), ("0.1", TypeError), (True, TypeError)],
)
def test_a_decay_that_is_none_is_named(decay, error):
    with pytest.raises(error, match="weight_decay.*" + repr(decay)):
        sh.Pull(decay)


def test_a_point_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"point\['0\.bias'\] has the shape \(3,\)"):
        around(sh.Syre().pull(values(net())), {"0.bias": torch.ones(3)})


def drawn(draw, kind):
    """Return some parameters' values of a part of a pull; each parameter has it or not."""
    return {n: kind(p) for n, p in values(net()).items() if torch.rand((), generator=draw) < 0.5}


@pytest.mark.parametrize("seed", range(8))
def test_gradients_in_few_operations_are_those_of_one_by_one(seed):
    draw = torch.Generator().manual_seed(seed)

    def normal(p):
        return torch.randn(p.shape, dtype=p.dtype, generator=draw)

    centre, xi = drawn(draw, normal), drawn(draw, normal)
    pull = sh.Pull(DECAY, centre, xi, drawn(draw, lambda p: (normal(p) > 0).to(p)))
    params = values(net())
    before = {name: p.clone() for name, p in params.items()}
    gradients = [normal(p) for p in params.values()]
    found = coupled_together(pull, list(params), list(params.values()), gradients)
    for (name, p), gradient, seen in zip(params.items(), gradients, found, strict=True):
        assert torch.equal(seen, pull.coupled(name, p, gradient))
        assert torch.equal(p, before[name]), "parameters are left alone"
    assert coupled_together(pull, [], [], []) == []
