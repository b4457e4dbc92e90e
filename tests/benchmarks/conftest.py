"""The programs in benchmarks/ as modules; they import one another as neighbours."""

import importlib
import sys

import pytest

from tools.build import chapters

PROGRAMS = chapters.ROOT / "benchmarks"


@pytest.fixture(scope="session")
def program():
    """Return a function that imports a program by name."""
    before = set(sys.modules)
    sys.path.insert(0, str(PROGRAMS))
    yield importlib.import_module
    sys.path.remove(str(PROGRAMS))
    for name in set(sys.modules) - before:
        if (PROGRAMS / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture(scope="session")
def harness(program):
    return program("_harness")
