"""Data sets: bundled, downloaded with their checksums verified, and generated from a seed."""

from .augment import cropped_and_recoloured, moved_and_noisy, shifted_and_mirrored
from .files import DataError
from .generated import linear_regression, low_rank_matrix, teacher_regression
from .packaged import packaged_file, packaged_origin, packaged_weights
from .recorded import recorded
from .sets import cifar10, cifar10_jpeg, cifar100, digits, fashion_mnist, mnist
from .source_code import source_code_origin, source_files, standard_library
from .split import DataSplit

__all__ = [
    "DataError",
    "DataSplit",
    "cifar10",
    "cifar10_jpeg",
    "cifar100",
    "cropped_and_recoloured",
    "digits",
    "fashion_mnist",
    "linear_regression",
    "low_rank_matrix",
    "mnist",
    "moved_and_noisy",
    "packaged_file",
    "packaged_origin",
    "packaged_weights",
    "recorded",
    "shifted_and_mirrored",
    "source_code_origin",
    "source_files",
    "standard_library",
    "teacher_regression",
]
