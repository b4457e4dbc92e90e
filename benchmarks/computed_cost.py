"""What a training step costs where theta_0 is computed in every step and nothing is stored.

    python benchmarks/computed_cost.py            two and a half minutes; writes
                                                  results/computed_cost.csv and .json
    python benchmarks/computed_cost.py --quick    seconds; prints only, unless --out names a folder

The networks of `network_cost.py`, by its method: time and memory, in turns, on one thread, stored
and computed side by side.
"""

from __future__ import annotations

import sys

import _harness
import network_cost
from _harness import AGAIN, BASELINE, Row
from network_cost import CONSTANTS, OPTIONS, QUICK, Settings, report

__all__ = [
    "BRIEF",
    "BRIEF_WORDS",
    "CONSTANTS",
    "FORMS",
    "FULL",
    "OPTIONS",
    "QUICK",
    "measure",
    "report",
]

FORMS = (BASELINE, AGAIN, "attach", "attach, computed", "attach + D", "attach + D, computed")
FULL = Settings(seconds=(20.0, 60.0, 60.0))
BRIEF_WORDS = "a few seconds for each network"
BRIEF = {"seconds": (3.0, 5.0, 5.0), "resnet_width": 64, "image_batch": 512}


def measure(settings: Settings) -> list[Row]:
    """Return the rows of all networks."""
    return network_cost.measure(settings, FORMS)


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
