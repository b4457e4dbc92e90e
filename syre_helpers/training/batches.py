"""Data for training steps: the batch of step t depends on (seed, t) only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._checks import check_positive_int

Pair = tuple[Tensor | None, Tensor]
Data = Sequence[Tensor | None] | Callable[[int], Pair]
"""Inputs and targets: ``(x, y)``, a ``DataSplit``, or a function of the step that returns a pair.

`x` is None for models that take no input, such as matrix factorisations.
"""
_NARROW = (torch.uint8, torch.int8, torch.int16, torch.int32)


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
        """What a traced step depends on."""
        return tuple(None if t is None else (t.shape, t.dtype) for t in self)

    def of_first(self) -> Pair:
        """Return the inputs and targets of the first model."""
        if self.which is None:
            return self.x, self.y
        which = self.which[0]
        return None if self.x is None else self.x[which], self.y[which]


class StackedOrder:
    """Indices of minibatches, without replacement within an epoch, for several seeds at once.

    Each epoch's permutation comes from a generator of its own, so the batch of any step is known
    without running the steps before it: a resumed run needs no generator state.

    Parameters
    ----------
    samples : int
        Size of the training set.
    batch_size : int
        Size of a batch; the remainder of an epoch is dropped.
    seeds : sequence of int
        One per model; models with the same seed see the same batches, whatever their arm.
    device : torch.device
        Where the indices are wanted.

    Raises
    ------
    ValueError
        If the batch size is not between 1 and the number of samples.
    """

    def __init__(
        self, samples: int, batch_size: int, seeds: Sequence[int], device: torch.device
    ) -> None:
        self._batch_size = check_positive_int("batch_size", batch_size)
        if self._batch_size > samples:
            raise ValueError(
                f"batch_size={batch_size} must be between 1 and the {samples} training samples"
            )
        self._samples = samples
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


class BatchOrder(StackedOrder):
    """Indices of one model's minibatches, as in `StackedOrder`; on the CPU.

    Parameters
    ----------
    samples, batch_size : int
        As in `StackedOrder`.
    seed : int
        The seed of the run.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        super().__init__(samples, batch_size, [seed], torch.device("cpu"))

    def at(self, step: int) -> Tensor:
        """Return the indices of the batch of a step, counted from 0; shape (batch_size,)."""
        return super().at(step)[0]


class Batches:
    """The data of one model or many: the batch of each step, and the pairs that are measured.

    Parameters
    ----------
    data : tuple or callable
        As in `train_many`.
    reference : Tensor
        A parameter: data go to its device and take its type.
    batch_size : int or None
        As in `train_many`.

    Attributes
    ----------
    test : tuple of Tensor, optional
        The test inputs and targets.

    Raises
    ------
    TypeError
        If data are not tensors.
    ValueError
        If data are bad, or `batch_size` does not suit them.
    """

    def __init__(self, data: Data, reference: Tensor, batch_size: int | None) -> None:
        self._function = data if callable(data) else None
        self._pairs = [] if callable(data) else _checked_pairs(data, reference)
        self.test = self._pairs[1] if len(self._pairs) == 2 else None
        self.batch_size = batch_size
        if batch_size is None:
            return
        if not self._pairs or self._pairs[0][0] is None:
            raise ValueError("batch_size needs data with inputs: (x, y), not a function or x=None")
        BatchOrder(len(self._pairs[0][1]), batch_size, 0)  # the size is in range

    @property
    def samples(self) -> int:
        """How many there are, of training or test data; 1 where data are a function."""
        return max((len(y) for _, y in self._pairs), default=1)

    @property
    def numbers(self) -> int:
        """How many the inputs of them consist of, at most; 1 where data are a function."""
        return max((x.numel() for x, _ in self._pairs if x is not None), default=1)

    def pair(self, step: int) -> Pair:
        """Return the training pair: all of it, or that of a step where data are a function."""
        if self._function is None:
            return self._pairs[0]
        pair: Any = self._function(step)
        if not isinstance(pair, Sequence) or len(pair) != 2 or not isinstance(pair[1], Tensor):
            raise TypeError(f"data({step}) must return a pair of tensors (x, y), got {type(pair)}")
        return pair[0], pair[1]

    def of(self, seeds: Sequence[int]) -> Callable[[int], Batch]:
        """Return the batches of models with these seeds, as a function of the step."""
        if self.batch_size is None:
            return lambda step: Batch(*self.pair(step))
        x, y = self.pair(0)
        order = StackedOrder(len(y), self.batch_size, seeds, y.device)
        return lambda step: Batch(x, y, order.at(step))

    def examples(self, steps: int) -> list[Tensor | None]:
        """Return the tensors that tell these data from others.

        Parameters
        ----------
        steps : int
            Of the run. Where data are a function, its first and its last batch count.

        Returns
        -------
        list of Tensor or None
            Inputs and targets in turn.
        """
        pairs = self._pairs or [self.pair(0), self.pair(steps - 1)]
        return [tensor for pair in pairs for tensor in pair]


def _checked_pairs(data: Sequence[Tensor | None], reference: Tensor) -> list[Pair]:
    """Return the training pair, and the test pair if there is one, like a parameter."""
    if not isinstance(data, Sequence):
        raise TypeError(
            f"data is a {type(data).__name__}; pass tensors (x, y) of all samples with "
            "batch_size=..., or a function of the step that returns the (x, y) of that step"
        )
    if len(data) not in (2, 4):
        raise ValueError(
            "data must be (x, y), (x_train, y_train, x_test, y_test) or a function of the step"
        )
    return [_checked(data[k], data[k + 1], reference) for k in range(0, len(data), 2)]


def _checked(x: Tensor | None, y: Tensor | None, reference: Tensor) -> Pair:
    if y is None:
        raise ValueError("data has no targets: y is None")
    for name, tensor in (("x", x), ("y", y)):
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise TypeError(f"data: {name} is a {kind}; pass torch.as_tensor({name})")
        if tensor.numel() == 0:
            raise ValueError(
                f"data: {name} is empty (shape {tuple(tensor.shape)}); pass at least one sample"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"data: {name} holds NaN or infinite values; clean it first")
    if x is not None and len(x) != len(y):
        raise ValueError(f"data: x has {len(x)} samples and y has {len(y)}; they must match")
    # PyTorch's losses take labels of 64 bits only.
    wide = y.long() if y.dtype in _NARROW else y
    return None if x is None else _moved(x, reference), _moved(wide, reference)


def _moved(tensor: Tensor, reference: Tensor) -> Tensor:
    """Move to the device; floating tensors take the model's dtype, labels keep theirs."""
    floating = tensor.is_floating_point()
    return tensor.to(reference.device, reference.dtype if floating else tensor.dtype)


def _order_of(samples: int, seed: int, epoch: int) -> Tensor:
    # Mixed so that seeds and epochs do not share generators: (seed 1, epoch 0) and (0, 1).
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(samples, generator=generator)
