"""What a recorded run says of its data: the name, and the checksums that every read verifies."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from .cifar import CIFAR10, CIFAR100, CifarSet
from .images import FASHION_MNIST, MNIST, IdxSet
from .jpeg import CIFAR10_JPEG, NAME


def origin(loader: str) -> dict[str, Any]:
    """Return the name and the checksums of a data set.

    Parameters
    ----------
    loader : str
        The name of a function of this package, such as "mnist"; anything else is said to be
        generated.

    Returns
    -------
    dict
        With "name", and a checksum for each file (or the version of the library that brings it).

    Examples
    --------
    >>> origin("mnist")["name"]
    'MNIST'
    >>> origin("teacher_regression")
    {'name': 'generated'}
    """
    if loader == "digits":
        version = metadata.version("scikit-learn")
        return {"name": "scikit-learn digits", "version": version}
    idx = {"mnist": ("MNIST", MNIST), "fashion_mnist": ("Fashion-MNIST", FASHION_MNIST)}
    cifar = {"cifar10": ("CIFAR-10", CIFAR10), "cifar100": ("CIFAR-100", CIFAR100)}
    if loader in idx:
        name, images = idx[loader]
        return {"name": name, "md5 of unpacked files": _idx_sums(images)}
    if loader in cifar:
        name, binary = cifar[loader]
        return {"name": name, "md5": _cifar_sums(binary)}
    if loader == "cifar10_jpeg":
        return {"name": NAME, "sha256 of content": CIFAR10_JPEG.content_sha256}
    return {"name": "generated"}


def _idx_sums(source: IdxSet) -> dict[str, str]:
    files = (source.train_images, source.train_labels, source.test_images, source.test_labels)
    return {file.name: file.unpacked_md5 for file in files}


def _cifar_sums(source: CifarSet) -> dict[str, str]:
    return {source.file.name: source.file.md5}
