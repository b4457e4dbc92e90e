"""What looks on while models train: bars, controls that stop a run, a reader's own functions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Moment:
    """A point of a run: before a step, or after a measurement.

    Parameters
    ----------
    step : int
        Steps taken so far.
    steps : int
        Steps of the whole run.
    params : mapping of str to Tensor
        The parameters in training; with a leading axis of models in `fit_many`. To be looked at
        only.
    rows : list of dict, optional
        What was measured, one row per model as in the table; None before a step.
    """

    step: int
    steps: int
    params: Mapping[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, Any]] | None = None


Callback = Callable[[Moment], object]
"""Called with each `Moment` of a run; ends the run by raising an exception."""
_LISTENING: ContextVar[tuple[Callback, ...] | None] = ContextVar("listening", default=None)


@contextmanager
def listening(*callbacks: Callback) -> Iterator[None]:
    """Tell callbacks of all training inside the ``with`` block, in place of showing a bar.

    Parameters
    ----------
    *callbacks : callable
        Each is called with a `Moment`. None of them: nothing is shown, and nobody is told.

    Yields
    ------
    None
        Nothing.
    """
    token = _LISTENING.set(callbacks)
    try:
        yield
    finally:
        _LISTENING.reset(token)


def tell(moment: Moment, callbacks: Sequence[Callback] = ()) -> None:
    """Call these callbacks, and those that are `listening`, with a moment of a run."""
    for callback in (*callbacks, *(_LISTENING.get() or ())):
        callback(moment)


def listened_to(callbacks: Sequence[Callback] = ()) -> bool:
    """Test whether a run has callbacks of its own or others that are `listening`."""
    return bool(callbacks or _LISTENING.get())


def progress(
    steps: range,
    label: str,
    params: Mapping[str, Tensor] | None = None,
    callbacks: Sequence[Callback] = (),
    *,
    silent: bool = False,
) -> Iterator[int]:
    """Yield the steps, each after callbacks were told of it, under a bar that vanishes.

    Parameters
    ----------
    steps : range
        Numbers of the steps to do; it stops at the number of steps of the whole run.
    label : str
        Stands before the bar, which is on stderr. There is none where ``SYRE_PROGRESS=0``, nor
        inside `listening`.
    params : mapping of str to Tensor, optional
        As in `Moment`.
    callbacks : sequence of callable
        Told beside those that are `listening`. Default: none.
    silent : bool
        Show no bar. Default False.

    Yields
    ------
    int
        The number of a step.
    """
    bar: Iterable[int] = steps
    if not (silent or _LISTENING.get() is not None or os.environ.get("SYRE_PROGRESS") == "0"):
        from tqdm import tqdm

        bar = tqdm(steps, desc=label, leave=False, file=sys.stderr, mininterval=0.5)
    for step in bar:
        tell(Moment(step, steps.stop, params or {}), callbacks)
        yield step
