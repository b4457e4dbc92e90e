"""A callback that looks at a model while it trains, and warns before ranks move."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._checks import check_model, check_positive_int
from ..removal import SyreWarning
from ..removal.names import canonical_name
from ..symmetry import Symmetries
from ..training import Moment
from .classes import symmetries_of
from .diagnose import diagnose
from .observe import Loss, inputs_of
from .report import Report

if TYPE_CHECKING:
    import pandas as pd

_MOST_ATTRACT = 0.95
_BY_THE_END = math.log(10)
_EVERY, _LOOKS, _LEAST = 100, 40, 10  # steps between two looks, looks per run, least steps


class Watch:
    """A callback that diagnoses a model every so many steps, and warns of collapse early.

    It warns of every alarm of `diagnose`, once per class. Before that it warns where, in two looks
    in a row, 95% of the nearest pairs of a class attract, and came nearer so fast in between that
    they will be at a tenth of their distance when training ends: then decay draws units together,
    and the loss does not part them. Ranks follow later.

    A look costs about as much as 4 steps of a small ResNet, and as 30 of a wide MLP on a small
    batch.

    Pass it as ``callbacks=[watch]`` to `fit`, `fit_many` and `train_many`; in a loop of your own
    call ``watch(step)``.

    Parameters
    ----------
    model : nn.Module
        The model in training; for `fit_many` any model of its kind.
    batch : tensor, tuple or mapping
        What to diagnose on, as in `diagnose`; held-out data serve.
    loss : callable, optional
        As in `diagnose`. Without it pairs have no rates, and the early warning is not given.
    weight_decay : float, optional
        As in `diagnose`; needed for the early warning, unless the model is under syre.
    every : int, optional
        Steps between two looks. Default: 100, and in a shorter run of known length a fortieth of
        it, at least 10. Decay draws pairs together within some ``1 / (lr * weight_decay)`` steps,
        with momentum 0.9 and a coupled decay within a tenth of that: look several times as often.
    steps : int, optional
        Steps of the whole run, for the early warning in a loop of your own; `fit` tells it itself.
        Default: that of the next ten looks.
    found : Symmetries, optional
        As in `diagnose`. Default: found at the first look.

    Attributes
    ----------
    reports : list of tuple of int, int and Report
        Step, number of the model (0 in `fit`) and report of every look.

    Raises
    ------
    TypeError
        If `model` is no module.
    ValueError
        If `every` or `steps` is no positive int.

    Warns
    -----
    SyreWarning
        As above, with the step, the class and the numbers.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> x, y = torch.randn(128, 4), torch.randn(128, 2)
    >>> watch = Watch(model, (x, y), loss=nn.functional.mse_loss, weight_decay=1e-4)
    >>> for step in range(200):
    ...     watch(step)  # before the step
    >>> [step for step, _, _ in watch.reports]
    [0, 100]
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Any,
        *,
        loss: Loss | None = None,
        weight_decay: float | None = None,
        every: int | None = None,
        steps: int | None = None,
        found: Symmetries | None = None,
    ) -> None:
        check_model("model", model)
        self.every = None if every is None else check_positive_int("every", every)
        self.steps = None if steps is None else check_positive_int("steps", steps)
        self.reports: list[tuple[int, int, Report]] = []
        self._model, self._batch, self._loss = model, batch, loss
        self._weight_decay, self._found = weight_decay, found
        self._suspected: dict[tuple[int, str], tuple[int, float]] = {}
        self._warned: set[tuple[int, str, str]] = set()

    def __call__(self, moment: Moment | int) -> None:
        """Look, if it is time: `moment` is that of a callback, or the number of steps so far."""
        step = moment.step if isinstance(moment, Moment) else moment
        if isinstance(moment, Moment):
            self.steps = moment.steps
        if (isinstance(moment, Moment) and moment.rows is not None) or step % self._interval():
            return
        params: Mapping[str, Tensor] = moment.params if isinstance(moment, Moment) else {}
        if self._found is None:
            self._find()
        for run, model in enumerate(self._models(params)):
            report = diagnose(
                model,
                self._batch,
                loss=self._loss,
                weight_decay=self._weight_decay,
                found=self._found,
            )
            self.reports.append((step, run, report))
            self._warn(step, run, report)

    def _interval(self) -> int:
        """Return the number of steps between two looks."""
        if self.every is not None:
            return self.every
        return _EVERY if self.steps is None else min(_EVERY, max(self.steps // _LOOKS, _LEAST))

    @property
    def table(self) -> pd.DataFrame:
        """The tables of all reports, with the columns ``step`` and ``run`` in front."""
        import pandas as pd

        if not self.reports:
            return pd.DataFrame(columns=["step", "run", "class"])
        tables = [
            report.table.reset_index().assign(step=step, run=run)
            for step, run, report in self.reports
        ]
        table = pd.concat(tables, ignore_index=True)
        return table[["step", "run", *table.columns.drop(["step", "run"])]]

    def _models(self, params: Mapping[str, Tensor]) -> Iterator[nn.Module]:
        """Yield the model, or one copy for each model that is trained at once."""
        own = {canonical_name(name): p for name, p in self._model.named_parameters()}
        stacked = {
            name: p for name, p in params.items() if name in own and p.ndim == own[name].ndim + 1
        }
        if not stacked:
            yield self._model
            return
        copied = copy.deepcopy(self._model)
        theirs = {canonical_name(name): p for name, p in copied.named_parameters()}
        for run in range(len(next(iter(stacked.values())))):
            with torch.no_grad():
                for name, p in stacked.items():
                    theirs[name].copy_(p[run])
            yield copied

    def _find(self) -> None:
        """Search for the symmetries once; where that fails, every report says why."""
        with suppress(Exception):
            self._found = symmetries_of(self._model, inputs_of(self._batch, self._loss))

    def _warn(self, step: int, run: int, report: Report) -> None:
        which = f"step {step}" + (f", model {run}" if run else "")
        for name, said in report.alarms.items():
            if (run, name, "alarm") not in self._warned:
                self._warned.add((run, name, "alarm"))
                advice = "watch.reports[-1][2].advice says what to do"
                _say(f"{which}: in {name}, {'; '.join(said)}. {advice}")
        for found in report.findings:
            if math.isnan(found.planes.attracting):
                continue
            key, planes = (run, found.name), found.planes
            before = self._suspected.pop(key, None)
            if planes.attracting < _MOST_ATTRACT or not planes.apart > 0:
                continue
            self._suspected[key] = step, planes.apart
            if before is None or {(*key, "alarm"), (*key, "early")} & self._warned:
                continue
            nearer = math.log(before[1] / planes.apart)
            left = 10 * self._interval() if self.steps is None else self.steps - step
            if nearer / (step - before[0]) * left >= _BY_THE_END:
                self._warned.add((*key, "early"))
                _say(
                    f"{which}: in {found.name}, {planes.attracting:.0%} of the nearest pairs "
                    f"attract, and came nearer by {1 - math.exp(-nearer):.0%} in "
                    f"{step - before[0]} steps: units will become twins, and then ranks fall. Less "
                    "decay parts them"
                )


def _say(words: str) -> None:
    warnings.warn(words, SyreWarning, stacklevel=4)
