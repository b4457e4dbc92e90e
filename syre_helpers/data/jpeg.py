"""CIFAR-10 (JPEG): the images of CIFAR-10 saved again as JPEG, in a packed folder.

The archive holds ``cifar10-jpeg/{train,test}/CLASS/NNNN.jpg``. Saving as JPEG loses detail, so the
pixels are not those of CIFAR-10: call the set "CIFAR-10 (JPEG)" wherever a number from it is shown.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from .cifar import CIFAR10_SCALE, SHAPE
from .files import RemoteFile, load
from .generated import make_generator
from .idx import FormatError
from .pixels import check_number, draw, scale
from .split import DataSplit, check_dtype

NAME = "CIFAR-10 (JPEG)"


@dataclass(frozen=True)
class JpegSet:
    """Packed folders of JPEG images.

    Attributes
    ----------
    file : RemoteFile
        The archive; its `folder` is also the top folder inside it.
    classes : tuple of str
        Names of the classes' folders; the targets number them in this order.
    n_train, n_test : int
        Numbers of images, the same of every class.
    content_sha256 : str
        SHA-256 sum of all images' paths, sizes and bytes, in the order of their paths: two archives
        of the same images have the same, whatever packed them.
    """

    file: RemoteFile
    classes: tuple[str, ...]
    n_train: int
    n_test: int
    content_sha256: str


CIFAR10_JPEG = JpegSet(
    RemoteFile("cifar10-jpeg", "cifar10-jpeg.tar.xz", (), ""),
    classes=(
        "airplane", "automobile", "bird", "cat", "deer",
        "dog", "frog", "horse", "ship", "truck",
    ),
    n_train=50_000,
    n_test=10_000,
    content_sha256="58960b6e642146b0225337fe83cc2c82190a0a71a5fda779fb7d04a00c1b6a64",
)  # fmt: skip


def cifar10_jpeg(
    n_train: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
) -> DataSplit:
    """Return CIFAR-10 (JPEG): CIFAR-10 as it looks after having been saved as JPEG, quality 75.

    Looked for as ``cifar10-jpeg.tar.xz`` in the folder that the environment variable SYRE_DATA_DIR
    names (in ``cifar10-jpeg/`` or directly). There is nowhere to download it from; `cifar10` is the
    original set. The content is compared with a checksum every time. Scaled as `cifar10` is.
    Needs Pillow (``pip install "syre_helpers[vision]"``). Reading all
    images takes about a minute.

    Parameters
    ----------
    n_train, n_test : int, optional
        How many images of each part. Default: all. They always come in random order, since the
        archive has them class by class.
    seed : int
        Of that order. Default 0.
    dtype : torch.dtype
        Default float32.

    Returns
    -------
    DataSplit
        Inputs (samples, 3, 32, 32); targets are the classes as CIFAR-10 numbers them, int64.

    Raises
    ------
    DataError
        If the file is damaged, or not there; says what to do.
    ImportError
        If Pillow is not installed.
    ValueError
        If a number of images is not positive or more than there are.

    References
    ----------
    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report,
    University of Toronto, 2009.
    """
    return _images(CIFAR10_JPEG, n_train, n_test, seed, dtype)


def _images(
    source: JpegSet, n_train: int | None, n_test: int | None, seed: int, dtype: torch.dtype
) -> DataSplit:
    check_dtype(dtype)
    generator = make_generator(seed)
    sizes = ("train", n_train, source.n_train), ("test", n_test, source.n_test)
    for part, number, available in sizes:
        check_number(f"n_{part}", number, available)
    _pillow()

    def read(path: Path) -> DataSplit:
        images = read_folders(path, source)
        found: list[Tensor] = []
        for part, number, available in sizes:
            per_class = available // len(source.classes)
            names = sorted(
                (name for name in images if name.split("/")[1] == part),
                key=lambda name: (source.classes.index(name.split("/")[2]), name),
            )
            chosen = draw(available, number or available, generator)
            assert chosen is not None
            pixels = _decode([(names[i], images[names[i]]) for i in chosen.tolist()])
            found += [scale(pixels, *CIFAR10_SCALE, dtype), chosen // per_class]
        return DataSplit(*found)

    return load(source.file, read)


def read_folders(path: Path, source: JpegSet) -> dict[str, bytes]:
    """Read an archive and check its content.

    Parameters
    ----------
    path : Path
        The file.
    source : JpegSet
        What it must hold.

    Returns
    -------
    dict
        Path inside the archive -> the bytes of an image that is still packed as JPEG.

    Raises
    ------
    FormatError
        If the file is not a tar.xz archive, is cut short, holds something else, or was altered.
    OSError
        If the file cannot be read.
    """
    images: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|xz") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    images[member.name] = content.read()
    except EOFError:
        raise FormatError("it is truncated: the xz stream ends early") from None
    except (lzma.LZMAError, tarfile.TarError) as error:
        raise FormatError(f"it is not a sound tar.xz archive ({error})") from None
    for part, available in (("train", source.n_train), ("test", source.n_test)):
        for name in source.classes:
            folder = f"{source.file.folder}/{part}/{name}/"
            count = sum(path.startswith(folder) and path.endswith(".jpg") for path in images)
            expected = available // len(source.classes)
            if count != expected:
                raise FormatError(f"it holds {count} images in {folder}, expected {expected}")
    if len(images) != source.n_train + source.n_test:
        raise FormatError(f"it holds {len(images)} files, more than the images that belong there")
    digest = hashlib.sha256()
    for name in sorted(images):
        digest.update(f"{name}\0{len(images[name])}\0".encode())
        digest.update(images[name])
    if digest.hexdigest() != source.content_sha256:
        raise FormatError(
            f"its content was altered: SHA-256 of the images {digest.hexdigest()}, expected "
            f"{source.content_sha256}"
        )
    return images


def _decode(images: Sequence[tuple[str, bytes]]) -> Tensor:
    pillow = _pillow()
    channels, height, width = SHAPE
    pixels = np.empty((len(images), height, width, channels), dtype=np.uint8)
    for i, (name, content) in enumerate(images):
        try:
            with pillow.open(io.BytesIO(content), formats=["JPEG"]) as image:
                mode, size, values = image.mode, image.size, np.asarray(image)
        except (OSError, SyntaxError) as error:
            raise FormatError(f"its {name} is not a sound JPEG image ({error})") from None
        if mode != "RGB" or size != (width, height):
            raise FormatError(
                f"its {name} is {mode} of size {size}, expected RGB of {(width, height)}"
            )
        pixels[i] = values
    return torch.from_numpy(pixels).movedim(-1, 1)


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            f'{NAME} needs Pillow: pip install "syre_helpers[vision]" (or pip install pillow)'
        ) from None
    return Image
