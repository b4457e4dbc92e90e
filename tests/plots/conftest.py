"""The table that the tests of figures share."""

import pandas as pd
import pytest


@pytest.fixture(scope="session")
def runs():
    """Return a function: a table in which arm k, seed s ends at (k + 1) * (s + 1)."""

    def table(*arms, seeds=8, steps=5):
        rows = [
            (arm, seed, step, (k + 1) * (seed + 1) * (steps - step + 1.0))
            for k, arm in enumerate(arms)
            for seed in range(seeds)
            for step in range(steps + 1)
        ]
        return pd.DataFrame(rows, columns=["arm", "seed", "step", "test_loss"])

    return table
