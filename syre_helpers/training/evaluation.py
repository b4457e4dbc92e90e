"""Losses and measures of runs, and the table that they make."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from .._checks import check_scalar
from ..removal import Arm
from .batches import Batch, Batches
from .callbacks import Moment, listened_to, tell
from .options import Measure, Options, columns_of

if TYPE_CHECKING:
    import pandas as pd

Params = Mapping[str, Tensor]
State = dict[str, Any]
Columns = dict[str, list[float]]
Rows = list[tuple[int, Columns]]
"""What was measured: numbers of steps, and columns with one number per run."""
_SAMPLES_AT_ONCE = 300_000
# In all inputs: what networks make of large samples, such as photographs, is large too.
_NUMBERS_AT_ONCE = 300_000 * 784


@dataclass(frozen=True)
class Run:
    """One model of a comparison: its arm, its seed, and its parameters as they were made."""

    arm: Arm
    seed: int
    initial: dict[str, Tensor]


class Models(Protocol):
    """What can be trained and measured: one model in `fit`, an ensemble in `train_many`."""

    model: nn.Module
    runs: Sequence[Run]
    params: dict[str, Tensor]

    def map(
        self, function: Callable[[Params], Tensor], which: Sequence[int], at_once: int
    ) -> list[float]:
        """Return a function of some models' parameters and buffers; at most `at_once` together."""

    def predict(self, values: Params, x: Tensor | None) -> Tensor:
        """Return the output of one model with these parameters and buffers."""

    def advance(self, step: int, batch: Batch) -> None:
        """Take a step, counted from 0, and let arms do what they do after it."""

    def show_finished(self, look: Callable[[], None]) -> None:
        """Call a function that sees the arms' finished parameters; the trained ones come back."""

    def state(self) -> State:
        """Return the state of the models that a checkpoint holds."""

    def restore(self, state: State) -> None:
        """Go back to such a state, which also says after how many steps it was."""


class Evaluation:
    """Measures models and keeps the rows.

    Parameters
    ----------
    options : Options
        With the loss and the measures.
    batches : Batches
        The data. Where they are a function, the batch of the last step counts.
    models : Models
        What is measured, in evaluation mode.
    rows : list, optional
        Those of an interrupted run, to which new ones are added. Default: none.
    """

    def __init__(
        self, options: Options, batches: Batches, models: Models, rows: Rows | None = None
    ) -> None:
        if batches.test is not None and "test_loss" in options.measures:
            raise ValueError(
                "measures: 'test_loss' is a column of the table already, since data has a test "
                "set; choose another name"
            )
        self._options = options
        self._batches = batches
        self._models = models
        self._names = {name for name, _ in models.model.named_parameters()}
        # A few models at a time, so that large data sets do not need memory for all of them.
        at_once = min(_SAMPLES_AT_ONCE // batches.samples, _NUMBERS_AT_ONCE // batches.numbers)
        self._at_once = max(1, at_once)
        self.rows: Rows = rows or []

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        """Measure after so many steps; a model that has diverged has NaN for measures."""
        models, options = self._models, self._options
        models.model.eval()
        everyone = range(len(models.runs))
        train = self._batches.pair(max(step - 1, 0))
        columns = {"train_loss": self._map(self._loss_on(*train), everyone)}
        if self._batches.test is not None:
            columns["test_loss"] = self._map(self._loss_on(*self._batches.test), everyone)
        finite = self._map(self._finite, everyone)
        sound = [k for k in everyone if finite[k] and math.isfinite(columns["train_loss"][k])]
        self._warn([k for k in everyone if k not in sound], step)
        for name, measure in options.measures.items():
            numbers = dict(zip(sound, self._map(self._measured(name, measure), sound), strict=True))
            columns[name] = [numbers.get(k, math.nan) for k in everyone]
        self.rows.append((step, columns))
        if listened_to(options.callbacks):
            rows = table_of(models.runs, self.rows[-1:]).to_dict("records")
            tell(Moment(step, options.steps, models.params, rows), options.callbacks)

    def _map(self, function: Callable[[Params], Tensor], which: Sequence[int]) -> list[float]:
        return self._models.map(function, which, self._at_once) if which else []

    def _loss_on(self, x: Tensor | None, y: Tensor) -> Callable[[Params], Tensor]:
        return lambda values: self._options.loss_of(self._models.predict(values, x), y)

    def _measured(self, name: str, measure: Measure) -> Callable[[Params], Tensor]:
        def measured(values: Params) -> Tensor:
            found = measure(self._params(values), lambda x=None: self._models.predict(values, x))
            return check_scalar(f"measures[{name!r}]", found)

        return measured

    def _finite(self, values: Params) -> Tensor:
        return torch.stack([p.isfinite().all() for p in self._params(values).values()]).all()

    def _params(self, values: Params) -> Params:
        """Return the parameters among parameters and buffers."""
        return {name: value for name, value in values.items() if name in self._names}

    def _warn(self, diverged: Sequence[int], step: int) -> None:
        """Say which models have diverged since the last measurement."""
        before = self.rows[-1][1]["train_loss"] if self.rows else None
        runs = [self._models.runs[k] for k in diverged if not before or math.isfinite(before[k])]
        if runs:
            names = "; ".join(f"{run.arm.label}, seed {run.seed}" for run in runs[:5])
            more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
            warnings.warn(
                f"training diverged by step {step}: {names}{more}. Their loss or parameters are "
                "not finite, so their measures are NaN; lower the learning rate or the decay",
                RuntimeWarning,
                stacklevel=4,
            )


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several groups of runs as those of one group."""
    return [
        (step, {name: [v for _, columns in same for v in columns[name]] for name in names})
        for same in zip(*parts, strict=True)
        for step, names in same[:1]
    ]


def table_of(runs: Sequence[Run], rows: Rows) -> pd.DataFrame:
    """Return rows as a table: one line per run and step measured, step by step.

    Parameters
    ----------
    runs : sequence of Run
        In the order of the numbers in the rows.
    rows : list
        What was measured.

    Returns
    -------
    pandas.DataFrame
        Columns ``arm`` (its label), the arms' settings, ``seed``, ``step``, and those of the rows.
    """
    import pandas as pd

    described = columns_of([run.arm for run in runs])
    columns = {name: [own[name] for own in described] * len(rows) for name in described[0]}
    columns["seed"] = [run.seed for run in runs] * len(rows)
    columns["step"] = [step for step, _ in rows for _ in runs]
    for name in rows[0][1]:
        columns[name] = [value for _, row in rows for value in row[name]]
    return pd.DataFrame(columns)
