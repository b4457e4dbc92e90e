"""Whether a training step is worth compiling, and whether it can be."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from .optimizers import functional_update

_LOG = logging.getLogger(__name__)
# Of a compilation with a cold cache on a slow machine; and what a compiled step saves, on the CPU,
# through fewer calls and through one pass over the parameters instead of several.
_SECONDS_TO_COMPILE = 20.0
_SECONDS_SAVED_PER_STEP = 0.5e-3
_SECONDS_SAVED_PER_ELEMENT = 1.5e-9


@dataclass
class CompileDecision:
    """Whether to compile.

    Parameters
    ----------
    compiled : bool
        The decision; `give_up` changes it.
    reason : str
        Why, in words.
    asked : bool
        Whether someone would want to know: asked for it, or waits long enough.
    """

    compiled: bool
    reason: str
    asked: bool

    def announce(self) -> None:
        """Say in one line what was decided and why."""
        self._say(f"training {'compiled' if self.compiled else 'not compiled'}: {self.reason}")

    def give_up(self, reason: str) -> None:
        """Go on without; say so in one line."""
        self.compiled, self.reason = False, reason
        self._say(f"training goes on without compilation: {reason}")

    def _say(self, line: str) -> None:
        _LOG.info(line)
        # Where a bar may be shown a line may be too.
        if self.asked and os.environ.get("SYRE_PROGRESS", "1") != "0":
            print(line, file=sys.stderr)


def decide(
    wanted: bool | None, steps: int, elements: int, optimizer: Optimizer, device: torch.device
) -> CompileDecision:
    """Return the decision, by what is known beforehand: the same call always decides the same.

    Parameters
    ----------
    wanted : bool or None
        The argument `compile` of `train_many`.
    steps : int
        Of the whole run, those before an interruption included.
    elements : int
        Of the parameters of all models that train together.
    optimizer : torch.optim.Optimizer
        What takes the steps.
    device : torch.device
        Where.

    Returns
    -------
    CompileDecision
        With the reason.
    """
    saved = steps * (_SECONDS_SAVED_PER_STEP + _SECONDS_SAVED_PER_ELEMENT * elements)
    repaid = saved >= _SECONDS_TO_COMPILE
    if wanted is False:
        return CompileDecision(False, "asked for by argument compile", False)
    if wanted is None and not repaid:
        return CompileDecision(False, f"{steps} steps would not repay it", False)
    if wanted is None and device.type not in ("cpu", "cuda"):
        return CompileDecision(False, f"on {device.type} only if asked for (compile=True)", True)
    missing = _missing(device)
    if missing is not None:
        return CompileDecision(False, missing, True)
    if functional_update(optimizer) is None:
        kind = type(optimizer).__name__
        return CompileDecision(
            False, f"{kind} with these options has no compiled form; SGD and Adam(W) have", True
        )
    reason = "asked for by argument compile" if wanted else f"{steps} steps repay it"
    return CompileDecision(True, reason, True)


def _missing(device: torch.device) -> str | None:
    """Return the name of a tool that compilation lacks here, in words; None where none is known."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "Triton is not installed"
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    name = os.environ.get("CXX", usual)
    if shutil.which(name.split()[0] if name else usual):
        return None
    return f"no C++ compiler found ({name}; the environment variable CXX names another)"
