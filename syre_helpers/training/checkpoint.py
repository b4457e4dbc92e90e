"""A file that a run is written to now and then, and from which it goes on after an interruption."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from .._checks import positive_int


class Checkpoint:
    """Where, how often and for which run a state is kept.

    Parameters
    ----------
    path : path or None
        The file; None keeps nothing.
    every : int
        Steps between two writes, at least 1.
    identity : dict
        What tells this run from others; a file of another run is refused.

    Raises
    ------
    ValueError
        If `every` is less than 1.
    """

    def __init__(self, path: str | Path | None, every: int, identity: dict[str, Any]) -> None:
        self._path = None if path is None else Path(path)
        self._every = positive_int("checkpoint_every", every)
        self._identity = identity

    def due(self, step: int) -> bool:
        """Return whether the state after this step is to be kept."""
        return self._path is not None and step % self._every == 0

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, whole or not at all."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: a worker that was given up for lost may still be writing.
        part = self._path.with_name(f"{self._path.name}.{uuid4().hex}.part")
        torch.save({"run": self._identity, **state}, part)
        os.replace(part, self._path)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state that was kept, or None where there is none yet.

        Raises
        ------
        ValueError
            If the file belongs to another run.
        """
        if self._path is None or not self._path.exists():
            return None
        state: dict[str, Any] = torch.load(self._path, map_location=device, weights_only=True)
        if state["run"] != self._identity:
            raise ValueError(
                f"checkpoint {str(self._path)!r} belongs to another run: it was written by "
                f"{state['run']}, this is {self._identity}; name another file or delete it"
            )
        return state
