"""A file that a run is written to now and then, and from which it goes on after an interruption."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .._checks import check_positive_int
from .._provenance import check_writable, write_whole

# The first line ends in the SHA-256 of all that follows it.
_FIRST_LINE = b"syre_helpers checkpoint 2 %s\n"
# How the content of files begins that are none, in the order in which to ask.
_OTHERS = (
    (_FIRST_LINE[:26], "is damaged: truncated or changed since it was written"),
    (_FIRST_LINE[:24], "is of another version of syre_helpers"),
    (b"PK", "is of an older version of syre_helpers, or written by torch.save"),
    (b"", "is no checkpoint of fit, fit_many or train_many"),
)


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
    ValueError
        If `every` is no whole number from 1 on, or the file cannot be written.
    """

    def __init__(
        self, path: str | Path | None, every: int, identity: Callable[[], dict[str, str]]
    ) -> None:
        self._path = None if path is None else Path(path)
        self._every = check_positive_int("checkpoint_every", every)
        self._identity = {} if path is None else identity()
        if self._path is not None and not self._path.is_file():
            check_writable("checkpoint", self._path)  # better now than at the end

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
        try:
            write_whole(self._path, _FIRST_LINE % digest + body)
        except OSError as error:
            raise OSError(
                f"checkpoint {str(self._path)!r} cannot be written ({error.strerror}); make room, "
                "or name another file"
            ) from error

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
        """Return the content after the first line of the file, which vouches for it."""
        content = path.read_bytes()
        body = content.partition(b"\n")[2]
        if content == _FIRST_LINE % hashlib.sha256(body).hexdigest().encode() + body:
            return body
        what = next(what for start, what in _OTHERS if content.startswith(start))
        raise ValueError(
            f"checkpoint {str(path)!r} {what if content else 'is empty'}; name another file, or "
            "delete this one to begin anew"
        )


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
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return states
