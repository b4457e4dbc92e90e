"""Pulls around a point, and what no pull can be."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import syre_helpers as sh
from small_task import net, values
from syre_helpers.removal import around
from syre_helpers.removal.on_the_fly import pull_by_pieces_
from syre_helpers.removal.optimizers import step_size
from syre_helpers.removal.pull import coupled_together, pull_together_
from syre_helpers.removal.theta_0 import Specification

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


@pytest.mark.parametrize("sigma_D", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_rate_that_is_a_tensor_is_never_read_and_pulls_as_a_number_does(sigma_D, dtype):
    """Reading it would make a program wait for a GPU at every step."""
    rate = torch.tensor(0.037, dtype=dtype)
    recipes = [Specification(3, f"{k}.w", 0.3, sigma_D) for k in range(2)]
    starts = [torch.randn(n, dtype=dtype) for n in (100, 7)]
    at = [torch.arange(len(p)) for p in starts]
    theta_0 = [r.theta_0(i, dtype) for r, i in zip(recipes, at, strict=True)]
    xi = [r.D_minus_1(i, dtype) for r, i in zip(recipes, at, strict=True)] if sigma_D else []
    pulls = {
        "together": lambda p, r: pull_together_(p, theta_0, xi, r),
        "pieces": lambda p, r: [
            pull_by_pieces_(q, s, r, 0) for q, s in zip(p, recipes, strict=True)
        ],
        "named": lambda p, r: [
            sh.Pull(1.0, {"w": c}, {"w": x} if sigma_D else {}).decoupled_("w", q, r)
            for q, c, x in zip(p, theta_0, xi or theta_0, strict=True)
        ],
    }
    for pull in pulls.values():
        right, found = ([p.clone() for p in starts] for _ in range(2))
        pull(right, rate.item())
        with NothingRead():
            pull(found, rate)
        torch.testing.assert_close(found, right, rtol=4 * torch.finfo(dtype).eps, atol=1e-7)


class NothingRead(TorchDispatchMode):
    """Fails where a rate becomes a Python number; indices may, where there is no kernel."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            assert not args[0].is_floating_point()
        return func(*args, **(kwargs or {}))


def test_a_rate_on_a_gpu_stays_there():
    rate = torch.tensor(0.1, device="meta")
    assert step_size({"lr": rate}) is rate
    assert step_size({"lr": torch.tensor(0.5)}) == 0.5
    assert step_size({"lr": 0.5, "d0": 1, "d": 3.0}) == 1.5
