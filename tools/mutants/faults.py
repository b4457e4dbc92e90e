"""The deliberate faults of `faults.toml`: what is changed, and which tests ought to notice."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """A change of the code that some test must catch.

    Parameters
    ----------
    file : str
        The file that is changed, from the root of the repository.
    before : str
        Text that stands in it exactly once.
    after : str
        What takes its place.
    tests : tuple of str
        Files or tests, as pytest names them, of which one must fail.
    what : str
        What is wrong then, in words.
    """

    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    what: str


FAULTS = tuple(
    Fault(**row | {"tests": tuple(row["tests"])})
    for row in tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["fault"]
)
