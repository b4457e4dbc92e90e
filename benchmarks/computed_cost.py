"""What a training step costs where theta_0 is computed in every step and nothing is stored.

    python benchmarks/computed_cost.py            two and a half minutes; writes
                                                  results/computed_cost.csv and .json
    python benchmarks/computed_cost.py --quick    seconds; prints only, unless --out names a folder

The networks of `network_cost.py`, by its method: time and memory, in turns, on one thread, stored
and computed side by side.
"""

from __future__ import annotations

import sys

from network_cost import BASELINE, Settings, main

FORMS = (
    BASELINE,
    f"{BASELINE} again",
    "attach",
    "attach, computed",
    "attach + D",
    "attach + D, computed",
)

if __name__ == "__main__":
    sys.exit(main("computed_cost", FORMS, Settings(seconds=(20.0, 60.0, 60.0))))
