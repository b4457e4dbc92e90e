"""How a run uses a GPU: lower precision, images with channels last, compiled passes, stacks.

None of this belongs to an experiment's settings: it changes results to rounding only (that of
bfloat16, where it is asked for), and a record names it beside its machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .stacked.memory import out_of_memory


@dataclass(frozen=True)
class Speed:
    """What is done for speed.

    Parameters
    ----------
    bf16 : bool
        Passes run under autocast to bfloat16; parameters stay as they are. Default False.
    channels_last : bool
        Images and the filters of convolutions lie in memory with their channels last, as a GPU's
        matrix units take them. Default False.
    compiled : bool
        Passes of single models that train are compiled, once for all models of a kind. Default
        False.
    stacked : bool
        Models that could train one by one or stacked are stacked. Default False.
    """

    bf16: bool = False
    channels_last: bool = False
    compiled: bool = False
    stacked: bool = False


_NOTHING = Speed()
_SPEED: ContextVar[Speed] = ContextVar("speed", default=_NOTHING)


def speed() -> Speed:
    """Return the speed settings in force: those of the innermost `at_speed`, else none."""
    return _SPEED.get()


@contextmanager
def at_speed(wanted: Speed) -> Iterator[None]:
    """Train inside the ``with`` block at this speed.

    Convolutions are then tried in several ways, of which the fastest is kept, and what stays
    float32 may use the matrix units (TF32).

    Parameters
    ----------
    wanted : Speed
        What is done.

    Yields
    ------
    None
        Nothing.
    """
    token = _SPEED.set(wanted)
    benchmark, precision = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(precision)
        _SPEED.reset(token)


def hastened(model: nn.Module, *, alone: bool = True) -> nn.Module:
    """Return a model whose passes run at the `speed` that is in force.

    Parameters
    ----------
    model : nn.Module
        Changed in place: its forward pass, and how its filters lie in memory. Names and values of
        its parameters stay. Its outputs are float32.
    alone : bool
        False where it stands for models that are stacked, whose steps are compiled as a whole or
        not at all. Default True.

    Returns
    -------
    nn.Module
        The same model.
    """
    how = speed()
    compiled = how.compiled and alone
    if how.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not (how.bf16 or how.channels_last or compiled):
        return model

    def forward(x: Tensor) -> Tensor:
        if how.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        run = _compiled if compiled and model.training else _plain
        # Without a cache: what it kept of a parameter would outlive the parameter's next step where
        # models are stacked.
        with torch.autocast(x.device.type, torch.bfloat16, how.bf16, cache_enabled=False):
            output = run(model, x)
        return output.float() if output.dtype == torch.bfloat16 else output

    model.forward = forward
    return model


def _plain(model: nn.Module, x: Tensor) -> Tensor:
    output: Tensor = type(model).forward(model, x)
    return output


class _Compiled:
    """The pass of all models, compiled; a plain one from the first failure of the compiler on."""

    def __init__(self) -> None:
        self._run: Callable[[nn.Module, Tensor], Tensor] | None = None
        self._works = True

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return a model's output."""
        if self._works:
            try:
                # One function for all models: what was made serves the next model of the kind.
                self._run = self._run or torch.compile(_plain, dynamic=False)
                output: Tensor = self._run(model, x)
            except Exception as error:  # compilers fail in many ways
                if out_of_memory(error):
                    raise
                self._works = False
                reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
                warnings.warn(
                    f"training goes on without compilation: {reason}", RuntimeWarning, stacklevel=3
                )
            else:
                return output
        return _plain(model, x)


_compiled = _Compiled()
