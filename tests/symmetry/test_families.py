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
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def loss_of(model, x):
    return lambda params: functional_call(model, dict(params), (x,)).square().mean()


def randomised(model, seed):
    """Give every parameter and buffer of a model generic values, in float64 and evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    for name, tensor in everything(model).items():
        if tensor.is_floating_point():
            fresh = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                fresh = fresh.square() + 0.5
            model.get_parameter(name).data.copy_(fresh) if name in dict(
                model.named_parameters()
            ) else model.get_buffer(name).copy_(fresh)
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
    generator = torch.Generator().manual_seed(1)
    other = {
        n: torch.randn(p.shape, generator=generator, dtype=torch.float64) for n, p in params.items()
    }
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
    x = torch.randn(5, widths[0], generator=torch.Generator().manual_seed(seed)).double()
    return model, f"{2 * hidden}", (widths[hidden], bias, widths[hidden + 2]), x


@relaxed
@given(networks(), st.data())
def test_permutation_of_hidden_units(case, data):
    model, layer, (n_in, bias, n_out), x = case
    width = model.get_submodule(layer).out_features
    i = data.draw(st.integers(0, width - 1))
    j = data.draw(st.integers(0, width - 1).filter(lambda j: j != i))
    reflection = sh.permutation_reflection(model, layer, i, j)
    assert_reflection(reflection, everything(model), loss_of(model, x), n_in + bias + n_out)


@relaxed
@given(networks(activations=("tanh", "linear")), st.data())
def test_sign_of_a_hidden_unit(case, data):
    model, layer, (n_in, bias, n_out), x = case
    i = data.draw(st.integers(0, model.get_submodule(layer).out_features - 1))
    reflection = sh.sign_reflection(model, layer, i)
    assert_reflection(reflection, everything(model), loss_of(model, x), n_in + bias + n_out)


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
    x = torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    reflection = sh.permutation_reflection(model, layer, 0, 2)
    model.train(training)
    # In training mode the forward pass updates the running statistics of what it is given.
    loss_fn = loss_of(model, x)
    assert_reflection(
        reflection,
        everything(model),
        lambda p: loss_fn({n: t.clone() for n, t in p.items()}),
        per_unit,
    )


def test_sign_flip_before_batchnorm_holds_even_with_relu():
    model = randomised(conv_model(), 4)
    x = torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    reflection = sh.sign_reflection(model, "0", 1)
    # weights, bias and gain are parameters; the running mean is negated too but does not count.
    assert_reflection(reflection, everything(model), loss_of(model, x), 2 * 9 + 1 + 1)
    image = reflection(everything(model))
    assert image["1.running_mean"][1] == -everything(model)["1.running_mean"][1]
    assert torch.equal(image["4.weight"], everything(model)["4.weight"])


def test_layer_norm_permutes_but_does_not_flip():
    model = randomised(
        nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2)), 5
    )
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).double()
    reflection = sh.permutation_reflection(model, "0", 1, 3)
    assert_reflection(reflection, everything(model), loss_of(model, x), 3 + 1 + 2 + 2)
    with pytest.raises(ValueError, match="LayerNorm"):
        sh.sign_reflection(model, "0", 1)


@relaxed
@given(
    st.integers(1, 5), st.integers(2, 5), st.integers(1, 5), st.integers(0, 2**31), st.booleans()
)
def test_rotation_of_an_inner_dimension(rows, inner, columns, seed, transposed):
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(rows, inner, generator=generator, dtype=torch.float64)
    right = torch.randn(inner, columns, generator=generator, dtype=torch.float64)
    n = torch.randn(inner, generator=generator, dtype=torch.float64)
    params = {"q": left.T if transposed else left, "k": right, "other": torch.ones(2).double()}
    axis = 0 if transposed else 1
    reflection = sh.rotation_reflection("q", "k", n / n.norm(), left_axis=axis, right_axis=0)
    target = torch.randn(rows, columns, generator=generator, dtype=torch.float64)

    def loss_fn(p):
        return ((p["q"].T if transposed else p["q"]) @ p["k"] - target).square().sum()

    assert_reflection(reflection, params, loss_fn, rows + columns)
    # On the mirror plane the product has lost the direction n.
    nearest = reflection.nearest(params)
    product = (nearest["q"].T if transposed else nearest["q"]) @ nearest["k"]
    assert torch.linalg.matrix_rank(product, rtol=1e-10) <= min(rows, columns, inner - 1)


def test_rotation_of_a_symmetric_product():
    generator = torch.Generator().manual_seed(0)
    params = {"factor": torch.randn(6, 3, generator=generator, dtype=torch.float64)}
    n = torch.randn(3, generator=generator, dtype=torch.float64)
    reflection = sh.rotation_reflection("factor", None, n / n.norm())
    assert_reflection(reflection, params, lambda p: (p["factor"] @ p["factor"].T).square().sum(), 6)


@relaxed
@given(st.integers(1, 6), st.integers(0, 2**31), st.booleans())
def test_swap_and_sign_of_scalar_pairs(d, seed, one):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(9, d, generator=generator, dtype=torch.float64)
    params = {k: torch.randn(d, generator=generator, dtype=torch.float64) for k in ("u", "w")}
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


def test_nearest_state_is_symmetric_to_the_last_bit():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    reflection = sh.permutation_reflection(model, "0", 0, 3)
    nearest = reflection.nearest(everything(model))
    assert reflection.distance(nearest) == 0
    assert torch.equal(nearest["0.weight"][0], nearest["0.weight"][3])


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
    tanh = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    flip = sh.sign_reflection(tanh, "0", 1)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    assert flip.violation(loss_of(relu, x), everything(relu)) > 1e-3
    with pytest.raises(ValueError, match=r"ReLU.*not odd"):
        sh.sign_reflection(relu, "0", 1)


def test_nested_sequential_and_named_modules():
    inner = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    model = randomised(nn.Sequential(inner, nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))), 1)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    reflection = sh.permutation_reflection(model, "0.0", 1, 2)
    assert_reflection(reflection, everything(model), loss_of(model, x), 6)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 3)

    def forward(self, x):
        return x + self.second(torch.tanh(self.first(x)))


def test_other_modules_need_outgoing_named():
    model = randomised(Residual(), 2)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    with pytest.raises(ValueError, match="outgoing"):
        sh.permutation_reflection(model, "first", 0, 1)
    swap = sh.permutation_reflection(model, "first", 0, 1, outgoing="second")
    assert_reflection(swap, everything(model), loss_of(model, x), 7)
    with pytest.raises(ValueError, match="activation"):
        sh.sign_reflection(model, "first", 0, outgoing="second")
    flip = sh.sign_reflection(model, "first", 0, outgoing="second", activation=torch.tanh)
    assert_reflection(flip, everything(model), loss_of(model, x), 7)


MLP = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


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
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_mismatched_parameters_are_named():
    reflection = sh.rotation_reflection("u", "v", torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="'v'"):
        reflection({"u": torch.ones(3, 2)})
    with pytest.raises(ValueError, match=r"'u' has shape \(2, 3\)"):
        reflection({"u": torch.ones(2, 3), "v": torch.ones(2, 3)})
    with pytest.raises(ValueError, match="same shape"):
        sh.swap_reflection("u", "v")({"u": torch.ones(2), "v": torch.ones(3)})
    with pytest.raises(ValueError, match="index=5"):
        sh.pair_sign_reflection("u", "v", 5)({"u": torch.ones(2), "v": torch.ones(2)})
    with pytest.raises(TypeError, match="involution"):
        sh.Reflection(torch.eye(3))


def test_maps_that_are_no_reflections_are_found_out():
    params = {"u": torch.ones(3), "w": torch.ones(3)}
    shear = sh.Reflection(lambda p: {"u": p["u"] + p["w"], "w": -p["w"]})
    doubling = sh.Reflection(lambda p: {"u": 2 * p["w"], "w": p["u"] / 2})
    cycle = sh.Reflection(lambda p: {"u": p["u"].roll(1)})
    for impostor, words in ((shear, "orthogonal"), (doubling, "orthogonal"), (cycle, "inverse")):
        with pytest.raises(ValueError, match=words):
            impostor.rank(params)
    with pytest.raises(ValueError, match="'v'"):
        sh.Reflection(lambda p: {"v": -p["u"]})(params)
    # names that the involution leaves out pass through
    assert torch.equal(sh.Reflection(lambda p: {"u": -p["u"]})(params)["w"], params["w"])


def test_grouped_convolutions_and_unknown_modules_are_refused():
    grouped = nn.Sequential(nn.Conv1d(4, 4, 1, groups=2), nn.ReLU(), nn.Conv1d(4, 2, 1))
    with pytest.raises(ValueError, match="groups=2"):
        sh.permutation_reflection(grouped, "0", 0, 1)
    strange = nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"Softmax.*outgoing"):
        sh.permutation_reflection(strange, "0", 0, 1)
    pooled = nn.Sequential(nn.Conv1d(2, 3, 1), nn.MaxPool1d(2), nn.Conv1d(3, 2, 1))
    with pytest.raises(ValueError, match="not odd"):
        sh.sign_reflection(pooled, "0", 0)
