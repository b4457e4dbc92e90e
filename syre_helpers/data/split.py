"""What every data set of inputs and targets is returned as."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class DataSplit(NamedTuple):
    """Training and test data.

    Attributes
    ----------
    x_train, x_test : Tensor
        Inputs, shape (samples, features), floating point.
    y_train, y_test : Tensor
        Targets: class numbers, shape (samples,), int64; or real numbers, see the data set.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def check_dtype(dtype: object) -> None:
    """Raise ValueError unless the dtype is one of real floating point numbers."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype!r} must be a floating point type such as torch.float32")
