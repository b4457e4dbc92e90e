"""The diagnosis of a model: which units are dead or twins, by which road, and what helps.

Floor 4 of the package.
"""

from .checkpoint import diagnose_checkpoint, diagnose_state, read_checkpoint
from .diagnose import diagnose
from .planes import pair_rates
from .report import Report
from .watch import Watch

__all__ = [
    "Report",
    "Watch",
    "diagnose",
    "diagnose_checkpoint",
    "diagnose_state",
    "pair_rates",
    "read_checkpoint",
]
