"""The remedy and its rivals, all of them settings of one affine pull.

Floor 1 of the package: knows torch only.
"""

from . import arms
from .arms import Arm
from .attach import Attachment, attach_pull
from .names import effective_parameters
from .pull import Pull, around
from .redo import continual_backprop, redo
from .syre import Syre
from .warning import SyreWarning

__all__ = [
    "Arm",
    "Attachment",
    "Pull",
    "Syre",
    "SyreWarning",
    "arms",
    "around",
    "attach_pull",
    "continual_backprop",
    "effective_parameters",
    "redo",
]
