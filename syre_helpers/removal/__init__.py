"""The remedy and its rivals, all of them settings of one affine pull.

Floor 1 of the package: knows torch only.
"""

from . import arms, noise
from .arms import Arm
from .attachment import Attachment
from .centre import PullAttachment, around, attach_pull
from .names import canonical_name, effective_parameters
from .pull import Pull, stack_pulls, write_pull
from .redo import redo
from .syre import Syre
from .warning import SyreWarning

__all__ = [
    "Arm",
    "Attachment",
    "Pull",
    "PullAttachment",
    "Syre",
    "SyreWarning",
    "arms",
    "around",
    "attach_pull",
    "canonical_name",
    "effective_parameters",
    "noise",
    "redo",
    "stack_pulls",
    "write_pull",
]
