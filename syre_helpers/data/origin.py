"""What a recorded run says of its data: the name, and the checksums that every read verifies."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from .sets import SETS
from .source_code import source_code_origin


def origin(loader: str) -> dict[str, Any]:
    """Return the name and the checksums of a data set, as a recorded run states them.

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
        return {"name": "scikit-learn digits", "version": metadata.version("scikit-learn")}
    if loader == "standard_library":
        return source_code_origin()
    if loader in SETS:
        return {"name": SETS[loader].name, **SETS[loader].checksums}
    return {"name": "generated"}
