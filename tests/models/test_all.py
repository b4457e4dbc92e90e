"""What all networks have in common: they stack, follow the global seed, and refuse bad input."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from small_models import FACTORIES, images, seeded
from syre_helpers import models


@pytest.mark.parametrize("kind", FACTORIES)
def test_stacked_models_compute_what_each_computes_alone(kind):
    make, inputs = FACTORIES[kind]
    nets = [seeded(make, seed).eval() for seed in range(3)]
    params, buffers = stack_module_state(nets)
    base = copy.deepcopy(nets[0]).to("meta")
    stacked = vmap(lambda p, b: functional_call(base, (p, b), inputs))(params, buffers)
    for net, row in zip(nets, stacked, strict=True):
        torch.testing.assert_close(row, net(*inputs))


@pytest.mark.parametrize("kind", FACTORIES)
def test_gradients_of_stacked_models_agree_in_training_mode(kind):
    make, inputs = FACTORIES[kind]
    nets = [seeded(make, seed) for seed in range(2)]
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
    first, again, other = (list(seeded(make, seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("kind", ["resnet18", "vit"])
def test_features_are_what_the_readout_reads(kind):
    model = seeded(FACTORIES[kind][0]).eval()
    features = model[:-1](images())
    assert features.ndim == 2
    torch.testing.assert_close(model.readout(features), model(images()))


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
        (lambda: models.resnet18(0), "n_classes: 0"),
        (lambda: models.resnet18(width=-1), "width: -1"),
        (lambda: models.resnet18(channels=1.5), "channels: 1.5"),
        (lambda: models.vit(patch=5), "patch=5 does not divide .* 32 x 32"),
        (lambda: models.vit(heads=3), "heads=3 does not divide dim=128"),
        (lambda: models.vit(depth=0), "depth: 0"),
        (lambda: models.vit(mlp=0), "mlp: 0"),
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
