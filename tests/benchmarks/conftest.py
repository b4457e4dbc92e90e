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


def imported(name):
    return pytest.fixture(lambda program: program(name), scope="session")


harness = imported("_harness")
book_build = imported("book_build")
growth = imported("growth")
many_models = imported("many_models")
network_cost = imported("network_cost")
paper_presets = imported("paper_presets")
startup = imported("startup")
step_alone = imported("step_alone")
step_cost = imported("step_cost")
