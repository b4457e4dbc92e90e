"""Find a published data file: in SYRE_DATA_DIR, then in the cache, then on the network."""

from __future__ import annotations

import http.client
import os
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

# A server that stops sending, or sends a byte now and then, must not hold a program for ever.
_SILENCE = 30  # seconds without a byte
_START = 60  # seconds before the rate counts
_SLOWEST = 50_000  # bytes per second, on average
_LONGEST = 3600  # seconds for one file

ENVIRONMENT = "SYRE_DATA_DIR"
T = TypeVar("T")


class FormatError(ValueError):
    """The content of a file is not what it should be; the message says in which way."""


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
    """Return the content of a file, wherever it is found.

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
        used), it is nowhere and cannot be downloaded, or something else is in its place in the
        cache.
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
    cached = _place_in_cache(file)
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
    """Return the folder of downloads, in the place where the system keeps caches."""
    import pooch

    return Path(pooch.os_cache("syre_helpers"))


def _place_in_cache(file: RemoteFile) -> Path:
    """Return the path of a download in the cache; DataError where something is in the way."""
    place = cache_folder() / file.folder / file.name
    blocking = next((parent for parent in place.parents if parent.is_file()), None)
    if blocking is not None:
        raise DataError(
            f"{file.name} is kept in the folder {place.parent}, but {blocking} is a file; remove "
            f"or rename it. {_advice(file)}"
        )
    if place.is_dir():
        raise DataError(
            f"{place} is a folder, but the place of a file; remove or rename it. {_advice(file)}"
        )
    return place


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
                downloader=fetch,
            )
        # the network, a server that breaks off, and a wrong sum
        except (OSError, http.client.HTTPException, ValueError) as error:
            target.unlink(missing_ok=True)
            problems.append(f"{mirror + file.name}: {_first_line(error)}")
        else:
            return
    tried = "\n  ".join(problems)
    raise DataError(f"{file.name} could not be downloaded. Tried:\n  {tried}\n{_advice(file)}")


def fetch(url: str, output_file: str, _pooch: object = None) -> None:
    """Download a file, and give up when that takes too long.

    Parameters
    ----------
    url : str
        The address.
    output_file : str
        Path to write to.
    _pooch : object
        Not used; pooch passes itself.

    Raises
    ------
    TimeoutError
        If nothing comes for 30 seconds, less than 50 kB per second comes on average, or the file
        takes more than an hour.
    """
    import certifi

    context = ssl.create_default_context()  # the system's authorities, which some systems lack
    context.load_verify_locations(certifi.where())
    start, received = time.monotonic(), 0
    with (
        urllib.request.urlopen(url, timeout=_SILENCE, context=context) as response,
        Path(output_file).open("wb") as output,
    ):
        # read1 returns what has come; read would wait for the rest, however slowly it drips
        while block := response.read1(1 << 16):
            output.write(block)
            received += len(block)
            seconds = time.monotonic() - start
            if seconds > _LONGEST or received < _SLOWEST * (seconds - _START):
                raise TimeoutError(
                    f"the download is too slow: {received} bytes in {seconds:.0f} seconds"
                )


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
