"""Grey images: scikit-learn's small digits, MNIST, and Fashion-MNIST."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import share
from .files import RemoteFile, load
from .generated import make_generator
from .idx import read_idx
from .pixels import check_number, draw, scale
from .split import DataSplit, check_dtype


def digits(
    seed: int = 0, test_share: float = 0.25, *, dtype: torch.dtype = torch.float32
) -> DataSplit:
    """Return scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, split by class.

    Every pixel, 0 to 16 in the original, has the mean of all training pixels subtracted and is
    divided by their standard deviation: two numbers (about 4.9 and 6.0) for the whole set, so that
    empty pixels are all about -0.8 and full ones about 1.8.

    Parameters
    ----------
    seed : int
        Of the split. Default 0.
    test_share : float
        Share of each class, between 0 and 1, that is kept for testing. Default 0.25: 1,347 training
        and 450 test images.
    dtype : torch.dtype
        Default float32.

    Returns
    -------
    DataSplit
        Inputs (samples, 64), a row of the image after the other; targets are the digits, int64.

    Raises
    ------
    ValueError
        If the share is not strictly between 0 and 1, or so small or large that a class is left out.

    References
    ----------
    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998.

    Examples
    --------
    >>> data = digits()
    >>> data.x_train.shape, data.y_test.shape
    (torch.Size([1347, 64]), torch.Size([450]))
    """
    from sklearn.datasets import load_digits

    check_dtype(dtype)
    if not 0 < share("test_share", test_share) < 1:
        raise ValueError(
            f"test_share={test_share!r} must lie between 0 and 1; 0.25 means a quarter"
        )
    bundled = load_digits()
    pixels = torch.from_numpy(bundled.data).to(torch.float64)
    labels = torch.from_numpy(bundled.target).to(torch.int64)
    train, test = _stratified(labels, test_share, make_generator(seed))
    mean, std = pixels[train].mean(), pixels[train].std(correction=0)
    x = ((pixels - mean) / std).to(dtype)
    return DataSplit(x[train], labels[train], x[test], labels[test])


def mnist(
    n_train: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
) -> DataSplit:
    """Return MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels.

    Looked for in the folder that the environment variable SYRE_DATA_DIR names (in ``mnist/`` or
    directly), then in the cache, then downloaded (12 MB). The content is compared with the
    published checksums every time. Pixels are divided by 255, then 0.1307, the mean of the training
    pixels, is subtracted, and the result divided by their standard deviation 0.3081.

    Parameters
    ----------
    n_train, n_test : int, optional
        How many images of each part, drawn at random. Default: all, in the original order.
    seed : int
        Of that draw. Default 0.
    dtype : torch.dtype
        Default float32.

    Returns
    -------
    DataSplit
        Inputs (samples, 784), a row of the image after the other; targets are the digits, int64.

    Raises
    ------
    DataError
        If a file is damaged, or is nowhere to be found; says what was tried and what to do.
    ValueError
        If a number of images is not positive or more than there are.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document
    recognition, Proceedings of the IEEE 86 (1998).
    """
    return _idx_images(MNIST, n_train, n_test, seed, dtype)


def fashion_mnist(
    n_train: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
) -> DataSplit:
    """Return Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28 x 28 pixels, in ten classes.

    Found and checked as `mnist` is (folder ``fashion-mnist/``, 31 MB). Pixels are divided by 255,
    then 0.2860, the mean of the training pixels, is subtracted, and the result divided by their
    standard deviation 0.3530.

    Parameters
    ----------
    n_train, n_test : int, optional
        How many images of each part, drawn at random. Default: all, in the original order.
    seed : int
        Of that draw. Default 0.
    dtype : torch.dtype
        Default float32.

    Returns
    -------
    DataSplit
        Inputs (samples, 784), a row of the image after the other; targets are classes, int64.

    Raises
    ------
    DataError
        If a file is damaged, or is nowhere to be found; says what was tried and what to do.
    ValueError
        If a number of images is not positive or more than there are.

    References
    ----------
    H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine
    learning algorithms, arXiv:1708.07747 (2017).
    """
    return _idx_images(FASHION_MNIST, n_train, n_test, seed, dtype)


@dataclass(frozen=True)
class IdxFile:
    """One file of a set in IDX format: where it is, and what it must hold."""

    name: str
    packed_md5: str
    unpacked_md5: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class IdxSet:
    """Images in IDX format; `mean` and `std` are those of the training pixels over 255."""

    folder: str
    mirrors: tuple[str, ...]
    mean: float
    std: float
    train_images: IdxFile
    train_labels: IdxFile
    test_images: IdxFile
    test_labels: IdxFile


MNIST = IdxSet(
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    mean=0.1307,
    std=0.3081,
    train_images=IdxFile(
        "train-images-idx3-ubyte.gz",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "6bbc9ace898e44ae57da46a324031adb",
        (60_000, 28, 28),
    ),
    train_labels=IdxFile(
        "train-labels-idx1-ubyte.gz",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "a25bea736e30d166cdddb491f175f624",
        (60_000,),
    ),
    test_images=IdxFile(
        "t10k-images-idx3-ubyte.gz",
        "9fb629c4189551a2d022fa330f9573f3",
        "2646ac647ad5339dbf082846283269ea",
        (10_000, 28, 28),
    ),
    test_labels=IdxFile(
        "t10k-labels-idx1-ubyte.gz",
        "ec29112dd5afa0611ce80d1b7f02629c",
        "27ae3e4e09519cfbb04c329615203637",
        (10_000,),
    ),
)


FASHION_MNIST = IdxSet(
    folder="fashion-mnist",
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        # the address that its authors name; it has no https
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    mean=0.2860,
    std=0.3530,
    train_images=IdxFile(
        "train-images-idx3-ubyte.gz",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        (60_000, 28, 28),
    ),
    train_labels=IdxFile(
        "train-labels-idx1-ubyte.gz",
        "25c81989df183df01b3e8a0aad5dffbe",
        "9018921c3c673c538a1fc5bad174d6f9",
        (60_000,),
    ),
    test_images=IdxFile(
        "t10k-images-idx3-ubyte.gz",
        "bef4ecab320f06d8554ea6380940ec79",
        "8181f5470baa50b63fa0f6fddb340f0a",
        (10_000, 28, 28),
    ),
    test_labels=IdxFile(
        "t10k-labels-idx1-ubyte.gz",
        "bb300cfdad3c16e7a12a480ee83cd310",
        "15d484375f8d13e6eb1aabb0c3f46965",
        (10_000,),
    ),
)


def _idx_images(
    source: IdxSet, n_train: int | None, n_test: int | None, seed: int, dtype: torch.dtype
) -> DataSplit:
    check_dtype(dtype)
    generator = make_generator(seed)
    available = source.train_images.shape[0], source.test_images.shape[0]
    check_number("n_train", n_train, available[0])
    check_number("n_test", n_test, available[1])

    def read(file: IdxFile) -> Tensor:
        remote = RemoteFile(source.folder, file.name, source.mirrors, file.packed_md5)
        return load(remote, lambda path: read_idx(path, file.shape, file.unpacked_md5))

    parts: list[Tensor] = []
    for images, labels, number in (
        (source.train_images, source.train_labels, n_train),
        (source.test_images, source.test_labels, n_test),
    ):
        x, y = read(images), read(labels)
        chosen = draw(len(x), number, generator)
        if chosen is not None:
            x, y = x[chosen], y[chosen]
        parts += [
            scale(x[:, None], (source.mean,), (source.std,), dtype).flatten(1),
            y.to(torch.int64),
        ]
    return DataSplit(*parts)


def _stratified(
    labels: Tensor, test_share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the indices of training and test samples, each in random order.

    The classes' shares of the test set are exact but for rounding: the samples are put in order of
    class, and evenly spaced ones are taken.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    count = math.ceil(test_share * len(labels))
    if count < len(labels.unique()) or len(labels) - count < len(labels.unique()):
        raise ValueError(
            f"test_share={test_share} leaves a part with fewer samples than classes; nearer to "
            "0.5 works"
        )
    # evenly spaced places among all samples, in exact integer arithmetic
    places = (torch.arange(count) * len(labels) + len(labels) // 2) // count
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[places] = True
    train, test = by_class[~chosen], by_class[chosen]
    return tuple(p[torch.randperm(len(p), generator=generator)] for p in (train, test))  # type: ignore[return-value]
