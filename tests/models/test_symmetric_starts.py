"""Networks stack, symmetric starts are symmetric to the last bit, smaller networks are exact."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from syre_helpers import models

WIDTHS = st.lists(st.integers(1, 6), min_size=2, max_size=4)
ROWS = torch.linspace(-1, 1, 5 * 64).view(5, 64)

FACTORIES = {
    "mlp": (lambda: models.mlp([64, 7, 3], "relu"), (ROWS,)),
    "conv": (lambda: models.conv_net((4, 4)), (ROWS,)),
    "autoencoder": (lambda: models.linear_autoencoder(64, 3), (ROWS,)),
    "product": (lambda: models.ProductRegression(64), (ROWS,)),
    "matrix": (lambda: models.MatrixFactorisation(4, 5, 2), ()),
    "symmetric": (lambda: models.SymmetricFactorisation(4, 2), ()),
}


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def double(make, seed=0):
    return seeded(make, seed).to(torch.float64)


@given(widths=WIDTHS, activation=st.sampled_from(sorted(models.ACTIVATIONS)), bias=st.booleans())
@settings(max_examples=30, deadline=None)
def test_mlp_has_the_widths_and_no_activation_at_the_end(widths, activation, bias):
    model = models.mlp(widths, activation, bias)
    layers = [module for module in model if isinstance(module, nn.Linear)]
    assert [layer.in_features for layer in layers] + [layers[-1].out_features] == widths
    assert all((layer.bias is not None) == bias for layer in layers)
    assert model[-1] is layers[-1]
    assert model(torch.zeros(2, widths[0])).shape == (2, widths[-1])


def test_mlp_accepts_a_module_class():
    assert isinstance(models.mlp([2, 3, 1], nn.ELU)[1], nn.ELU)


@pytest.mark.parametrize("kind", FACTORIES)
def test_stacked_models_compute_what_each_computes_alone(kind):
    make, inputs = FACTORIES[kind]
    nets = [double(make, seed).eval() for seed in range(3)]
    inputs = tuple(x.double() for x in inputs)
    params, buffers = stack_module_state(nets)
    base = copy.deepcopy(nets[0]).to("meta")
    stacked = vmap(lambda p, b: functional_call(base, (p, b), inputs))(params, buffers)
    for net, row in zip(nets, stacked, strict=True):
        torch.testing.assert_close(row, net(*inputs))


@pytest.mark.parametrize("kind", FACTORIES)
def test_gradients_of_stacked_models_agree_in_training_mode(kind):
    make, inputs = FACTORIES[kind]
    nets = [double(make, seed) for seed in range(2)]
    inputs = tuple(x.double() for x in inputs)
    params, buffers = stack_module_state(nets)

    def loss(p, b):
        b = {name: value.clone() for name, value in b.items()}
        return functional_call(nets[0], (p, b), inputs).square().sum(), b

    gradients, new_buffers = vmap(grad(loss, has_aux=True))(params, buffers)
    for k, net in enumerate(nets):
        net(*inputs).square().sum().backward()
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(gradients[name][k], parameter.grad)
        for name, buffer in net.named_buffers():
            torch.testing.assert_close(new_buffers[name][k], buffer)


@pytest.mark.parametrize("kind", FACTORIES)
def test_initialisation_follows_the_global_seed(kind):
    make, _ = FACTORIES[kind]
    first, again, other = seeded(make, 1), seeded(make, 1), seeded(make, 2)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


def test_factor_models_have_the_documented_names_and_scales():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        matrix = models.MatrixFactorisation(300, 100, 25)
        symmetric = models.SymmetricFactorisation(500, 25)
        product = models.ProductRegression(10_000)
        exact = models.MatrixFactorisation(2, 3, 4, std=0.0)
    assert [name for name, _ in matrix.named_parameters()] == ["left", "right"]
    assert [name for name, _ in symmetric.named_parameters()] == ["factor"]
    assert [name for name, _ in product.named_parameters()] == ["u", "w"]
    for tensor, std in [
        (matrix.left, 0.2), (matrix.right, 0.1), (symmetric.factor, 0.2), (product.u, 0.01),
    ]:  # fmt: skip
        assert tensor.std().item() == pytest.approx(std, rel=0.05)
    assert not exact().any()
    torch.testing.assert_close(matrix(), matrix.left @ matrix.right)
    torch.testing.assert_close(symmetric(), symmetric().T)


# ---- symmetric starts ------------------------------------------------------------------------

GROUPS = [(0, 1, 2), (4, 6)]


def network(kind, seed=0):
    """A network, the layer whose units are tied or killed, and a batch; all in float64."""
    if kind == "conv":
        return double(lambda: models.conv_net((8, 4)), seed), "1"
    if kind == "last conv":  # its units are read, in blocks, by the linear layer
        return double(lambda: models.conv_net((4, 8)), seed), "5"
    if kind == "deep":
        return double(lambda: models.mlp([64, 5, 8, 3], "relu"), seed), "2"
    return double(lambda: models.mlp([64, 8, 3], kind), seed), "0"


KINDS = ["tanh", "gelu", "deep", "conv", "last conv"]


def unit_values(model, layer, unit):
    """Everything that a unit owns, as a list of tensors."""
    modules = dict(model.named_modules())
    names = list(modules)
    found = [modules[layer].weight[unit]]
    if modules[layer].bias is not None:
        found.append(modules[layer].bias[unit])
    for name in names[names.index(layer) + 1 :]:
        module = modules[name]
        if isinstance(module, nn.BatchNorm2d):
            found += [t[unit] for t in (module.weight, module.bias, module.running_mean)]
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            block = module.weight.shape[1] // modules[layer].weight.shape[0]
            found.append(module.weight[:, unit * block : (unit + 1) * block])
            return found
    raise AssertionError


@pytest.mark.parametrize("kind", KINDS)
def test_tied_units_are_identical_to_the_last_bit_and_others_untouched(kind):
    model, layer = network(kind)
    before = copy.deepcopy(model)
    models.tie_units(model, layer, GROUPS)
    for first, *others in GROUPS:
        for other in others:
            for a, b in zip(
                unit_values(model, layer, first), unit_values(model, layer, other), strict=True
            ):
                assert torch.equal(a, b)
    for unit in (0, 3, 4, 5, 7):  # the first of each group, and those in none
        for a, b in zip(
            unit_values(model, layer, unit), unit_values(before, layer, unit), strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_units_are_zero_and_get_no_gradient(kind):
    model, layer = network(kind)
    models.kill_units(model, layer, torch.tensor([1, 5]))
    model(ROWS.double()).square().sum().backward()
    gradients = copy.deepcopy(model)
    for parameter, twin in zip(model.parameters(), gradients.parameters(), strict=True):
        twin.data = parameter.grad
    for unit in (1, 5):
        assert not any(value.any() for value in unit_values(model, layer, unit))
        # the running mean, which gets no gradient, moved in the forward pass: it stays 0 too
        assert not any(value.any() for value in unit_values(gradients, layer, unit))
    assert all(value.any() for value in unit_values(model, layer, 0)[:1])


def test_equal_groups_by_chunk():
    model, layer = network("tanh")
    models.tie_units(model, layer, torch.arange(8).chunk(2))
    assert len(torch.unique(model[0].weight, dim=0)) == 2


# ---- the smaller network ---------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02),
    "momentum and decay": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
    "adam and decay": lambda p: torch.optim.Adam(p, lr=0.003, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.003, weight_decay=0.1),
}


def train(model, optimizer, steps=100):
    """The outputs on the training rows at every tenth step."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 64, generator=generator, dtype=torch.float64) / 4
    y = torch.randn(24, dtype=torch.float64, generator=generator)
    outputs = []
    opt = OPTIMIZERS[optimizer](model.parameters())
    for step in range(steps):
        opt.zero_grad()
        prediction = model(x)
        (prediction.mean(1) - y).square().mean().backward()
        opt.step()
        if step % 10 == 9:
            outputs.append(prediction.detach())
    return torch.stack(outputs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_network_without_dead_units_has_the_same_trajectory(kind, optimizer):
    model, layer = network(kind)
    models.kill_units(model, layer, [1, 5])
    small = models.without_units(model, layer, [1, 5])
    big_outputs, small_outputs = train(model, optimizer), train(small, optimizer)
    assert (big_outputs[-1] - big_outputs[0]).abs().max() > 1e-2
    torch.testing.assert_close(small_outputs, big_outputs, rtol=0, atol=1e-10)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("form", ["rescaled", "tied"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_merged_network_has_the_same_trajectory(kind, optimizer, form):
    model, layer = network(kind)
    models.tie_units(model, layer, GROUPS)
    small = models.merge_units(model, layer, GROUPS, form=form)
    big_outputs, small_outputs = train(model, optimizer), train(small, optimizer)
    difference = (big_outputs - small_outputs).abs().max()
    if form == "rescaled" and "adam" in optimizer:
        assert difference > 1e-3  # adaptive steps do not commute with the rescaling
    else:
        assert difference < 1e-10


def test_merged_network_has_the_parameters_of_the_smaller_one_and_stacks():
    model, layer = network("tanh")
    models.tie_units(model, layer, GROUPS)
    small = models.merge_units(model, layer, GROUPS)
    assert small[0].out_features == small[2].in_features == 5
    counted = sum(p.numel() for p in small.parameters())
    assert counted == sum(p.numel() for p in models.mlp([64, 5, 3]).parameters())
    # the rescaled coordinates have the same norm, and so the same weight decay
    norms = [sum(p.square().sum() for p in net.parameters()) for net in (model, small)]
    torch.testing.assert_close(*norms)
    params, buffers = stack_module_state([small, small])
    out = vmap(lambda p, b: functional_call(small, (p, b), (ROWS.double(),)))(params, buffers)
    torch.testing.assert_close(out[1], model(ROWS.double()))


def test_layers_under_a_parametrization_are_refused():
    model = models.mlp([3, 4, 4, 1])
    models.tie_units(model, "2", [(0, 1)])
    small = models.merge_units(model, "2", [(0, 1)])
    for layer in ("0", "2"):
        with pytest.raises(ValueError, match="parametrization"):
            models.tie_units(small, layer, [(0, 1)])


def test_originals_are_left_alone():
    model, layer = network("tanh")
    models.tie_units(model, layer, GROUPS)
    models.kill_units(model, layer, [7])
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        models.merge_units(model, layer, GROUPS)[0].bias.add_(1)
        models.without_units(model, layer, [7])[0].weight.zero_()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


# ---- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: models.mlp([3]), "widths"),
        (lambda: models.mlp([3, 0, 1]), "widths"),
        (lambda: models.mlp([3, 2.5]), "widths"),
        (lambda: models.mlp([3, 2, 1], "relo"), "relo.*tanh"),
        (lambda: models.mlp([3, 2, 1], nn.ReLU()), "module class"),
        (lambda: models.linear_autoencoder(0, 2), "d: 0"),
        (lambda: models.conv_net(()), "channels is empty"),
        (lambda: models.conv_net((4, 4, 4, 4)), "leaves no pixel"),
        (lambda: models.conv_net(n_classes=-1), "n_classes"),
        (lambda: models.MatrixFactorisation(3, -1, 2), "columns"),
        (lambda: models.SymmetricFactorisation(3, True), "inner"),
        (lambda: models.ProductRegression(3, std=float("nan")), "std"),
        (lambda: models.tie_units(models.mlp([3, 4, 1]), "1", [(0, 1)]), "layer"),
        (lambda: models.tie_units(models.mlp([3, 4, 1]), "0", [(0, 4)]), "groups=4"),
        (lambda: models.tie_units(models.mlp([3, 4, 1]), "0", [(0, 1), (1, 2)]), "unit 1 twice"),
        (lambda: models.tie_units(models.mlp([3, 4, 1]), "0", []), "groups is empty"),
        (lambda: models.kill_units(models.mlp([3, 4, 1]), "2", [0]), "outputs, not hidden"),
        (lambda: models.kill_units(models.mlp([3, 4, 1]), "0", [-1]), "units=-1"),
        (lambda: models.kill_units(models.mlp([3, 4, 1], "sigmoid"), "0", [0]), "not 0 at 0"),
        (lambda: models.without_units(models.mlp([3, 4, 1]), "0", [0]), "kill_units first"),
        (lambda: models.merge_units(models.mlp([3, 4, 1]), "0", [(0, 1)]), "tie_units first"),
        (lambda: models.merge_units(models.mlp([3, 4, 1]), "0", [(0, 1)], form="x"), "rescaled"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_deleting_every_unit_is_refused():
    model = models.mlp([3, 2, 1])
    models.kill_units(model, "0", [0, 1])
    with pytest.raises(ValueError, match="keep at least one"):
        models.without_units(model, "0", [0, 1])


def test_layer_norm_counts_the_units():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 1))
    models.tie_units(model, "0", [(0, 1)])
    with pytest.raises(ValueError, match="LayerNorm"):
        models.merge_units(model, "0", [(0, 1)])
