"""The sets of images: one table, and a loader for each."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from .._checks import check_fraction, check_positive_int
from .generated import make_generator
from .readers import ImageSet, read_cifar, read_idx_set, read_jpeg
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
        Fraction of each class, between 0 and 1, that is kept for testing. Default 0.25: 1,347
        training and 450 test images.
    dtype : torch.dtype
        Default float32.

    Returns
    -------
    DataSplit
        Inputs (samples, 64), one row of the image after the other; targets are the digits, int64.

    Raises
    ------
    ValueError
        If the fraction is not strictly between 0 and 1, or so small or large that a class is left
        out.

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
    if not 0 < check_fraction("test_share", test_share) < 1:
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


class Loader(Protocol):
    """A function that returns a published set of images, or a part of it."""

    def __call__(
        self,
        n_train: int | None = None,
        n_test: int | None = None,
        seed: int = 0,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> DataSplit:
        """Return the images."""


def _loader(described: Callable[[], None]) -> Loader:
    """Return the loader of a set of the table, from a function with the set's name and text."""

    def load(
        n_train: int | None = None,
        n_test: int | None = None,
        seed: int = 0,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> DataSplit:
        """Return the images.

        Parameters
        ----------
        n_train, n_test : int, optional
            Numbers of images of each part, drawn at random. Default: all, in the original order.
        seed : int
            Of that draw. Default 0.
        dtype : torch.dtype
            Default float32.

        Returns
        -------
        DataSplit
            Inputs, see above; targets are the classes, int64.

        Raises
        ------
        DataError
            If a file is damaged, or is nowhere to be found; says what was tried and what to do.
        ValueError
            If a number of images is not positive or more than there are.
        """
        source = SETS[described.__name__]
        check_dtype(dtype)
        generator = make_generator(seed)
        numbers = {"n_train": n_train, "n_test": n_test}
        for (argument, number), size in zip(numbers.items(), source.sizes, strict=True):
            if number is not None and check_positive_int(argument, number) > size:
                raise ValueError(
                    f"{argument}={number} is more than the {size} images that there are"
                )
        train, test = (
            torch.randperm(size, generator=generator)[:number]
            if source.shuffled or number
            else torch.arange(size)
            for number, size in zip(numbers.values(), source.sizes, strict=True)
        )
        split: list[Tensor] = []
        for images, labels in source.read(source, (train, test)):
            scaled = _scaled(images, source, dtype)
            split += [scaled.flatten(1) if source.flat else scaled, labels.to(torch.int64)]
        return DataSplit(*split)

    text, heading, references = inspect.cleandoc(described.__doc__ or "").partition(
        "\n\nReferences\n"
    )
    sections = inspect.cleandoc(load.__doc__ or "").partition("\n\n")[2]
    load.__doc__ = f"{text}\n\n{sections}{heading}{references}"
    load.__name__ = load.__qualname__ = described.__name__
    return load


@_loader
def mnist() -> None:
    """Return MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels.

    Looked for in the folder that the environment variable SYRE_DATA_DIR names (in ``mnist/`` or
    directly), then in the cache, then downloaded (12 MB). The content is compared with the
    published checksums every time. Pixels are divided by 255, then 0.1307, the mean of the training
    pixels, is subtracted, and the result divided by their standard deviation 0.3081. Inputs have
    shape (samples, 784), one row of the image after the other.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document
    recognition, Proceedings of the IEEE 86 (1998).
    """


@_loader
def fashion_mnist() -> None:
    """Return Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28 x 28 pixels, in ten classes.

    Found and checked as `mnist` is (folder ``fashion-mnist/``, 31 MB). Pixels are divided by 255,
    then 0.2860, the mean of the training pixels, is subtracted, and the result divided by their
    standard deviation 0.3530. Inputs have shape (samples, 784), one row of the image after the
    other.

    References
    ----------
    H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine
    learning algorithms, arXiv:1708.07747 (2017).
    """


@_loader
def cifar10() -> None:
    """Return CIFAR-10: 50,000 + 10,000 colour photographs of 32 x 32 pixels in ten classes.

    Looked for in the folder that the environment variable SYRE_DATA_DIR names (in ``cifar10/`` or
    directly), then in the cache, then downloaded (170 MB, the binary version). The archive is
    compared with the published checksum every time. Pixels are divided by 255; then the means of
    the three channels (0.4914, 0.4822, 0.4465) are subtracted, and the result divided by the
    channels' standard deviations (0.2470, 0.2435, 0.2616). Inputs have shape (samples, 3, 32, 32);
    all images take 740 MB in float32.

    References
    ----------
    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report,
    University of Toronto, 2009.
    """


@_loader
def cifar100() -> None:
    """Return CIFAR-100: 50,000 + 10,000 colour photographs of 32 x 32 pixels in 100 classes.

    Found, checked and scaled as `cifar10` is (folder ``cifar100/``, 169 MB), with the channels'
    means (0.5071, 0.4865, 0.4409) and standard deviations (0.2673, 0.2564, 0.2762). Inputs have
    shape (samples, 3, 32, 32); the targets are the 100 fine classes, not the 20 coarse ones.

    References
    ----------
    As for `cifar10`.
    """


@_loader
def cifar10_jpeg() -> None:
    """Return CIFAR-10 (JPEG): CIFAR-10 as it looks after having been saved as JPEG, quality 75.

    Looked for as ``cifar10-jpeg.tar.xz`` in the folder that the environment variable SYRE_DATA_DIR
    names (in ``cifar10-jpeg/`` or directly). There is nowhere to download it from; `cifar10` is the
    original set. The content is compared with a checksum every time. Scaled as `cifar10` is, with
    inputs and targets of the same shapes and numbers. The images always come in random order, since
    the archive has them class by class. Reading all of them takes about a minute, and needs Pillow
    (``pip install "syre_helpers[vision]"``; without it, an ImportError says so).

    Saving as JPEG loses detail, so the pixels are not those of CIFAR-10: call the set
    "CIFAR-10 (JPEG)" wherever a number from it is shown.

    References
    ----------
    As for `cifar10`.
    """


def _idx_set(
    name: str,
    folder: str,
    mirrors: tuple[str, ...],
    scale: tuple[float, float],
    sums: Sequence[tuple[str, str]],
) -> ImageSet:
    """Return a set in MNIST's format; `sums` are MD5 sums of the packed and the unpacked files."""
    files = [
        f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return ImageSet(
        name,
        folder,
        mirrors,
        files={file: packed for file, (packed, _) in zip(files, sums, strict=True)},
        content={
            "md5 of unpacked files": {f: md5 for f, (_, md5) in zip(files, sums, strict=True)}
        },
        read=read_idx_set,
        sizes=(60_000, 10_000),
        shape=(1, 28, 28),
        scale=(scale[:1], scale[1:]),
        flat=True,
    )


_KRIZHEVSKY = ("https://www.cs.toronto.edu/~kriz/",)
_CIFAR10_SCALE = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_CIFAR10_JPEG_SUM = "58960b6e642146b0225337fe83cc2c82190a0a71a5fda779fb7d04a00c1b6a64"

SETS = {
    "mnist": _idx_set(
        "MNIST",
        "mnist",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (0.1307, 0.3081),
        (
            ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
            ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
            ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
            ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
        ),
    ),
    "fashion_mnist": _idx_set(
        "Fashion-MNIST",
        "fashion-mnist",
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            # the address that its authors name; it has no https
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        (0.2860, 0.3530),
        (
            ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
            ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
            ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
    ),
    "cifar10": ImageSet(
        "CIFAR-10",
        "cifar10",
        _KRIZHEVSKY,
        files={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        read=read_cifar,
        scale=_CIFAR10_SCALE,
        members=(
            tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
            ("cifar-10-batches-bin/test_batch.bin",),
        ),
    ),
    "cifar100": ImageSet(
        "CIFAR-100",
        "cifar100",
        _KRIZHEVSKY,
        files={"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
        read=read_cifar,
        scale=((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
        classes=100,
        members=(("cifar-100-binary/train.bin",), ("cifar-100-binary/test.bin",)),
        label_bytes=2,
    ),
    "cifar10_jpeg": ImageSet(
        "CIFAR-10 (JPEG)",
        "cifar10-jpeg",
        mirrors=(),
        files={"cifar10-jpeg.tar.xz": ""},
        read=read_jpeg,
        scale=_CIFAR10_SCALE,
        content={"sha256 of content": _CIFAR10_JPEG_SUM},
        class_names=_CIFAR10_CLASSES,
        shuffled=True,
    ),
}
"""The published sets, by the name of their function."""


def _scaled(images: Tensor, source: ImageSet, dtype: torch.dtype) -> Tensor:
    """Return (bytes over 255 minus each channel's mean) over its standard deviation: one copy."""
    scaled = images.to(dtype, memory_format=torch.contiguous_format, copy=True).div_(255)
    for channel, mean, std in zip(scaled.unbind(1), *source.scale, strict=True):
        channel.sub_(mean).div_(std)
    return scaled


def _stratified(
    labels: Tensor, test_share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the indices of training and test samples, each in random order."""
    # The classes' fractions of the test set are exact but for rounding: the samples are put in
    # order of class, and evenly spaced ones are taken.
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
