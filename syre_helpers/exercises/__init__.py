"""Checks of the readers' answers to the exercises.

Here are the kinds of exercises; those of the book are declared in one module per chapter. The name
says where: ``check_permutation_count`` is in ``permutation.py``, which is imported when the name is
first used.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any

from ._declare import Choice, Exercise, Function, Mistake, Number, Verdict

__all__ = ["Choice", "Exercise", "Function", "Mistake", "Number", "Verdict"]


def chapters() -> list[str]:
    """Return the names of the modules that hold exercises, one per chapter.

    Returns
    -------
    list of str
        In alphabetical order.
    """
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != "_")


def __getattr__(name: str) -> Any:
    owners = [chapter for chapter in chapters() if name.startswith(f"check_{chapter}_")]
    if owners:
        module = importlib.import_module(f".{max(owners, key=len)}", __name__)
        if hasattr(module, name):
            return getattr(module, name)
    # Look further only for public names: Python itself asks for others, such as __path__.
    close = [] if name.startswith("_") else difflib.get_close_matches(name, __dir__(), 1, 0.6)
    advice = f"; did you mean {close[0]}?" if close else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")


def __dir__() -> list[str]:
    names = set(__all__)
    for chapter in chapters():
        module = importlib.import_module(f".{chapter}", __name__)
        names |= {name for name in vars(module) if name.startswith(f"check_{chapter}_")}
    return sorted(names)
