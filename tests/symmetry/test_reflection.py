"""Reflections of a reader's own making: what is refused, in which words, and what is not."""

import pytest
import torch
from torch import nn
from torch.func import vmap

import syre_helpers as sh

PARAMS = {"u": torch.tensor([0.3, -0.7, 1.1]), "w": torch.tensor([0.9, 0.2, -0.4])}
RESCALED_SWAP = {"u": lambda p: 2 * p["w"], "w": lambda p: p["u"] / 2}


def involution(changes):
    return lambda p: {name: change(p) for name, change in changes.items()}


def loss(p):
    return (p["u"] * p["w"] - 1).square().sum()


METHODS = ("__call__", "project", "distance", "nearest", "rank")
USES = {
    **{name: lambda R, p, name=name: getattr(R, name)(p) for name in METHODS},
    "violation": lambda R, p: R.violation(loss, p),
    "escape_force": lambda R, p: sh.escape_force(R, loss, p),
    "degree_of_symmetry": lambda R, p: sh.degree_of_symmetry([R], p),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("use", USES)
def test_an_involution_that_is_not_orthogonal_is_refused_by_every_method(use, dtype):
    """It keeps the loss, but its fixed line is no mirror: the gradient there points off it."""
    params = {name: p.to(dtype) for name, p in PARAMS.items()}
    centre = {"u": torch.ones(3, dtype=dtype)}
    shear = {"u": lambda p: p["u"] + p["w"], "w": lambda p: -p["w"]}
    for changes in (RESCALED_SWAP, shear):
        for given in (None, centre):
            with pytest.raises(ValueError, match=r"not orthogonal.*multiplies the length.*mirror"):
                USES[use](sh.Reflection(involution(changes), given), params)


@pytest.mark.parametrize("use", [use for use in USES if use != "__call__"])
def test_other_impostors_are_refused(use):
    turn = sh.Reflection(lambda p: {"u": p["w"], "w": -p["u"]})
    with pytest.raises(ValueError, match="not its own inverse"):
        USES[use](turn, PARAMS)
    off_centre = sh.Reflection(lambda p: {"u": 6 - p["u"]})
    with pytest.raises(ValueError, match=r"moves the origin by 10\.4.*centre"):
        USES[use](off_centre, PARAMS)


def test_one_bad_pair_among_many_parameters_is_found():
    many = {"bulk": torch.zeros(10**6), **PARAMS}
    with pytest.raises(ValueError, match="not orthogonal"):
        sh.Reflection(involution(RESCALED_SWAP)).nearest(many)


def test_constants_in_the_involution_may_have_the_precision_of_the_parameters():
    generator = torch.Generator().manual_seed(0)
    n = torch.randn(3, generator=generator)
    n /= n.norm()
    flip = torch.eye(3) - 2 * torch.outer(n, n)
    params = {"u": torch.randn(5, 3, generator=generator)}
    mirror = sh.Reflection(lambda p: {"u": p["u"] @ flip})
    assert mirror.distance(params) == pytest.approx((params["u"] @ n).norm().item(), rel=1e-5)
    # On a half-precision state the same reflection, in half precision.
    half = sh.Reflection(lambda p: {"u": p["u"] @ flip.bfloat16()})
    assert half.distance({"u": params["u"].bfloat16()}) > 0


def test_the_check_is_made_once_for_given_shapes():
    calls = []

    def swap(p):
        calls.append(p)
        return {"u": p["w"], "w": p["u"]}

    mirror = sh.Reflection(swap)
    mirror.nearest(PARAMS)
    first = len(calls)
    mirror.nearest(PARAMS)
    mirror.linear_part().nearest(PARAMS)
    assert len(calls) == first + 2


def test_reflections_work_under_vmap():
    swap = sh.swap_reflection("u", "w")
    stacked = {name: torch.stack([p, 2 * p]) for name, p in PARAMS.items()}
    found = vmap(swap.nearest)(stacked)
    fresh = sh.swap_reflection("u", "w").nearest(PARAMS)
    assert torch.equal(found["u"][0], fresh["u"])
    assert torch.equal(found["u"][1], 2 * fresh["u"])


def test_nearest_state_is_symmetric_to_the_last_bit():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    reflection = sh.permutation_reflection(model, "0", 0, 3)
    params = {name: p.detach() for name, p in model.named_parameters()}
    nearest = reflection.nearest(params)
    assert reflection.distance(nearest) == 0
    assert torch.equal(nearest["0.weight"][0], nearest["0.weight"][3])


def test_names_the_involution_leaves_out_pass_through_and_new_ones_are_refused():
    assert torch.equal(sh.Reflection(lambda p: {"u": -p["u"]})(PARAMS)["w"], PARAMS["w"])
    with pytest.raises(ValueError, match="'v'"):
        sh.Reflection(lambda p: {"v": -p["u"]})(PARAMS)
    with pytest.raises(TypeError, match="involution"):
        sh.Reflection(torch.eye(3))
