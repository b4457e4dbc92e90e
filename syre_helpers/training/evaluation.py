"""Losses and measures of stacked models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from .batches import Pair
from .options import Measure

Loss = Callable[[Tensor, Tensor], Tensor]
Columns = dict[str, Tensor]
Rows = list[tuple[int, Any]]
_SAMPLES_AT_ONCE = 300_000


def call(model: nn.Module, params: Mapping[str, Tensor], x: Tensor | None) -> Tensor:
    """Return a model's output with these parameters; `x` is None for models without input."""
    output: Tensor = functional_call(model, dict(params), () if x is None else (x,))
    return output


class Evaluation:
    """Losses and measures as columns of numbers, one a model, which stay on the device.

    Parameters
    ----------
    template : nn.Module
        The kind of model.
    loss : callable
        As in `fit_many`.
    pair_at : callable
        ``pair_at(step)`` returns the training pair that counts after that step.
    test : pair, optional
        The test pair.
    samples : int
        Of the larger of the two; 1 where data are a function.
    measures : mapping of str to callable
        As in `fit_many`.
    """

    def __init__(
        self,
        template: nn.Module,
        loss: Loss,
        pair_at: Callable[[int], Pair],
        test: Pair | None,
        samples: int,
        measures: Mapping[str, Measure],
    ) -> None:
        self._template = template
        self._loss = loss
        self._pair_at = pair_at
        self._test = test
        self._measures = measures
        # A few models at a time, so that large data sets do not need memory for all of them.
        self._chunk = max(1, _SAMPLES_AT_ONCE // samples)

    @torch.no_grad()
    def __call__(self, params: Mapping[str, Tensor], step: int) -> Columns:
        """Measure all models; `step` is the one whose data count where data are a function."""
        pairs = {"train_loss": self._pair_at(step), "test_loss": self._test}
        columns = {name: self._loss_on(pair) for name, pair in pairs.items() if pair is not None}
        columns |= {name: self._measured(measure) for name, measure in self._measures.items()}
        return {
            name: vmap(function, randomness="different", chunk_size=self._chunk)(dict(params))
            for name, function in columns.items()
        }

    def _loss_on(self, pair: Pair) -> Callable[[dict[str, Tensor]], Tensor]:
        x, y = pair
        return lambda params: self._loss(call(self._template, params, x), y)

    def _measured(self, measure: Measure) -> Callable[[dict[str, Tensor]], Tensor]:
        template = self._template
        return lambda params: measure(params, lambda x=None: call(template, params, x))


def plain(rows: Rows) -> Rows:
    """Return rows as numbers: fetched from the device, all at once."""
    return [
        (at, {name: _numbers(column) for name, column in columns.items()}) for at, columns in rows
    ]


def _numbers(column: Tensor | list[float]) -> list[float]:
    return column if isinstance(column, list) else column.cpu().double().tolist()
