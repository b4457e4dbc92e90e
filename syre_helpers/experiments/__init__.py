"""Experiments: each a module with a frozen ``Config``, named ``PRESETS``, ``CLAIMS`` and ``run``.

``quick`` presets use generated or bundled data and finish within a minute on two cores; ``paper``
and ``full-size`` presets have the size of the paper's experiment, the latter where its settings are
not known. ``run(config, checkpoints)``
returns a tidy table, and goes on from the folder of checkpoints where it was interrupted. Floor 4
of the package.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..training.device import pick_device
from ._claims import Claim, difference, of, ratio, rows_of, value, verdicts
from ._grid import grid, split_seeds, variants
from .record import Record, read_record, write_record

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Claim",
    "Record",
    "configure",
    "difference",
    "grid",
    "load",
    "names",
    "of",
    "ratio",
    "read_record",
    "rows_of",
    "run",
    "split_seeds",
    "value",
    "variants",
    "verdicts",
    "write_record",
]

_MACHINERY = {"record"}


def names() -> list[str]:
    """Return the names of all experiments.

    Returns
    -------
    list of str
        In the order of the alphabet.

    Examples
    --------
    >>> "dead_neurons" in names()
    True
    """
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(name for name in found - _MACHINERY if not name.startswith("_"))


def load(name: str) -> ModuleType:
    """Return an experiment's module.

    Parameters
    ----------
    name : str
        One of `names`; dashes may stand for underscores.

    Returns
    -------
    module
        With ``Config``, ``PRESETS``, ``CLAIMS`` and ``run``.

    Raises
    ------
    ValueError
        If there is no such experiment.
    """
    known = str(name).replace("-", "_")
    if known not in names():
        raise ValueError(f"name={name!r} is no experiment; there are {', '.join(names())}")
    return importlib.import_module(f".{known}", __name__)


def run(name: str, preset: str = "quick", **changes: Any) -> pd.DataFrame:
    """Run an experiment under a preset.

    Parameters
    ----------
    name : str
        One of `names`.
    preset : str
        One of the experiment's ``PRESETS``. Default "quick".
    **changes
        Fields of the experiment's ``Config`` to set otherwise, such as ``seeds=4``.

    Returns
    -------
    pandas.DataFrame
        Tidy: one row per arm, seed and measured step. An experiment, a preset or a field that does
        not exist is a ValueError.
    """
    module = load(name)
    config = configure(module, preset, **changes)
    pick_device(config.device, quiet=True, argument="device")
    return module.run(config)


def configure(module: ModuleType, preset: str, **changes: Any) -> Any:
    """Return a preset's configuration with some fields changed.

    Parameters
    ----------
    module : module
        An experiment, from `load`.
    preset : str
        A key of its ``PRESETS``.
    **changes
        Fields of its ``Config`` and their values.

    Returns
    -------
    dataclass
        The experiment's ``Config``.

    Raises
    ------
    ValueError
        If the preset or a field does not exist.
    """
    if preset not in module.PRESETS:
        raise ValueError(f"preset={preset!r} does not exist; there are {', '.join(module.PRESETS)}")
    fields = module.Config.__dataclass_fields__
    unknown = sorted(set(changes) - set(fields))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no setting; there are {', '.join(fields)}")
    return dataclasses.replace(module.PRESETS[preset], **changes)
