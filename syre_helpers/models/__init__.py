"""Small networks, their symmetric starts, and the smaller networks they then are."""

from .efficientnet import (
    GatedChannels,
    efficientnet_lite0,
    efficientnet_lite0_names,
    gated_channels,
)
from .factorisation import MatrixFactorisation, ProductRegression, SymmetricFactorisation
from .gpt import gpt
from .heads import head_products, with_heads_cut
from .mlp_cnn import ACTIVATIONS, conv_net, linear_autoencoder, mlp
from .reduced import merge_units, without_units
from .resnet import resnet18
from .symmetric_starts import kill_units, tie_units
from .vit import vit

__all__ = [
    "ACTIVATIONS",
    "GatedChannels",
    "MatrixFactorisation",
    "ProductRegression",
    "SymmetricFactorisation",
    "conv_net",
    "efficientnet_lite0",
    "efficientnet_lite0_names",
    "gated_channels",
    "gpt",
    "head_products",
    "kill_units",
    "linear_autoencoder",
    "merge_units",
    "mlp",
    "resnet18",
    "tie_units",
    "vit",
    "with_heads_cut",
    "without_units",
]
