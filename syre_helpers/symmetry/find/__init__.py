"""The search for the reflection symmetries of any model.

`graph` records the operations of one forward pass; `labels` and `rules` find out which axes count
the same units; `signs` and `candidates` suggest families, `swaps` modules that may change places;
`proof` evaluates them at generic parameters; `idle` and `shifts` find the directions along which no
output changes; `result` is what the reader gets.
"""

from .engine import Left
from .result import Family, Symmetries
from .search import find_reflections

__all__ = ["Family", "Left", "Symmetries", "find_reflections"]
