"""Reflection symmetries of a loss: what they are, and the families that networks have.

Floor 1 of the package: knows torch only.
"""

from .alignment import align_units, hidden_layers
from .families import (
    pair_sign_reflection,
    permutation_reflection,
    rotation_reflection,
    sign_reflection,
    swap_reflection,
)
from .reflection import Parameters, Reflection

__all__ = [
    "Parameters",
    "Reflection",
    "align_units",
    "hidden_layers",
    "pair_sign_reflection",
    "permutation_reflection",
    "rotation_reflection",
    "sign_reflection",
    "swap_reflection",
]
