"""What each operator says about the axes that it reads and makes."""

from . import contractions, indexing, pointwise, reductions, shapes
from .pointwise import elementwise

__all__ = ["contractions", "elementwise", "indexing", "pointwise", "reductions", "shapes"]
