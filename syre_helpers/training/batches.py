"""Data for training steps: what the batch of step t is depends on (seed, t) only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Pair = tuple[Tensor | None, Tensor]
Data = Sequence[Tensor | None] | Callable[[int], Pair]
"""Inputs and targets: ``(x, y)``, a ``DataSplit``, or a function of the step that returns a pair.

`x` is None for models that take no input, such as matrix factorisations.
"""


class Batch(NamedTuple):
    """What stacked models learn from: all data and which of them, or the data themselves.

    `which` has shape (models, batch size); None where all models see all of `x` and `y`.
    """

    x: Tensor | None
    y: Tensor
    which: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """Those that there are."""
        return [t for t in self if t is not None]

    @property
    def kind(self) -> tuple[object, ...]:
        """What a recorded step depends on."""
        return tuple(None if t is None else (t.shape, t.dtype) for t in self)


def checked_pairs(data: Data, dtype: torch.dtype, device: torch.device) -> tuple[Pair, Pair | None]:
    """Return the training pair and the test pair (None without one) on a device.

    Raises
    ------
    ValueError
        If a tensor is empty or holds NaN, or inputs and targets differ in number.
    """
    if callable(data) or len(data) not in (2, 4):
        raise ValueError(
            "data must be (x, y), (x_train, y_train, x_test, y_test) or a function of the step"
        )
    pairs = [_checked(data[k], data[k + 1], dtype, device) for k in range(0, len(data), 2)]
    return pairs[0], pairs[1] if len(pairs) == 2 else None


def _checked(x: Tensor | None, y: Tensor | None, dtype: torch.dtype, device: torch.device) -> Pair:
    if y is None:
        raise ValueError("data has no targets: y is None")
    for name, tensor in (("x", x), ("y", y)):
        if tensor is None:
            continue
        if tensor.numel() == 0:
            raise ValueError(
                f"data: {name} is empty (shape {tuple(tensor.shape)}); pass at least one sample"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"data: {name} holds NaN or infinite values; clean it first")
    if x is not None and len(x) != len(y):
        raise ValueError(f"data: x has {len(x)} samples and y has {len(y)}; they must match")
    return None if x is None else _moved(x, dtype, device), _moved(y, dtype, device)


def _moved(tensor: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Move to the device; floating tensors take the model's dtype, labels keep theirs."""
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


class BatchOrder:
    """Indices of minibatches, without replacement within an epoch.

    Each epoch's permutation comes from a generator of its own, so the batch of any step is known
    without running the steps before it: a resumed run needs no generator state.

    Parameters
    ----------
    samples : int
        Size of the training set.
    batch_size : int
        Size of a batch; the remainder of an epoch is dropped.
    seed : int
        Runs with the same seed see the same batches, whatever their arm.

    Raises
    ------
    ValueError
        If the batch size is not between 1 and the number of samples.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= samples:
            raise ValueError(
                f"batch_size={batch_size} must be between 1 and the {samples} training samples"
            )
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> Tensor:
        """Return the indices of the batch of a step, counted from 0; shape (batch_size,)."""
        epoch, k = divmod(step, self._samples // self._batch_size)
        if epoch != self._epoch:
            self._order = _order_of(self._samples, self._seed, epoch)
            self._epoch = epoch
        return self._order[k * self._batch_size : (k + 1) * self._batch_size]


class StackedOrder:
    """The same for several seeds at once: an epoch at a time, on the device of the data.

    Parameters
    ----------
    samples, batch_size : int
        As in `BatchOrder`.
    seeds : sequence of int
        One a model; models with the same seed see the same batches.
    device : torch.device
        Where the indices are wanted.
    """

    def __init__(
        self, samples: int, batch_size: int, seeds: Sequence[int], device: torch.device
    ) -> None:
        BatchOrder(samples, batch_size, 0)  # the same sizes are in range
        self._samples = samples
        self._batch_size = batch_size
        self._seeds = list(dict.fromkeys(seeds))
        self._which = torch.tensor([self._seeds.index(seed) for seed in seeds], device=device)
        self._epoch = -1
        self._order = torch.empty(0, 0, dtype=torch.int64)

    def at(self, step: int) -> Tensor:
        """Return the indices of the batches of a step; shape (models, batch_size)."""
        epoch, k = divmod(step, self._samples // self._batch_size)
        if epoch != self._epoch:
            orders = [_order_of(self._samples, seed, epoch) for seed in self._seeds]
            self._order = torch.stack(orders).to(self._which.device)
            self._epoch = epoch
        return self._order[:, k * self._batch_size : (k + 1) * self._batch_size][self._which]


class Source:
    """The data of stacked models.

    Parameters
    ----------
    data : tuple or callable
        As in `fit_many`.
    reference : Tensor
        A parameter: data go to its device and take its type.
    batch_size : int or None
        As in `fit_many`.

    Raises
    ------
    ValueError
        If data are bad, or `batch_size` does not suit them.
    """

    def __init__(self, data: Data, reference: Tensor, batch_size: int | None) -> None:
        self._function = data if callable(data) else None
        self._batch_size = batch_size
        self._train: Pair | None = None
        self.test: Pair | None = None
        if not callable(data):
            self._train, self.test = checked_pairs(data, reference.dtype, reference.device)
        if batch_size is not None and (self._train is None or self._train[0] is None):
            raise ValueError("batch_size needs data with inputs: (x, y), not a function or x=None")

    @property
    def samples(self) -> int:
        """How many there are, of training or test data; 1 where data are a function."""
        pairs = [pair for pair in (self._train, self.test) if pair is not None]
        return max((len(y) for _, y in pairs), default=1)

    def pair(self, step: int) -> Pair:
        """Return the training pair: all of it, or that of a step where data are a function."""
        if self._function is not None:
            return self._function(step)
        assert self._train is not None
        return self._train

    def batches(self, seeds: Sequence[int]) -> Callable[[int], Batch]:
        """Return the batches of models with these seeds, as a function of the step."""
        if self._batch_size is None:
            return lambda step: Batch(*self.pair(step))
        x, y = self.pair(0)
        order = StackedOrder(len(y), self._batch_size, seeds, y.device)
        return lambda step: Batch(x, y, order.at(step))


def _order_of(samples: int, seed: int, epoch: int) -> Tensor:
    # Mixed so that seeds and epochs do not share generators: (seed 1, epoch 0) and (0, 1).
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(samples, generator=generator)
