"""Small networks, their symmetric starts, and the smaller networks they then are."""

from .factors import MatrixFactorisation, ProductRegression, SymmetricFactorisation
from .networks import ACTIVATIONS, conv_net, linear_autoencoder, mlp
from .resnet import resnet18
from .smaller import merge_units, without_units
from .starts import kill_units, tie_units
from .vit import vit

__all__ = [
    "ACTIVATIONS",
    "MatrixFactorisation",
    "ProductRegression",
    "SymmetricFactorisation",
    "conv_net",
    "kill_units",
    "linear_autoencoder",
    "merge_units",
    "mlp",
    "resnet18",
    "tie_units",
    "vit",
    "without_units",
]
