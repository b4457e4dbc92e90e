"""Data for training steps: what the batch of step t is depends on (seed, t) only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Pair = tuple[Tensor | None, Tensor]
Data = Sequence[Tensor | None] | Callable[[int], Pair]
"""Inputs and targets: ``(x, y)``, a ``DataSplit``, or a function of the step that returns a pair.

`x` is None for models that take no input, such as matrix factorisations.
"""


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
            # Mixed so that seeds and epochs do not share generators: (seed 1, epoch 0) and (0, 1).
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
            self._order = torch.randperm(self._samples, generator=generator)
            self._epoch = epoch
        return self._order[k * self._batch_size : (k + 1) * self._batch_size]
