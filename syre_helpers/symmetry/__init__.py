"""Reflection symmetries of a loss: what they are, the families that networks have, and a search.

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
from .find import Family, Left, Symmetries, find_reflections
from .reflection import Parameters, Reflection

__all__ = [
    "Family",
    "Left",
    "Parameters",
    "Reflection",
    "Symmetries",
    "align_units",
    "find_reflections",
    "hidden_layers",
    "pair_sign_reflection",
    "permutation_reflection",
    "rotation_reflection",
    "sign_reflection",
    "swap_reflection",
]
