"""What several test files need."""

import pytest

from syre_helpers.training.stepping import StackedStep


@pytest.fixture
def interrupted_at(monkeypatch):
    """Return a function: `interrupted_at(n)` ends stacked training once, at its n-th step from now.

    It returns the list of all steps begun since.
    """

    def interrupted_at(n):
        begun = []
        step_of_all = StackedStep.__call__

        def step(*arguments):
            begun.append(len(begun))
            if len(begun) == n:
                raise KeyboardInterrupt
            step_of_all(*arguments)

        monkeypatch.setattr(StackedStep, "__call__", step)
        return begun

    return interrupted_at
