"""Training: device and seeds, one resumable loop, and many models trained together.

Floor 3 of the package.
"""

from .device import pick_device, seed_everything
from .loop import fit
from .many import fit_many, train_many

__all__ = ["fit", "fit_many", "pick_device", "seed_everything", "train_many"]
