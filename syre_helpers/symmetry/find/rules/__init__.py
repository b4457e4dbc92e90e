"""What each operator says about the axes that it reads and makes."""

from . import contractions, indexing, pointwise, shapes
from .pointwise import elementwise

__all__ = ["contractions", "elementwise", "indexing", "pointwise", "shapes"]
