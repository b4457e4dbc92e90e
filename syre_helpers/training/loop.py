"""The loop that `fit` and `train_many` share: steps, measurements, and states to go on from."""

from __future__ import annotations

from collections.abc import Callable

from .batches import Batches
from .callbacks import progress
from .evaluation import Evaluation, Models, Rows, State
from .options import Options


def train(
    models: Models,
    options: Options,
    batches: Batches,
    state: State | None,
    keep: Callable[[State], None],
    due: Callable[[int], bool],
    label: str = "training",
    *,
    silent: bool = False,
) -> Rows:
    """Train models to the end and return what was measured.

    Parameters
    ----------
    models : Models
        As they start, where `state` is None.
    options : Options
        How to train and measure.
    batches : Batches
        The data.
    state : dict or None
        What `keep` was given in an interrupted run.
    keep : callable
        Called with the state after the last step, and after those that are `due`.
    due : callable
        ``due(step)`` is True where the state after so many steps is to be kept.
    label, silent
        Of the bar, as in `progress`.

    Returns
    -------
    list
        Rows, those of the interrupted run included.
    """
    evaluate = Evaluation(options, batches, models, state["rows"] if state else None)
    first = state["step"] if state else 0
    if state:
        models.restore(state)
    else:
        evaluate(0)
    batch_of = batches.of([run.seed for run in models.runs])
    to_do = range(first, options.steps)
    for step in progress(to_do, label, models.params, options.callbacks, silent=silent):
        models.advance(step, batch_of(step))
        done = step + 1
        if done == options.steps:
            models.show_finished(lambda: evaluate(options.steps))
        elif done in options.logged:
            evaluate(done)
        if done == options.steps or due(done):
            keep(models.state() | {"step": done, "rows": evaluate.rows})
    return evaluate.rows
