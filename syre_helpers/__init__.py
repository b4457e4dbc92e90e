"""Symmetries of the loss, the collapse they cause, and syre, the remedy that removes them.

Everything a reader needs is here as ``import syre_helpers as sh``. Modules are imported when a name
of theirs is first used, so that ``import syre_helpers`` costs little more than ``import torch``.
The public names stand in ``__init__.pyi``.
"""

import lazy_loader as _lazy

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
