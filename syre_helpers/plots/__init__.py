"""Figures for light and dark pages: one style, one colour per method, the spread always drawn.

Everything here takes tables and functions and draws; nothing here trains.
"""

from .charts import landscape, lines, strip
from .palette import ArmStyle, arm_palette, arm_styles
from .picture import Picture, png_bytes
from .style import NEUTRAL, style, subplots
from .wording import describe, plus_minus

__all__ = [
    "NEUTRAL",
    "ArmStyle",
    "Picture",
    "arm_palette",
    "arm_styles",
    "describe",
    "landscape",
    "lines",
    "plus_minus",
    "png_bytes",
    "strip",
    "style",
    "subplots",
]
