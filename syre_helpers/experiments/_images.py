"""Images in the experiments: loaded, in batches, in parts, and what is measured on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .. import data
from ..data import DataSplit
from ..training.batches import StackedOrder
from ..training.options import Measure

Batch = tuple[Tensor, Tensor]


def load_images(
    name: str, n_train: int | None = None, n_test: int | None = None, device: str = "cpu"
) -> DataSplit:
    """Return a data set of images and labels.

    Parameters
    ----------
    name : str
        A loader of ``syre_helpers.data``.
    n_train, n_test : int, optional
        How many images to take, from the first on. Default: all. Without a meaning for digits.
    device : str
        Where to put them. Default "cpu".

    Returns
    -------
    DataSplit
        Training and test images and labels.
    """
    loader = getattr(data, name)
    split = loader() if name == "digits" else loader(n_train, n_test)
    return DataSplit(*(part.to(device) for part in split))


def batches(
    x: Tensor,
    y: Tensor,
    batch_size: int,
    seed: int,
    change: Callable[[Tensor, int], Tensor] = lambda x, step: x,
) -> Callable[[int], Batch]:
    """Return the training batch as a function of the step, in the order that `fit` would take.

    Parameters
    ----------
    x, y : Tensor
        All inputs and targets, on any device.
    batch_size : int
        Samples per batch.
    seed : int
        Sets the order.
    change : callable, optional
        ``change(x, step)`` returns other inputs, an augmentation. Default: none.

    Returns
    -------
    callable
        ``batch(step)`` returns inputs and targets. A function is not evaluated on all training
        data at once, which may not fit into memory.
    """
    # An epoch's order goes to the device once: a copy per step would make a GPU wait.
    order = StackedOrder(len(y), batch_size, [seed], y.device)

    def batch(step: int) -> Batch:
        index = order.at(step)[0]
        return change(x[index], step), y[index]

    return batch


def in_parts(function: Callable[[Tensor], Tensor], x: Tensor, size: int = 1000) -> Tensor:
    """Return a function's values at many inputs, part by part, so that they fit into memory.

    Parameters
    ----------
    function : callable
        Maps inputs (samples, ...) to outputs (samples, ...).
    x : Tensor
        All inputs.
    size : int
        Samples per part. Default 1000.

    Returns
    -------
    Tensor
        All outputs, (samples, ...).
    """
    return torch.cat([function(part) for part in x.split(size)])


def accuracy(x: Tensor, y: Tensor) -> Measure:
    """Return the measure "share of images whose class is predicted".

    Parameters
    ----------
    x, y : Tensor
        Images and labels.

    Returns
    -------
    callable
        ``measure(params, predict)``, as `fit` wants it.
    """
    return lambda params, predict: (in_parts(predict, x).argmax(1) == y).float().mean()


def mean_loss(x: Tensor, y: Tensor) -> Measure:
    """Return the measure "mean cross entropy".

    Parameters
    ----------
    x, y : Tensor
        Images and labels.

    Returns
    -------
    callable
        ``measure(params, predict)``, as `fit` wants it.
    """
    return lambda params, predict: cross_entropy(in_parts(predict, x), y)
