"""CIFAR-10 and CIFAR-100 in their binary versions.

Format: https://www.cs.toronto.edu/~kriz/cifar.html. One record an image: the label (CIFAR-100: the
coarse one, then the fine one) and 3,072 bytes, the red, green and blue channel, row by row. Nothing
is unpickled, and the archive is read as a stream: nothing is extracted to the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .files import RemoteFile, load
from .generated import make_generator
from .idx import FormatError
from .pixels import check_number, draw, scale
from .split import DataSplit, check_dtype

SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
CIFAR10_SCALE = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)


@dataclass(frozen=True)
class CifarSet:
    """A CIFAR set: where it is, and what it must hold.

    Attributes
    ----------
    file : RemoteFile
        The archive, with its published MD5 sum.
    train, test : tuple of str
        Names of the archive's members, in order.
    n_train, n_test : int
        Numbers of images of all training members together, and of all test members.
    labels : int
        Bytes of labels that precede the pixels; the last of them is used.
    classes : int
        Labels are smaller than this.
    scale : tuple
        Means and standard deviations of the training pixels over 255, one a channel.
    """

    file: RemoteFile
    train: tuple[str, ...]
    test: tuple[str, ...]
    n_train: int
    n_test: int
    labels: int
    classes: int
    scale: tuple[tuple[float, ...], tuple[float, ...]]


CIFAR10 = CifarSet(
    RemoteFile("cifar10", "cifar-10-binary.tar.gz", _MIRRORS, "c32a1d4ab5d03f1284b67883e8d87530"),
    train=tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    test=("cifar-10-batches-bin/test_batch.bin",),
    n_train=50_000,
    n_test=10_000,
    labels=1,
    classes=10,
    scale=CIFAR10_SCALE,
)
CIFAR100 = CifarSet(
    RemoteFile("cifar100", "cifar-100-binary.tar.gz", _MIRRORS, "03b5dce01913d631647c71ecec9e9cb8"),
    train=("cifar-100-binary/train.bin",),
    test=("cifar-100-binary/test.bin",),
    n_train=50_000,
    n_test=10_000,
    labels=2,
    classes=100,
    scale=((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)


def cifar10(
    n_train: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
) -> DataSplit:
    """Return CIFAR-10: 50,000 + 10,000 colour photographs of 32 x 32 pixels in ten classes.

    Looked for in the folder that the environment variable SYRE_DATA_DIR names (in ``cifar10/`` or
    directly), then in the cache, then downloaded (170 MB, the binary version). The archive is
    compared with the published checksum every time. Pixels are divided by 255; then the means of
    the three channels (0.4914, 0.4822, 0.4465) are subtracted, and the result divided by the
    channels' standard deviations (0.2470, 0.2435, 0.2616). All images take 740 MB in float32.

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
        Inputs (samples, 3, 32, 32); targets are the classes, int64.

    Raises
    ------
    DataError
        If the file is damaged, or is nowhere to be found; says what was tried and what to do.
    ValueError
        If a number of images is not positive or more than there are.

    References
    ----------
    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report,
    University of Toronto, 2009.
    """
    return _images(CIFAR10, n_train, n_test, seed, dtype)


def cifar100(
    n_train: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
) -> DataSplit:
    """Return CIFAR-100: 50,000 + 10,000 colour photographs of 32 x 32 pixels in 100 classes.

    Found, checked and scaled as `cifar10` is (folder ``cifar100/``, 169 MB), with the channels'
    means (0.5071, 0.4865, 0.4409) and standard deviations (0.2673, 0.2564, 0.2762). The targets are
    the 100 fine classes, not the 20 coarse ones.

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
        Inputs (samples, 3, 32, 32); targets are the classes, int64.

    Raises
    ------
    DataError
        If the file is damaged, or is nowhere to be found; says what was tried and what to do.
    ValueError
        If a number of images is not positive or more than there are.

    References
    ----------
    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report,
    University of Toronto, 2009.
    """
    return _images(CIFAR100, n_train, n_test, seed, dtype)


def _images(
    source: CifarSet, n_train: int | None, n_test: int | None, seed: int, dtype: torch.dtype
) -> DataSplit:
    check_dtype(dtype)
    generator = make_generator(seed)
    check_number("n_train", n_train, source.n_train)
    check_number("n_test", n_test, source.n_test)
    train, test = load(source.file, lambda path: read_cifar(path, source))
    return DataSplit(
        *_scaled(source, train, draw(len(train), n_train, generator), dtype),
        *_scaled(source, test, draw(len(test), n_test, generator), dtype),
    )


def _scaled(
    source: CifarSet, records: Tensor, chosen: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    if chosen is not None:
        records = records[chosen]
    images = records[:, source.labels :].view(-1, *SHAPE)
    return scale(images, *source.scale, dtype), records[:, source.labels - 1].to(torch.int64)


def read_cifar(path: Path, source: CifarSet) -> tuple[Tensor, Tensor]:
    """Read an archive and check all that can be checked.

    Parameters
    ----------
    path : Path
        The file.
    source : CifarSet
        What it must hold.

    Returns
    -------
    tuple of Tensor
        The training and the test records, uint8, one row an image: labels, then pixels.

    Raises
    ------
    FormatError
        If the file is not a gzipped tar archive, is cut short, holds something else, or has been
        altered.
    OSError
        If the file cannot be read.
    """
    try:
        parts = _read_members(path, source)
    except EOFError:
        raise FormatError("it is truncated: the gzip stream ends early") from None
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise FormatError(f"it is not a sound gzipped tar archive ({error})") from None
    with path.open("rb") as file:
        # A check against damage and mix-ups; MD5 is what the source publishes.
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != source.file.md5:
        raise FormatError(f"its content was altered: MD5 {found}, expected {source.file.md5}")
    return parts


def _read_members(path: Path, source: CifarSet) -> tuple[Tensor, Tensor]:
    width = source.labels + _PIXELS
    parts = tuple(torch.empty(n, width, dtype=torch.uint8) for n in (source.n_train, source.n_test))
    missing = {
        name: rows
        for part, names in zip(parts, (source.train, source.test), strict=True)
        for name, rows in zip(names, part.chunk(len(names)), strict=True)
    }
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            rows = missing.pop(member.name, None)
            if rows is None:
                continue
            if member.size != rows.numel():
                raise FormatError(
                    f"its {member.name} has {member.size} bytes, expected {rows.numel()}: "
                    f"{len(rows)} records of {width}"
                )
            content = archive.extractfile(member)
            if content is None:
                raise FormatError(f"its {member.name} is not a plain file")
            content.readinto(rows.numpy().reshape(-1))  # type: ignore[attr-defined]
            if int(rows[:, source.labels - 1].max()) >= source.classes:
                raise FormatError(f"its {member.name} has labels of {source.classes} and more")
    if missing:
        raise FormatError(f"it holds no {', '.join(missing)}")
    return parts  # type: ignore[return-value]
