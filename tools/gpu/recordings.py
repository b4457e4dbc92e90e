"""The experiments that are recorded on a GPU, shortest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from syre_helpers.training.speed import Speed


@dataclass(frozen=True)
class Recording:
    """A preset that is recorded, some seeds at a time.

    Parameters
    ----------
    experiment, preset : str
        What runs.
    speed : Speed
        How.
    groups : tuple of tuple of int
        The seeds that run together; what is done is written after each group.
    processes : int
        How many groups train side by side on one GPU. Default 1.
    small : dict
        Settings for a rehearsal on false images, which takes seconds. Default: none.
    """

    experiment: str
    preset: str
    speed: Speed
    groups: tuple[tuple[int, ...], ...]
    processes: int = 1
    small: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the files of its record."""
        return f"{self.experiment}-{self.preset}"


_IMAGES = Speed(bf16=True, channels_last=True, compiled=True)
# Compilation takes longer than it saves a small network, of which several train at once.
_SMALL_IMAGES = Speed(bf16=True, channels_last=True)
_FEW = {"n_train": 40, "n_test": 20, "batch_size": 20, "sigmas": (0.1,)}

RECORDINGS = (
    Recording(
        "supervised_collapse",
        "cuda-vit",
        Speed(bf16=True, stacked=True),
        ((0, 1, 2),),
        small=_FEW | {"dim": 8, "depth": 1, "steps": 3, "decays": (0.1,), "rank_samples": 20},
    ),
    Recording(
        "compatibility",
        "cuda-small",
        _SMALL_IMAGES,
        tuple((k,) for k in range(8)),
        processes=4,
        small=_FEW | {"width": 2, "epochs": 1},
    ),
    Recording(
        "simclr",
        "cuda",
        _IMAGES,
        ((0,), (1,), (2,)),
        small={"width": 2, "out": 8, "batch_size": 16, "n_probe": 40, "steps": 3},
    ),
    Recording(
        "compatibility",
        "cuda",
        _IMAGES,
        ((0,), (1,), (2,)),
        small=_FEW | {"width": 2, "epochs": 1},
    ),
    # Ten million parameters: products are wide, and a step is worth compiling.
    Recording(
        "transformers",
        "cuda",
        Speed(bf16=True, compiled=True),
        ((0,), (1,), (2,)),
        small={"dim": 8, "depth": 1, "heads": 2, "context": 8, "batch_size": 4, "n_test": 8}
        | {"cuts": (1,), "warm_up": 1, "steps": 3, "sigma_ratios": (0.1, 1.0)},
    ),
)
