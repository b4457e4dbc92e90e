"""Data sets: bundled, downloaded with their checksums verified, and generated from a seed."""

from .files import DataError
from .generated import linear_regression, low_rank_matrix, teacher_regression
from .images import digits, mnist
from .split import DataSplit

__all__ = [
    "DataError",
    "DataSplit",
    "digits",
    "linear_regression",
    "low_rank_matrix",
    "mnist",
    "teacher_regression",
]
