"""Figures to move: over precomputed frames on any page, or computed anew where a kernel runs.

Floor 5 of the package.
"""

from .panel import panel
from .slider import FrameSlider

__all__ = ["FrameSlider", "panel"]
