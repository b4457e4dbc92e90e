"""Data sets: bundled, downloaded with their checksums verified, and generated from a seed."""

from .files import DataError
from .generated import linear_regression, low_rank_matrix, teacher_regression
from .sets import cifar10, cifar10_jpeg, cifar100, digits, fashion_mnist, mnist
from .split import DataSplit

__all__ = [
    "DataError",
    "DataSplit",
    "cifar10",
    "cifar10_jpeg",
    "cifar100",
    "digits",
    "fashion_mnist",
    "linear_regression",
    "low_rank_matrix",
    "mnist",
    "teacher_regression",
]
