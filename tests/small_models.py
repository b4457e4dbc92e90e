"""One small network of every kind, in float64, and inputs for it."""

import torch

from syre_helpers import models

SMALL_GPT = {"vocabulary": 11, "context": 6, "dim": 8, "depth": 2, "heads": 2, "mlp": 12}
SMALL_VIT = {"image": (3, 8, 8), "patch": 4, "dim": 8, "depth": 2, "heads": 2, "mlp": 12}


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double()


def rows(count=5):
    return torch.linspace(-1, 1, count * 64, dtype=torch.float64).view(count, 64)


def images(count=4, size=8):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64)


def tokens(count=3):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(11, (count, 6), generator=generator)


def size(model):
    return sum(p.numel() for p in model.parameters())


def resnet():
    return models.resnet18(5, width=2)


def vit():
    return models.vit(n_classes=5, **SMALL_VIT)


def gpt(**changes):
    return models.gpt(**SMALL_GPT | changes)


FACTORIES = {
    "mlp": (lambda: models.mlp([64, 7, 3], "relu"), (rows(),)),
    "conv": (lambda: models.conv_net((4, 4)), (rows(),)),
    "autoencoder": (lambda: models.linear_autoencoder(64, 3), (rows(),)),
    "product": (lambda: models.ProductRegression(64), (rows(),)),
    "matrix": (lambda: models.MatrixFactorisation(4, 5, 2), ()),
    "symmetric": (lambda: models.SymmetricFactorisation(4, 2), ()),
    "resnet18": (resnet, (images(),)),
    "vit": (vit, (images(),)),
    "gpt": (gpt, (tokens(),)),
}


GROUPS = [(0, 1, 2), (4, 6)]


def network(kind):
    """A network, the layer whose units are tied or killed, and a batch; all in float64."""
    if kind == "conv":
        return seeded(lambda: models.conv_net((8, 4))), "1"
    if kind == "last conv":  # its units are read, in blocks, by the linear layer
        return seeded(lambda: models.conv_net((4, 8))), "5"
    if kind == "deep":
        return seeded(lambda: models.mlp([64, 5, 8, 3], "relu")), "2"
    return seeded(lambda: models.mlp([64, 8, 3], kind)), "0"


KINDS = ["tanh", "gelu", "deep", "conv", "last conv"]
