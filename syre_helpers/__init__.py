"""Symmetries of the loss, the collapse they cause, and syre, the remedy that removes them.

Everything a reader needs is here as ``import syre_helpers as sh``. Modules are imported when a name
of theirs is first used, so that ``import syre_helpers`` costs little more than ``import torch``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Reflection": "symmetry",
    "pair_sign_reflection": "symmetry",
    "permutation_reflection": "symmetry",
    "rotation_reflection": "symmetry",
    "sign_reflection": "symmetry",
    "swap_reflection": "symmetry",
    "Arm": "removal",
    "Pull": "removal",
    "Syre": "removal",
    "SyreWarning": "removal",
    "effective_parameters": "removal",
    "active_latents": "measures",
    "dead_fraction": "measures",
    "degree_of_symmetry": "measures",
    "duplicate_fraction": "measures",
    "effective_rank": "measures",
    "escape_force": "measures",
    "loss_barrier": "measures",
    "numerical_rank": "measures",
    "stable_rank": "measures",
    "fit": "training",
    "fit_many": "training",
    "train_many": "training",
    "pick_device": "training",
    "seed_everything": "training",
}
_MODULES = (
    "data",
    "exercises",
    "experiments",
    "interactive",
    "measures",
    "models",
    "plots",
    "reference",
    "removal",
    "symmetry",
    "training",
)

if TYPE_CHECKING:
    from . import (
        data,
        exercises,
        experiments,
        interactive,
        measures,
        models,
        plots,
        reference,
        removal,
        symmetry,
        training,
    )
    from .measures import (
        active_latents,
        dead_fraction,
        degree_of_symmetry,
        duplicate_fraction,
        effective_rank,
        escape_force,
        loss_barrier,
        numerical_rank,
        stable_rank,
    )
    from .removal import Arm, Pull, Syre, SyreWarning, arms, effective_parameters
    from .symmetry import (
        Reflection,
        pair_sign_reflection,
        permutation_reflection,
        rotation_reflection,
        sign_reflection,
        swap_reflection,
    )
    from .training import fit, fit_many, pick_device, seed_everything, train_many

__all__ = [
    "Arm",
    "Pull",
    "Reflection",
    "Syre",
    "SyreWarning",
    "active_latents",
    "arms",
    "data",
    "dead_fraction",
    "degree_of_symmetry",
    "duplicate_fraction",
    "effective_parameters",
    "effective_rank",
    "escape_force",
    "exercises",
    "experiments",
    "fit",
    "fit_many",
    "interactive",
    "loss_barrier",
    "measures",
    "models",
    "numerical_rank",
    "pair_sign_reflection",
    "permutation_reflection",
    "pick_device",
    "plots",
    "reference",
    "removal",
    "rotation_reflection",
    "seed_everything",
    "sign_reflection",
    "stable_rank",
    "swap_reflection",
    "symmetry",
    "train_many",
    "training",
]


def __getattr__(name: str) -> Any:
    if name == "arms":
        return importlib.import_module(".removal.arms", __name__)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
