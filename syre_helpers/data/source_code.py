"""Text that every machine has: the source files of Python's own standard library, as bytes."""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from pathlib import Path

import torch
from torch import Tensor

from .._checks import check_positive_int
from .._random import generator
from .files import DataError
from .split import DataSplit

# Installations that leave out a few modules are as good; those with bytecode only have none.
_FEWEST = 100
_TESTED = 10  # every tenth file


def standard_library(
    context: int = 64, n_train: int | None = None, n_test: int | None = None
) -> DataSplit:
    """Return pieces of the source code of Python's standard library, and the byte after each byte.

    Read are the modules that are a single file, in the order of their names: some 160 files, 4 to 5
    MB. Every tenth file is for testing, so that no test piece comes from a file that was trained
    on. The text is that of the Python that runs, and differs from version to version; a record
    names version and checksum (`source_code_origin`).

    Parameters
    ----------
    context : int
        Bytes per piece. Default 64.
    n_train, n_test : int, optional
        How many pieces to take. They come in a random order that is always the same, so that a few
        are from all files. Default: all.

    Returns
    -------
    DataSplit
        Inputs and targets of shape (pieces, context), whole numbers from 0 to 255, int64. A target
        is the byte that follows its input.

    Raises
    ------
    DataError
        If the source files are not there, or not as many pieces as are asked for, or none.
    ValueError
        If a number is not a positive int.

    Examples
    --------
    >>> split = standard_library(context=32, n_train=100, n_test=10)
    >>> split.x_train.shape, bool((split.x_train[:, 1:] == split.y_train[:, :-1]).all())
    (torch.Size([100, 32]), True)
    """
    check_positive_int("context", context)
    texts = [_text(file) for file in source_files()]
    train = [text for k, text in enumerate(texts) if k % _TESTED]
    test = texts[::_TESTED]
    x_train, y_train = _pieces(train, context, "n_train", n_train)
    x_test, y_test = _pieces(test, context, "n_test", n_test)
    return DataSplit(x_train, y_train, x_test, y_test)


def source_files() -> list[Path]:
    """Return the source files that `standard_library` reads, in their order.

    Returns
    -------
    list of Path
        One per module of the standard library that is a single file.

    Raises
    ------
    DataError
        If fewer than 100 are there.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    files = [folder / f"{name}.py" for name in sorted(sys.stdlib_module_names)]
    found = [file for file in files if file.is_file()]
    if len(found) < _FEWEST:
        raise DataError(
            f"{folder} has {len(found)} source files of Python's standard library, and "
            f"{_FEWEST} or more are needed; take a Python that comes with its sources (not one "
            "in a zip file or with bytecode alone)"
        )
    return found


def source_code_origin() -> dict[str, object]:
    """Return name, Python's version, number of files and bytes, and checksum of the text.

    Returns
    -------
    dict
        Keys ``name``, ``version``, ``files``, ``bytes`` and ``sha256``: of all texts, each behind
        its file's name.

    Raises
    ------
    DataError
        As `source_files`.
    """
    digest, size, files = hashlib.sha256(), 0, source_files()
    for file in files:
        text = _text(file)
        digest.update(file.name.encode() + b"\n" + text)
        size += len(text)
    return {
        "name": "Python standard library",
        "version": platform.python_version(),
        "files": len(files),
        "bytes": size,
        "sha256": digest.hexdigest(),
    }


def _text(file: Path) -> bytes:
    """Return a file's bytes with the ends of lines that all machines but some have."""
    return file.read_bytes().replace(b"\r\n", b"\n")


def _pieces(
    texts: list[bytes], context: int, argument: str, wanted: int | None
) -> tuple[Tensor, Tensor]:
    """Return inputs and targets from texts that are put one behind the other."""
    text = torch.frombuffer(bytearray(b"".join(texts)), dtype=torch.uint8)
    count = (len(text) - 1) // context
    if count < 1:
        raise DataError(f"context={context} is more than the {len(text) - 1} bytes there are")
    if wanted is not None and check_positive_int(argument, wanted) > count:
        raise DataError(
            f"{argument}={wanted} pieces of {context} bytes are more than the {count} there are; "
            "take fewer, or a smaller context"
        )
    order = torch.randperm(count, generator=generator(0, "pieces of source code"))[:wanted]
    which = order[:, None] * context + torch.arange(context)
    return text[which].long(), text[which + 1].long()
