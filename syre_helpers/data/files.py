"""Find a published data file: in SYRE_DATA_DIR, then in the cache, then on the network."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .idx import FormatError

ENVIRONMENT = "SYRE_DATA_DIR"
T = TypeVar("T")


class DataError(RuntimeError):
    """A data file is missing, cannot be downloaded, or is not what it should be."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes
    ----------
    folder : str
        Name of the data set's folder, in SYRE_DATA_DIR and in the cache.
    name : str
        Name of the file.
    mirrors : tuple of str
        Addresses of folders that hold it, tried in this order. None: it is only ever found where
        SYRE_DATA_DIR says.
    md5 : str
        Published MD5 sum of the file as it is downloaded.
    """

    folder: str
    name: str
    mirrors: tuple[str, ...]
    md5: str


def load(file: RemoteFile, read: Callable[[Path], T]) -> T:
    """Find a file and read it.

    Parameters
    ----------
    file : RemoteFile
        What to find.
    read : callable
        Reads a path and checks the content; raises `FormatError` when it is not right.

    Returns
    -------
    object
        What `read` returns.

    Raises
    ------
    DataError
        If SYRE_DATA_DIR is not a folder, a file found there is not right (it is left alone, and not
        used), or it is nowhere and cannot be downloaded.
    """
    placed = _placed_by_hand(file)
    if placed is not None:
        try:
            return read(placed)
        except (FormatError, OSError) as error:
            raise DataError(f"{placed} cannot be used: {error}. {_way_out(file)}") from None
    if not file.mirrors:
        raise DataError(
            f"{file.name} was not found, and there is no address to download it from. "
            f"{_advice(file)}"
        )
    cached = cache_folder() / file.folder / file.name
    if cached.exists():
        try:
            return read(cached)
        except (FormatError, OSError):
            cached.unlink(missing_ok=True)  # a download replaces it
    _download(file, cached)
    try:
        return read(cached)
    except (FormatError, OSError) as error:
        cached.unlink(missing_ok=True)
        raise DataError(
            f"{file.name} was downloaded, but cannot be used: {error}. It was removed. "
            f"{_advice(file)}"
        ) from None


def cache_folder() -> Path:
    """Return the folder that downloads are kept in: where the system keeps caches."""
    import pooch

    return Path(pooch.os_cache("syre_helpers"))


def _placed_by_hand(file: RemoteFile) -> Path | None:
    setting = os.environ.get(ENVIRONMENT)
    if not setting:
        return None
    folder = Path(setting).expanduser()
    if not folder.is_dir():
        raise DataError(f"{ENVIRONMENT}={setting!r} is not a folder; correct it or unset it")
    places = (folder / file.folder / file.name, folder / file.name)
    return next((place for place in places if place.exists()), None)


def _download(file: RemoteFile, target: Path) -> None:
    import pooch

    problems = []
    for mirror in file.mirrors:
        try:
            # pooch writes to a temporary name, and keeps the file only when the sum is right
            pooch.retrieve(
                mirror + file.name,
                known_hash=f"md5:{file.md5}",
                fname=target.name,
                path=target.parent,
            )
        except (OSError, ValueError) as error:  # the network, and a wrong sum
            target.unlink(missing_ok=True)
            problems.append(f"{mirror + file.name}: {_first_line(error)}")
        else:
            return
    tried = "\n  ".join(problems)
    raise DataError(f"{file.name} could not be downloaded. Tried:\n  {tried}\n{_advice(file)}")


def _way_out(file: RemoteFile) -> str:
    if not file.mirrors:
        return "Replace the file."
    return f"Replace the file, or remove it (or unset {ENVIRONMENT}) to have it downloaded."


def _advice(file: RemoteFile) -> str:
    if not file.mirrors:
        return (
            f"To place it by hand: put {file.name} into a folder, or into its subfolder "
            f"{file.folder}/, and set {ENVIRONMENT} to that folder."
        )
    return (
        f"To place it by hand: get {file.name} from {file.mirrors[0]}, put it into a folder "
        f"{file.folder}/ and set {ENVIRONMENT} to the folder that holds {file.folder}/ (or put it "
        f"into {cache_folder() / file.folder})."
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
