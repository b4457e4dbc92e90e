"""Reflections: involutions that leave the loss alone, with a symmetric projection of known rank.

Everything is float64 and to 1e-12, over random networks.
"""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

import syre_helpers as sh

TOLERANCE = 1e-12
relaxed = settings(deadline=None, max_examples=25, derandomize=True)


def everything(model):
    """Return copies of parameters and buffers, as functional_call takes them."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def loss_of(model, x):
    return lambda params: functional_call(model, dict(params), (x,)).square().mean()


def randomised(model, seed):
    """Give every parameter and buffer of a model generic values, in float64 and evaluation mode."""
    model = model.double().eval()
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        if tensor.is_floating_point():
            fresh = normal(*tensor.shape, seed=seed + number)
            tensor.copy_(fresh.square() + 0.5 if name.endswith("running_var") else fresh)
    return model


def assert_reflection(reflection, params, loss_fn, rank):
    """Check all that a reflection promises, at a generic state."""
    image = reflection(params)
    again = reflection(image)
    size = math.sqrt(sum(float(p.double().square().sum()) for p in params.values()))
    for name, p in params.items():
        if p.is_floating_point():
            assert (again[name] - p).norm() <= TOLERANCE * size, "not an involution"
    assert reflection.violation(loss_fn, params) <= TOLERANCE
    # P is idempotent and symmetric: <P a, b> = <a, P b>.
    linear = reflection.linear_part()
    projected = linear.project(params)
    twice = linear.project(projected)
    other = {n: normal(*p.shape, seed=k) for k, (n, p) in enumerate(params.items(), 1)}
    left = sum(float((projected[n] * other[n]).sum()) for n in params if n in projected)
    right = sum(float((params[n].double() * linear.project(other)[n]).sum()) for n in params)
    for name, p in projected.items():
        assert (twice[name] - p).norm() <= TOLERANCE * size, "P is not idempotent"
    assert abs(left - right) <= TOLERANCE * size * math.sqrt(
        sum(p.numel() for p in params.values())
    )
    assert reflection.rank(params) == rank
    # The nearest state is on the plane and is fixed; the loss does change away from it.
    nearest = reflection.nearest(params)
    assert reflection.distance(nearest) <= TOLERANCE * size
    assert reflection.distance(params) > 1e-3
    moved = reflection(nearest)
    assert all((moved[n] - nearest[n]).abs().max() <= TOLERANCE * size for n in params)


@st.composite
def networks(draw, activations=("tanh", "relu")):
    widths = draw(st.lists(st.integers(2, 6), min_size=3, max_size=5))
    kinds = {"tanh": nn.Tanh, "relu": nn.ReLU, "linear": nn.Identity}
    activation = draw(st.sampled_from(activations))
    bias = draw(st.booleans())
    layers = []
    for k, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(n_in, n_out, bias=bias))
        if k < len(widths) - 2:
            layers.append(kinds[activation]())
    hidden = draw(st.integers(0, len(widths) - 3))
    seed = draw(st.integers(0, 2**31))
    model = randomised(nn.Sequential(*layers), seed)
    return model, 2 * hidden, widths[hidden] + bias + widths[hidden + 2], normal(5, widths[0])


@relaxed
@given(networks(), st.data())
def test_permutation_of_hidden_units(case, data):
    model, layer, per_unit, x = case
    units = st.integers(0, model[layer].out_features - 1)
    i, j = data.draw(st.lists(units, min_size=2, max_size=2, unique=True))
    reflection = sh.permutation_reflection(model, str(layer), i, j)
    assert_reflection(reflection, everything(model), loss_of(model, x), per_unit)


@relaxed
@given(networks(activations=("tanh", "linear")), st.data())
def test_sign_of_a_hidden_unit(case, data):
    model, layer, per_unit, x = case
    i = data.draw(st.integers(0, model[layer].out_features - 1))
    reflection = sh.sign_reflection(model, str(layer), i)
    assert_reflection(reflection, everything(model), loss_of(model, x), per_unit)


def conv_model():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "per_unit"), [("0", 2 * 9 + 1 + 2 + 3 * 9), ("4", 4 * 9 + 1 + 2 + 2 * 9)]
)
@pytest.mark.parametrize("training", [False, True])
def test_swap_of_channels_with_batchnorm_and_flatten(layer, per_unit, training):
    model = randomised(conv_model(), 3)
    x = normal(6, 2, 6, 6)
    reflection = sh.permutation_reflection(model, layer, 0, 2)
    model.train(training)
    # In training mode the forward pass updates the running statistics of what it is given.
    loss_fn = loss_of(model, x)
    params = everything(model)
    assert_reflection(
        reflection, params, lambda p: loss_fn({n: t.clone() for n, t in p.items()}), per_unit
    )


def test_sign_flip_before_batchnorm_holds_even_with_relu():
    model = randomised(conv_model(), 4)
    x = normal(6, 2, 6, 6)
    reflection = sh.sign_reflection(model, "0", 1)
    # weights, bias and gain are parameters; the running mean is negated too but does not count.
    assert_reflection(reflection, everything(model), loss_of(model, x), 2 * 9 + 1 + 1)
    image = reflection(everything(model))
    assert image["1.running_mean"][1] == -everything(model)["1.running_mean"][1]
    assert torch.equal(image["4.weight"], everything(model)["4.weight"])


@relaxed
@given(
    st.integers(1, 5), st.integers(2, 5), st.integers(1, 5), st.integers(0, 2**31), st.booleans()
)
def test_rotation_of_an_inner_dimension(rows, inner, columns, seed, transposed):
    left, right = normal(rows, inner, seed=seed), normal(inner, columns, seed=seed + 1)
    n = normal(inner, seed=seed + 2)
    params = {"q": left.T if transposed else left, "k": right, "other": torch.ones(2).double()}
    axis = 0 if transposed else 1
    reflection = sh.rotation_reflection("q", "k", n / n.norm(), left_axis=axis, right_axis=0)
    target = normal(rows, columns, seed=seed + 3)

    def loss_fn(p):
        return ((p["q"].T if transposed else p["q"]) @ p["k"] - target).square().sum()

    assert_reflection(reflection, params, loss_fn, rows + columns)
    # On the mirror plane the product has lost the direction n.
    nearest = reflection.nearest(params)
    product = (nearest["q"].T if transposed else nearest["q"]) @ nearest["k"]
    assert torch.linalg.matrix_rank(product, rtol=1e-10) <= min(rows, columns, inner - 1)


def test_rotation_of_a_symmetric_product():
    params, n = {"factor": normal(6, 3)}, normal(3, seed=1)
    reflection = sh.rotation_reflection("factor", None, n / n.norm())
    assert_reflection(reflection, params, lambda p: (p["factor"] @ p["factor"].T).square().sum(), 6)


@relaxed
@given(st.integers(1, 6), st.integers(0, 2**31), st.booleans())
def test_swap_and_sign_of_scalar_pairs(d, seed, one):
    x = normal(9, d, seed=seed)
    params = {"u": normal(d, seed=seed + 1), "w": normal(d, seed=seed + 2)}
    index = seed % d if one else None
    pairs = 1 if one else d

    def loss_fn(p):
        return (x @ (p["u"] * p["w"]) - 1).square().mean()

    assert_reflection(sh.swap_reflection("u", "w", index), params, loss_fn, pairs)
    assert_reflection(sh.pair_sign_reflection("u", "w", index), params, loss_fn, 2 * pairs)


def test_the_plane_of_the_scalar_swap_holds_both_minima():
    swap = sh.swap_reflection("u", "w")
    for minimum in (1.0, -1.0):
        state = {"u": torch.tensor(minimum), "w": torch.tensor(minimum)}
        assert (state["u"] * state["w"] - 1).square() == 0
        assert swap.distance(state) == 0


def test_reflection_with_a_centre():
    centre = {"u": torch.tensor(2.0, dtype=torch.float64)}
    reflection = sh.Reflection(lambda p: {**p, "u": -p["u"]}, centre)
    params = {"u": torch.tensor(5.0, dtype=torch.float64), "v": torch.tensor(1.0).double()}
    assert_reflection(reflection, params, lambda p: (p["u"] - 2).abs() + p["v"], 1)
    assert reflection(params)["u"] == -1
    assert reflection.nearest(params)["u"] == 2
    assert reflection.distance(params) == 3


def test_reflection_leaves_its_argument_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    params = everything(model)
    kept = {name: p.clone() for name, p in params.items()}
    for reflection in (
        sh.permutation_reflection(model, "0", 0, 3),
        sh.sign_reflection(model, "0", 1),
        sh.rotation_reflection("0.weight", None, torch.tensor([1.0, 0.0, 0.0])),
    ):
        reflection(params), reflection.project(params), reflection.nearest(params)
        assert all(torch.equal(params[name], kept[name]) for name in params)


def test_relu_networks_have_no_sign_flip():
    """The check that refuses it is right: negating a ReLU unit does change the loss."""
    relu = randomised(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), 0)
    flip = sh.sign_reflection(nn.Sequential(relu[0], nn.Tanh(), relu[2]), "0", 1)
    assert flip.violation(loss_of(relu, normal(5, 3)), everything(relu)) > 1e-3
    with pytest.raises(ValueError, match=r"ReLU.*not odd"):
        sh.sign_reflection(relu, "0", 1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 3)

    def forward(self, x):
        return x + self.second(torch.tanh(self.first(x)))


LAYER_NORM = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2))
NESTED = nn.Sequential(
    nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
)
RESIDUAL = Residual()
NAMED = {"outgoing": "second"}


@pytest.mark.parametrize(
    ("model", "reflection", "per_unit"),
    [
        (LAYER_NORM, sh.permutation_reflection(LAYER_NORM, "0", 1, 3), 3 + 1 + 2 + 2),
        (NESTED, sh.permutation_reflection(NESTED, "0.0", 1, 2), 3 + 1 + 2),
        (RESIDUAL, sh.permutation_reflection(RESIDUAL, "first", 0, 1, **NAMED), 3 + 1 + 3),
        (RESIDUAL, sh.sign_reflection(RESIDUAL, "first", 0, **NAMED, activation=torch.tanh), 7),
    ],
)
def test_other_structures(model, reflection, per_unit):
    model = randomised(model, 2)
    assert_reflection(reflection, everything(model), loss_of(model, normal(5, 3)), per_unit)


MLP = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
GROUPED = nn.Sequential(nn.Conv1d(4, 4, 1, groups=2), nn.ReLU(), nn.Conv1d(4, 2, 1))
STRANGE = nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2))
POOLED = nn.Sequential(nn.Conv1d(2, 3, 1), nn.MaxPool1d(2), nn.Conv1d(3, 2, 1))
HALF_TURN = sh.rotation_reflection("u", "v", torch.tensor([1.0, 0.0]))


def pair(*shapes):
    return dict(zip("uv", map(torch.ones, shapes), strict=True))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sh.permutation_reflection(MLP, "7", 0, 1), ["layer='7'", "'0', '2'"]),
        (lambda: sh.permutation_reflection(MLP, "1", 0, 1), ["layer='1'", "Tanh"]),
        (lambda: sh.permutation_reflection(MLP, "0", 0, 4), ["j=4", "4 units"]),
        (lambda: sh.permutation_reflection(MLP, "0", -1, 2), ["i=-1", "4 units"]),
        (lambda: sh.permutation_reflection(MLP, "0", 2, 2), ["different", "2"]),
        (lambda: sh.permutation_reflection(MLP, "2", 0, 1), ["layer='2'", "outgoing"]),
        (lambda: sh.permutation_reflection(MLP, "0", 0, 1, outgoing="0"), ["outgoing='0'", "3"]),
        (lambda: sh.permutation_reflection(MLP, "0", 0, 1, norm="1"), ["norm='1'", "Tanh"]),
        (lambda: sh.sign_reflection(MLP, "0", 9), ["i=9", "4 units"]),
        (lambda: sh.rotation_reflection("u", "v", torch.zeros(3)), ["n ", "length 0"]),
        (lambda: sh.rotation_reflection("u", "v", torch.ones(3)), ["n ", "length 1.7"]),
        (lambda: sh.rotation_reflection("u", "v", torch.eye(3)), ["n ", "(3, 3)"]),
        (lambda: sh.rotation_reflection("u", "v", torch.full((2,), torch.nan)), ["length nan"]),
        (lambda: sh.rotation_reflection("u", "u", torch.ones(1)), ["right='u'", "None"]),
        (lambda: HALF_TURN({"u": torch.ones(3, 2)}), ["'v'"]),
        (lambda: HALF_TURN(pair((2, 3), (2, 3))), ["'u' has shape (2, 3)"]),
        (lambda: sh.swap_reflection("u", "v")(pair(2, 3)), ["same shape"]),
        (lambda: sh.pair_sign_reflection("u", "v", 5)(pair(2, 2)), ["index=5"]),
        (lambda: sh.sign_reflection(LAYER_NORM, "0", 1), ["LayerNorm"]),
        (lambda: sh.permutation_reflection(RESIDUAL, "first", 0, 1), ["outgoing"]),
        (lambda: sh.sign_reflection(RESIDUAL, "first", 0, **NAMED), ["activation"]),
        (lambda: sh.permutation_reflection(GROUPED, "0", 0, 1), ["groups=2"]),
        (lambda: sh.permutation_reflection(STRANGE, "0", 0, 1), ["Softmax", "outgoing"]),
        (lambda: sh.sign_reflection(POOLED, "0", 0), ["not odd"]),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    for word in words:
        assert word in str(caught.value)
