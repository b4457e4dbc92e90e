"""Networks as plain ``nn.Sequential``: every layer is found by its position, "0", "2" and so on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from torch import nn

from .._checks import check_positive_int

ACTIVATIONS: dict[str, type[nn.Module] | None] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "linear": None,
}
"""Activations that `mlp` knows by name; "linear" puts nothing between the layers."""


def mlp(
    widths: Sequence[int],
    activation: str | Callable[[], nn.Module] = "tanh",
    bias: bool = True,
) -> nn.Sequential:
    """Return a fully connected network.

    Parameters
    ----------
    widths : sequence of int
        Numbers of inputs, hidden units (none or more layers) and outputs.
    activation : str or callable, default "tanh"
        A name in `ACTIVATIONS`, or a function of no arguments that makes a module, such as the
        class ``nn.ELU``. It stands between the layers, not after the last.
    bias : bool, default True
        Whether every layer has a bias.

    Returns
    -------
    nn.Sequential
        Maps (..., widths[0]) to (..., widths[-1]). Linear layers are named "0", "2", "4" and so on;
        "0", "1", "2" where the activation is "linear". PyTorch's own initialisation, float32.

    Raises
    ------
    TypeError
        If `widths` is no list.
    ValueError
        If there are fewer than two widths, one is not a positive int, or the name is not known.

    Examples
    --------
    >>> mlp([64, 32, 10], "relu")
    Sequential(
      (0): Linear(in_features=64, out_features=32, bias=True)
      (1): ReLU()
      (2): Linear(in_features=32, out_features=10, bias=True)
    )
    """
    given: object = widths
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"widths={widths!r} must be a list of numbers of units")
    widths = [check_positive_int("widths", width) for width in widths]
    if len(widths) < 2:
        raise ValueError(
            f"widths={widths!r} needs at least two numbers: the inputs and the outputs"
        )
    make_activation = activation_factory(activation)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        if layers and make_activation is not None:
            layers.append(make_activation())
        layers.append(nn.Linear(inputs, outputs, bias=bias))
    return nn.Sequential(*layers)


def linear_autoencoder(d: int, latent: int) -> nn.Sequential:
    """Return a linear autoencoder without biases: the encoder is layer "0", the decoder layer "1".

    Parameters
    ----------
    d : int
        Number of inputs, and of outputs.
    latent : int
        Size of the code.

    Returns
    -------
    nn.Sequential
        Maps (..., d) to (..., d). Any rotation of the code leaves the function as it is.

    Raises
    ------
    ValueError
        If a size is not a positive int.

    Examples
    --------
    >>> [tuple(p.shape) for p in linear_autoencoder(20, 3).parameters()]
    [(3, 20), (20, 3)]
    """
    return mlp(
        [check_positive_int("d", d), check_positive_int("latent", latent), d], "linear", bias=False
    )


def conv_net(
    channels: Sequence[int] = (8, 16),
    n_classes: int = 10,
    image: tuple[int, int, int] = (1, 8, 8),
) -> nn.Sequential:
    """Return a small convolutional network with BatchNorm.

    Each block is a 3 x 3 convolution without bias, ``BatchNorm2d``, ReLU, and a 2 x 2 max pool; a
    linear layer reads the flattened result.

    Parameters
    ----------
    channels : sequence of int, default (8, 16)
        Output channels of each block.
    n_classes : int, default 10
        Number of outputs.
    image : tuple of int, default (1, 8, 8)
        Channels, height and width of one image. The default is that of scikit-learn's digits.

    Returns
    -------
    nn.Sequential
        Maps flat images (batch, channels * height * width), as `syre_helpers.data` gives them, to
        (batch, n_classes). The convolutions are layers "1", "5" and so on, each with its BatchNorm
        one place later.

    Raises
    ------
    ValueError
        If there is no block, a number is not a positive int, or the pools leave no pixel.

    Notes
    -----
    In training mode a BatchNorm writes to its running statistics. Under `torch.func.vmap` stack the
    buffers beside the parameters and pass both to `torch.func.functional_call`; where that happens
    inside `torch.func.grad`, pass copies of the buffers as an argument and return them with
    ``has_aux``.

    Examples
    --------
    >>> import torch
    >>> conv_net()(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """
    depth, height, width = (check_positive_int("image", size) for size in image)
    if not channels:
        raise ValueError("channels is empty; name the output channels of at least one block")
    layers: list[nn.Module] = [nn.Unflatten(1, (depth, height, width))]
    for count in channels:
        check_positive_int("channels", count)
        layers += [nn.Conv2d(depth, count, 3, padding=1, bias=False), nn.BatchNorm2d(count)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        depth, height, width = count, height // 2, width // 2
    if height * width == 0:
        raise ValueError(
            f"channels={tuple(channels)!r} asks for {len(channels)} blocks, but each halves the "
            f"image and {image[1:]} leaves no pixel; use fewer blocks"
        )
    readout = nn.Linear(depth * height * width, check_positive_int("n_classes", n_classes))
    return nn.Sequential(*layers, nn.Flatten(), readout)


def activation_factory(
    activation: str | Callable[[], nn.Module],
) -> Callable[[], nn.Module] | None:
    """Return the function that makes an activation.

    Parameters
    ----------
    activation : str or callable
        A name in `ACTIVATIONS`, or the function itself.

    Returns
    -------
    callable or None
        Makes a module without arguments; None for "linear".

    Raises
    ------
    ValueError
        If the name is not known, or `activation` is a module rather than a class.
    """
    if not isinstance(activation, str):
        if isinstance(activation, nn.Module) or not callable(activation):
            raise ValueError(
                f"activation={activation!r} must be a name or a module class, such as nn.Tanh"
            )
        return activation
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation={activation!r} is not known; use one of {', '.join(ACTIVATIONS)} or a "
            "module class such as nn.ELU"
        )
    return ACTIVATIONS[activation]
