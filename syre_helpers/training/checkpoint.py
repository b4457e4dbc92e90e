"""A file that a run is written to now and then, and from which it goes on after an interruption."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from .options import at_least_one

_FIRST_WORDS = b"syre_helpers checkpoint "
_VERSION = b"2"
# The first line holds the version and the SHA-256 of all that follows it.
_HEADER = len(_FIRST_WORDS + _VERSION) + 66


class Checkpoint:
    """Where, how often and for which run a state is kept.

    Parameters
    ----------
    path : path or None
        The file; None keeps nothing.
    every : int
        Steps between two writes, at least 1.
    identity : callable
        Returns what tells this run from others, as words by name. Not called without a file.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If `every` is no whole number.
    ValueError
        If `every` is less than 1.
    """

    def __init__(
        self, path: str | Path | None, every: int, identity: Callable[[], dict[str, str]]
    ) -> None:
        self._path = None if path is None else Path(path)
        self._every = at_least_one("checkpoint_every", every)
        self._identity = {} if path is None else identity()
        if self._path is not None and not self._path.exists():
            self._write(self._path, None)  # better now than at the end

    def due(self, step: int) -> bool:
        """Test whether the state after this step is to be kept."""
        return self._path is not None and step % self._every == 0

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, whole or not at all.

        Parameters
        ----------
        state : dict
            Tensors, numbers and words, in lists, tuples and mappings.

        Raises
        ------
        OSError
            If the file cannot be written; what was there is still there.
        """
        if self._path is None:
            return
        content = io.BytesIO()
        torch.save({"run": self._identity, **state}, content)
        body = content.getvalue()
        digest = hashlib.sha256(body).hexdigest().encode()
        self._write(self._path, b"%s%s %s\n" % (_FIRST_WORDS, _VERSION, digest) + body)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state that was kept, or None where there is none yet.

        Parameters
        ----------
        device : torch.device
            Where tensors go.

        Returns
        -------
        dict or None
            As it was given to `save`.

        Raises
        ------
        ValueError
            If the file is damaged, or none of this version, or belongs to another run.
        """
        if self._path is None or not self._path.exists():
            return None
        body = self._checked_body(self._path)
        state: dict[str, Any] = torch.load(io.BytesIO(body), device, weights_only=True)
        kept, own = state.pop("run"), self._identity
        differ = [name for name in {**own, **kept} if kept.get(name) != own.get(name)]
        if differ:
            words = [
                f"{name}: {kept.get(name, 'none')} there, {own.get(name, 'none')} here"
                for name in differ[:6]
            ] + [f"and {len(differ) - 6} more"] * (len(differ) > 6)
            raise ValueError(
                f"checkpoint {str(self._path)!r} belongs to another run ({'; '.join(words)}); "
                "call with the same arguments and a model made anew, name another file, or delete "
                "this one"
            )
        return state

    def _checked_body(self, path: Path) -> bytes:
        """Return what stands after the first line of the file, which vouches for it."""
        if path.is_dir():
            raise self._unusable("is a folder")
        content = path.read_bytes()
        if not content:
            raise self._unusable("is empty")
        if content.startswith(b"PK"):
            raise self._unusable("is of an older version of syre_helpers, or written by torch.save")
        head, body = content[:_HEADER], content[_HEADER:]
        if not head.startswith(_FIRST_WORDS):
            raise self._unusable("is no checkpoint of fit, fit_many or train_many")
        version, _, digest = head[len(_FIRST_WORDS) :].strip().partition(b" ")
        if version != _VERSION:
            raise self._unusable(f"is of another version ({version!r}, not {_VERSION!r})")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise self._unusable("is damaged: truncated or changed since it was written")
        return body

    def _unusable(self, what: str) -> ValueError:
        return ValueError(
            f"checkpoint {str(self._path)!r} {what}; name another file, or delete this one to "
            "begin anew"
        )

    def _write(self, target: Path, content: bytes | None) -> None:
        """Write a file whole or not at all; without content only see that one can be written."""
        # A name of its own: a worker that was given up for lost may still be writing.
        part = target.with_name(f"{target.name}.{uuid4().hex}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(content or b"")
                if content is not None:
                    os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise OSError(
                f"checkpoint {str(target)!r} cannot be written ({error.strerror or error}); "
                "name a file in a folder that can be written to and has room"
            ) from error


class RandomState:
    """The global generators, which dropout draws from: kept where a run has drawn from them.

    Parameters
    ----------
    device : torch.device
        Where the run trains.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before: list[torch.Tensor] | None = self._now()

    def drawn(self) -> list[torch.Tensor] | None:
        """Return the states of the generators, or None where nothing was drawn from them."""
        now = self._now()
        if self._before is not None and all(map(torch.equal, now, self._before)):
            return None
        return now

    def restore(self, states: list[torch.Tensor] | None) -> None:
        """Go on drawing where an interrupted run was."""
        if states is None:
            return
        self._before = None  # it has drawn
        torch.set_rng_state(states[0].cpu())
        if self._device.type == "cuda" and len(states) > 1:
            torch.cuda.set_rng_state(states[1].cpu(), self._device)

    def _now(self) -> list[torch.Tensor]:
        on_gpu = self._device.type == "cuda"
        return [
            torch.get_rng_state(),
            *([torch.cuda.get_rng_state(self._device)] if on_gpu else []),
        ]
