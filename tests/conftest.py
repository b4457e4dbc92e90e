"""What several test files need."""

from contextlib import ExitStack

import pytest

from syre_helpers.training import listening


@pytest.fixture
def interrupted_at():
    """Return a function: `interrupted_at(n)` ends training once, at its n-th step from now.

    It returns the list of all steps begun since.
    """
    with ExitStack() as stack:

        def interrupted_at(n):
            begun = []

            def count(moment):
                if moment.rows is None:
                    begun.append(moment.step)
                    if len(begun) == n:
                        raise KeyboardInterrupt

            stack.enter_context(listening(count))
            return begun

        yield interrupted_at
