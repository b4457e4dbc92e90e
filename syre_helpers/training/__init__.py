"""Training: device and seeds, one resumable loop, and many models trained together.

Floor 3 of the package. In front are `fit` and `fit_many` (or `train_many`, which returns the
parameters too), with callbacks; behind them is the engine room, `stacked`.
"""

from .callbacks import Moment, listening
from .device import pick_device, seed_everything
from .fit import fit
from .fit_many import fit_many, train_many

__all__ = [
    "Moment",
    "fit",
    "fit_many",
    "listening",
    "pick_device",
    "seed_everything",
    "train_many",
]
