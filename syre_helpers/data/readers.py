"""Readers of the two published formats, IDX and CIFAR's binary records, and of packed JPEG images.

Nothing is ever unpickled, archives are read as streams, and every content is compared with a
checksum.

- IDX (http://yann.lecun.com/exdb/mnist/): two zero bytes, a type code, the number of axes, the
  length of each axis as a big-endian 32-bit integer, then the values; packed by gzip.
- CIFAR (https://www.cs.toronto.edu/~kriz/cifar.html): one record per image, the label (CIFAR-100:
  the coarse one, then the fine one) and 3,072 bytes, the red, green and blue channel, row by row.
- JPEG: an archive of ``FOLDER/{train,test}/CLASS/NNNN.jpg``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import math
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .files import FormatError, RemoteFile, load

Chosen = tuple[Tensor, Tensor]
"""Indices of the training and of the test images to return."""

Parts = list[tuple[Tensor, Tensor]]
"""The training and the test part: images, uint8 (samples, channels, height, width), and classes."""

_UNSIGNED_BYTES = 0x08


@dataclass(frozen=True)
class ImageSet:
    """A published set of images: where it is, and what it must hold.

    Attributes
    ----------
    name : str
        As it is called in texts.
    folder : str
        Name of its folder in SYRE_DATA_DIR and in the cache.
    mirrors : tuple of str
        Addresses of folders that hold its files. None: it is only found where SYRE_DATA_DIR says.
    files : dict
        Name of each file -> the MD5 sum of the file as it is downloaded.
    read : callable
        Its reader: ``read(source, chosen)`` returns the chosen images and classes of both parts.
    scale : tuple of tuple of float
        Means and standard deviations of the training pixels over 255, one number per channel.
    content : dict, optional
        What identifies the content: a kind of checksum -> the sum, or the sums by file. Default:
        the sums of `files`, see `checksums`.
    sizes : tuple of int
        Numbers of training and test images. Default 50,000 and 10,000, as CIFAR has.
    shape : tuple of int
        Channels, height and width of an image. Default (3, 32, 32).
    classes : int
        Labels are smaller than this. Default 10.
    class_names : tuple of str
        Names of the classes' folders, in the order of the labels; for JPEG.
    members : tuple of tuple of str
        Names of the archive's training and test members, in order; for CIFAR.
    label_bytes : int
        Bytes of labels that precede the pixels; the last of them is used. Default 1; for CIFAR.
    flat : bool
        Whether an image is returned as one row. Default False.
    shuffled : bool
        Whether the images always come in random order. Default False.
    """

    name: str
    folder: str
    mirrors: tuple[str, ...]
    files: dict[str, str]
    read: Callable[[ImageSet, Chosen], Parts]
    scale: tuple[tuple[float, ...], tuple[float, ...]]
    content: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[int, int] = (50_000, 10_000)
    shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    class_names: tuple[str, ...] = ()
    members: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    label_bytes: int = 1
    flat: bool = False
    shuffled: bool = False

    @property
    def checksums(self) -> dict[str, Any]:
        """What identifies the content."""
        return self.content or {"md5": self.files}

    def remote(self, name: str) -> RemoteFile:
        """Return one of the files."""
        return RemoteFile(self.folder, name, self.mirrors, self.files[name])


def read_idx_set(source: ImageSet, chosen: Chosen) -> Parts:
    """Return the chosen images and classes of a set of four IDX files.

    Parameters
    ----------
    source : ImageSet
        Its files are training images and labels, then test images and labels.
    chosen : tuple of Tensor
        Indices of the images of each part.

    Returns
    -------
    list of tuple of Tensor
        Images and classes of each part.
    """
    sums = source.content["md5 of unpacked files"]

    def array(name: str, *shape: int) -> Tensor:
        return load(source.remote(name), lambda path: read_idx(path, shape, sums[name]))

    train_images, train_labels, test_images, test_labels = source.files
    names = (train_images, train_labels), (test_images, test_labels)
    parts = []
    for (images, labels), size, index in zip(names, source.sizes, chosen, strict=True):
        pixels = array(images, size, *source.shape[1:])[:, None]
        parts.append((pixels[index], array(labels, size)[index]))
    return parts


def read_idx(path: Path, shape: tuple[int, ...], md5: str) -> Tensor:
    """Return the array of one gzipped IDX file, all of which is checked.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        The shape that the file must have.
    md5 : str
        MD5 sum of the **unpacked** bytes: the packed ones differ between packers.

    Returns
    -------
    Tensor
        uint8, of the given shape.

    Raises
    ------
    FormatError
        If the file is not gzip, is cut short, holds something else, or has been altered.
    OSError
        If the file cannot be read.
    """
    with _sound("gzip file", "gzip"):
        content = gzip.decompress(path.read_bytes())
    values = _parse(content)
    if tuple(values.shape) != shape:
        raise FormatError(f"it holds an array of shape {tuple(values.shape)}, expected {shape}")
    _check_sum("unpacked MD5", hashlib.md5(content, usedforsecurity=False), md5)
    return values


def read_cifar(source: ImageSet, chosen: Chosen) -> Parts:
    """Return the chosen images and classes of a CIFAR set in its binary version.

    Parameters
    ----------
    source : ImageSet
        Its one file is the archive.
    chosen : tuple of Tensor
        Indices of the images of each part.

    Returns
    -------
    list of tuple of Tensor
        Images and classes of each part.
    """
    (name,) = source.files
    parts = []
    both = load(source.remote(name), lambda path: read_records(path, source))
    for records, index in zip(both, chosen, strict=True):
        taken = records[index]
        images = taken[:, source.label_bytes :].view(-1, *source.shape)
        parts.append((images, taken[:, source.label_bytes - 1]))
    return parts


def read_records(path: Path, source: ImageSet) -> list[Tensor]:
    """Return the records of a CIFAR archive, all of which is checked.

    Parameters
    ----------
    path : Path
        The file.
    source : ImageSet
        What it must hold.

    Returns
    -------
    list of Tensor
        The training and the test records, uint8, one row per image: labels, then pixels.

    Raises
    ------
    FormatError
        If the file is not a gzipped tar archive, is cut short, holds something else, or has been
        altered.
    OSError
        If the file cannot be read.
    """
    width = source.label_bytes + math.prod(source.shape)
    parts = [torch.empty(size, width, dtype=torch.uint8) for size in source.sizes]
    missing = {
        name: rows
        for part, names in zip(parts, source.members, strict=True)
        for name, rows in zip(names, part.chunk(len(names)), strict=True)
    }
    with _sound("gzipped tar archive", "gzip"), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            rows = missing.pop(member.name, None)
            if rows is not None:
                _read_rows(archive, member, rows, source)
    if missing:
        raise FormatError(f"it holds no {', '.join(missing)}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    _check_sum("MD5", digest, *source.files.values())
    return parts


def _read_rows(
    archive: tarfile.TarFile, member: tarfile.TarInfo, rows: Tensor, source: ImageSet
) -> None:
    """Fill the records of one member of a CIFAR archive."""
    if member.size != rows.numel():
        raise FormatError(
            f"its {member.name} has {member.size} bytes, expected {rows.numel()}: "
            f"{len(rows)} records of {rows.shape[1]}"
        )
    content = archive.extractfile(member)
    if content is None:
        raise FormatError(f"its {member.name} is not a plain file")
    content.readinto(rows.numpy().reshape(-1))  # type: ignore[attr-defined]
    if int(rows[:, source.label_bytes - 1].max()) >= source.classes:
        raise FormatError(f"its {member.name} has labels of {source.classes} and more")


def read_jpeg(source: ImageSet, chosen: Chosen) -> Parts:
    """Return the chosen images and classes of a packed folder of JPEG images.

    Parameters
    ----------
    source : ImageSet
        Its one file is the archive, with as many images of every class.
    chosen : tuple of Tensor
        Indices of the images of each part, which are in order of class, then of name.

    Returns
    -------
    list of tuple of Tensor
        Images and classes of each part.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    """
    pillow = _pillow(source.name)

    def read(path: Path) -> Parts:
        images = read_folders(path, source)
        parts = []
        for part, size, index in zip(("train", "test"), source.sizes, chosen, strict=True):
            folders = [f"{source.folder}/{part}/{name}/" for name in source.class_names]
            names = [n for folder in folders for n in sorted(images) if n.startswith(folder)]
            taken = [(names[i], images[names[i]]) for i in index.tolist()]
            per_class = size // len(source.class_names)
            parts.append((_decode(taken, source.shape, pillow), index // per_class))
        return parts

    (name,) = source.files
    return load(source.remote(name), read)


def read_folders(path: Path, source: ImageSet) -> dict[str, bytes]:
    """Return the images of a packed folder, still as JPEG; all of it is checked.

    Parameters
    ----------
    path : Path
        The file.
    source : ImageSet
        What it must hold.

    Returns
    -------
    dict
        Path inside the archive -> the bytes of an image.

    Raises
    ------
    FormatError
        If the file is not a tar.xz archive, is cut short, holds something else, or was altered.
    OSError
        If the file cannot be read.
    """
    images: dict[str, bytes] = {}
    with _sound("tar.xz archive", "xz"), tarfile.open(path, "r|xz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                images[member.name] = content.read()
    for part, available in zip(("train", "test"), source.sizes, strict=True):
        for name in source.class_names:
            folder = f"{source.folder}/{part}/{name}/"
            count = sum(path.startswith(folder) and path.endswith(".jpg") for path in images)
            expected = available // len(source.class_names)
            if count != expected:
                raise FormatError(f"it holds {count} images in {folder}, expected {expected}")
    if len(images) != sum(source.sizes):
        raise FormatError(f"it holds {len(images)} files, more than the images that belong there")
    digest = hashlib.sha256()
    for name in sorted(images):
        digest.update(f"{name}\0{len(images[name])}\0".encode())
        digest.update(images[name])
    _check_sum("SHA-256 of the images", digest, *source.content.values())
    return images


def _decode(
    images: Sequence[tuple[str, bytes]], shape: tuple[int, int, int], pillow: ModuleType
) -> Tensor:
    channels, height, width = shape
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


def _pillow(name: str) -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            f'{name} needs Pillow: pip install "syre_helpers[vision]" (or pip install pillow)'
        ) from None
    return Image


@contextmanager
def _sound(kind: str, stream: str) -> Iterator[None]:
    """Turn what the standard library raises on damaged files into a FormatError."""
    try:
        yield
    except EOFError:
        raise FormatError(f"it is truncated: the {stream} stream ends early") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, tarfile.TarError) as error:
        raise FormatError(f"it is not a sound {kind} ({error})") from None


def _check_sum(what: str, digest: hashlib._Hash, expected: str) -> None:
    # A check against damage and mix-ups; MD5 is what most sources publish.
    if digest.hexdigest() != expected:
        raise FormatError(
            f"its content was altered: {what} {digest.hexdigest()}, expected {expected}"
        )


def _parse(content: bytes) -> Tensor:
    if len(content) < 4 or content[:2] != b"\0\0":
        raise FormatError("it is not an IDX file: the first two bytes are not zero")
    kind, axes = content[2], content[3]
    if kind != _UNSIGNED_BYTES:
        raise FormatError(f"its type code is 0x{kind:02x}, expected 0x08, unsigned bytes")
    start = 4 + 4 * axes
    if len(content) < start:
        raise FormatError("it is truncated: the header ends early")
    shape = struct.unpack(f">{axes}I", content[4:start])
    expected = math.prod(shape)
    if len(content) - start != expected:
        raise FormatError(
            f"its header announces {expected} values of shape {shape}, but {len(content) - start} "
            "follow"
        )
    # frombuffer wants a writable buffer, and at least one value
    values = torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8) if expected else None
    return torch.empty(shape, dtype=torch.uint8) if values is None else values.view(shape)
