"""The diagnosis of a model: which units are dead or twins, by which road, and what helps.

Floor 4 of the package.
"""

from .diagnose import diagnose
from .report import Report

__all__ = ["Report", "diagnose"]
