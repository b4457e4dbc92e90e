"""Figures for light and dark pages: one style, one colour an arm, the spread always drawn.

Everything here takes tables and functions and draws; nothing here trains.
"""

from .charts import landscape, lines, strip
from .palette import Look, arm_looks, arm_palette
from .picture import Picture, png_bytes
from .style import NEUTRAL, style, subplots
from .wording import describe, plus_minus

__all__ = [
    "NEUTRAL",
    "Look",
    "Picture",
    "arm_looks",
    "arm_palette",
    "describe",
    "landscape",
    "lines",
    "plus_minus",
    "png_bytes",
    "strip",
    "style",
    "subplots",
]
