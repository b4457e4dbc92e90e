"""Collapse in numbers: ranks, dead and duplicate units, probes, forces, barriers.

A measure of something with NaN or infinite entries is NaN; half precision is computed in float32.
Measures of arrays work under ``torch.func.vmap``. Floor 1 of the package: knows torch only.
"""

from .barrier import loss_barrier, reset_statistics
from .forces import degree_of_symmetry, escape_force
from .probes import missing_fraction, probe_accuracy, used_directions
from .ranks import effective_rank, numerical_rank, stable_rank
from .spectra import alpha_req, feature_rank, participation_ratio, squared_spectrum, srank
from .units import active_latents, dead_fraction, dormant_ratio, duplicate_fraction

__all__ = [
    "active_latents",
    "alpha_req",
    "dead_fraction",
    "degree_of_symmetry",
    "dormant_ratio",
    "duplicate_fraction",
    "effective_rank",
    "escape_force",
    "feature_rank",
    "loss_barrier",
    "missing_fraction",
    "numerical_rank",
    "participation_ratio",
    "probe_accuracy",
    "reset_statistics",
    "squared_spectrum",
    "srank",
    "stable_rank",
    "used_directions",
]
